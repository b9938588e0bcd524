//! Who is asked when it comes to a group, and where the group stands among its requests then.

use std::collections::BTreeMap;

use kith_proto::messaging::v1::Consent;

/// Who is asked again within so long is asked in the same place.
const DAY_US: i64 = 86_400_000_000;

/// What is known of former times in a group, by account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asking {
    /// Where it stood last among the requests of each who was asked.
    opened: BTreeMap<String, i64>,
    /// Who declined it or left it by itself, and has not accepted it since; and whether it had it in its inbox.
    refused: BTreeMap<String, bool>,
}

impl Asking {
    /// Somebody comes; `asked`: it does not follow who adds it.
    pub fn comes(&mut self, id: &str, asked: bool, at: i64) -> Consent {
        let consent = match (asked, self.refused.get(id)) {
            (false, None) => return Consent::Accepted,
            (true, Some(false)) => Consent::Declined,
            _ => Consent::Requested,
        };
        let before = self.opened.get(id).copied().filter(|before| (0..DAY_US).contains(&(at - before)));
        self.opened.insert(id.to_owned(), before.unwrap_or(at));
        consent
    }

    /// Somebody goes by itself, or is removed.
    pub fn goes(&mut self, id: &str, consent: Consent, by_itself: bool) {
        match consent {
            Consent::Declined => self.refused.insert(id.to_owned(), false),
            Consent::Requested if !by_itself && self.refused.contains_key(id) => {
                self.refused.insert(id.to_owned(), false)
            }
            consent if by_itself => self.refused.insert(id.to_owned(), consent == Consent::Accepted),
            _ => self.refused.remove(id),
        };
    }

    pub fn opened(&self, id: &str) -> Option<i64> {
        self.opened.get(id).copied()
    }
}
