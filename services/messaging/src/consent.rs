//! What a member has made of a conversation. Pure.
//!
//! Whether a conversation waits among a member's requests is said by the record that created it, so it is the same whoever
//! folds it, whenever, whatever the member follows by then. From there on consent only rises, from asked to declined to
//! accepted: a copy of any record changes nothing, however late it comes, and no memory of records is needed for that.

use std::fmt;

use kith_log::Offset;
use kith_proto::messaging::v1;

/// Shown as nothing, `?`, `!`, or `+` with the offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consent {
    /// From the beginning: the member created it, or follows who did.
    #[default]
    Given,
    /// It waits among the requests.
    Asked,
    /// It is in no list.
    Declined,
    /// Since the record at this offset of the conversation's log partition.
    Accepted(Offset),
}

impl Consent {
    /// Whether the conversation is in the member's inbox.
    pub fn stands(self) -> bool {
        matches!(self, Self::Given | Self::Accepted(_))
    }

    /// Whether the member is told what others write.
    pub fn is_told(self) -> bool {
        self != Self::Declined
    }

    /// Whether the conversation is among the member's requests.
    pub fn waits(self) -> bool {
        self == Self::Asked
    }

    /// The record that put it into the inbox, unless it was there from the beginning.
    pub fn accepted_at(self) -> Option<Offset> {
        match self {
            Self::Accepted(offset) => Some(offset),
            Self::Given | Self::Asked | Self::Declined => None,
        }
    }

    /// The member accepts, by the record at `offset`.
    pub fn accept(&mut self, offset: Offset) {
        if !self.stands() {
            *self = Self::Accepted(offset);
        }
    }

    /// The member declines.
    pub fn decline(&mut self) {
        if *self == Self::Asked {
            *self = Self::Declined;
        }
    }

    /// As its member sees it.
    pub fn present(self) -> v1::Consent {
        match self {
            Self::Given | Self::Accepted(_) => v1::Consent::Accepted,
            Self::Asked => v1::Consent::Requested,
            Self::Declined => v1::Consent::Declined,
        }
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        match shown {
            "" => Some(Self::Given),
            "?" => Some(Self::Asked),
            "!" => Some(Self::Declined),
            _ => Some(Self::Accepted(shown.strip_prefix('+')?.parse().ok()?)),
        }
    }
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => Ok(()),
            Self::Asked => f.write_str("?"),
            Self::Declined => f.write_str("!"),
            Self::Accepted(offset) => write!(f, "+{offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_only_rises() {
        let after = |steps: &str| {
            let mut consent = Consent::Asked;
            for (offset, step) in (10..).zip(steps.chars()) {
                match step {
                    'a' => consent.accept(offset),
                    _ => consent.decline(),
                }
            }
            consent
        };
        assert_eq!([after("d"), after("dd")], [Consent::Declined; 2]);
        assert_eq!([after("a"), after("aa"), after("ada")], [Consent::Accepted(10); 3], "accepted twice is once");
        assert_eq!([after("da"), after("dada")], [Consent::Accepted(11); 2]);
        let mut given = Consent::Given;
        given.decline();
        given.accept(7);
        assert_eq!(given, Consent::Given);
    }

    #[test]
    fn consent_reads_back() {
        for consent in [Consent::Given, Consent::Asked, Consent::Declined, Consent::Accepted(0), Consent::Accepted(77)]
        {
            assert_eq!(Consent::parse(&consent.to_string()), Some(consent));
        }
        assert!(["x", "+", "+x", "??", "+-1"].iter().all(|damaged| Consent::parse(damaged).is_none()));
    }
}
