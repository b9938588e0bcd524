//! Who is in a conversation, how far each has read, and what each has made of it.

use kith_log::{Offset, RecordId};
use kith_proto::messaging::v1::MemberRole;
use kith_tables::{Cell, Kind, Value};

use crate::consent::Consent;
use crate::noted::Noted;
use crate::progress::Progress;
use crate::seat::Seat;
use crate::view::View;

/// The most members of a conversation.
pub const MEMBERS_MAX: usize = kith_service::limits::GROUP_MEMBERS;
/// Of an account's id.
const ID_CHARS: usize = 32;

/// Sorted by account, each once. In its column it reads `account:progress account:progress`, with what is to be
/// said of its consent behind the account, and of its seat in a group behind its progress: `account:progress/seat`; of its view
/// behind a semicolon, and which records it is to be told of behind `=`.
///
/// It stands in the summary row, not in rows of its own: what a message changes in every member's inbox is then a
/// function of the one row that is loaded in any case, at its mark. Rows read from the store for it could be later than
/// the mark that their values would be stamped with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(Vec<Member>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub account_id: String,
    pub progress: Progress,
    pub consent: Consent,
    pub view: View,
    pub noted: Noted,
    /// `None`: in a direct conversation.
    pub seat: Option<Seat>,
}

impl Member {
    /// Who has read nothing and made nothing of the conversation.
    pub fn new(account_id: String, seat: Option<Seat>) -> Self {
        let (progress, consent, view) = (Progress::default(), Consent::default(), View::default());
        Self { account_id, progress, consent, view, noted: Noted::default(), seat }
    }

    /// Number of the last message before those that the member sees now.
    pub fn from(&self) -> i64 {
        self.seat.as_ref().map_or(0, |seat| seat.from)
    }

    /// Whether the member sees the message of that number.
    pub fn sees(&self, number: i64) -> bool {
        self.seat.as_ref().is_none_or(|seat| seat.shows(number))
    }

    /// Marks as unread are numbered in events from the record on that the membership began with. So no event of a membership
    /// before has a number of this one's: each mark is a record of its own.
    pub fn marks_from(&self) -> i64 {
        self.seat.as_ref().map_or(0, |seat| i64::try_from(seat.began).unwrap_or(i64::MAX))
    }

    /// The record since which the conversation is in the member's inbox; `None`: since the beginning.
    pub fn listed_since(&self) -> Option<Offset> {
        self.consent.accepted_at().or(self.seat.as_ref().map(|seat| seat.began))
    }

    /// Unspecified: in a direct conversation.
    pub fn role(&self) -> MemberRole {
        self.seat.as_ref().map_or(MemberRole::Unspecified, |seat| seat.role)
    }

    /// The number of the member's seat in a group; 0: in a direct conversation.
    pub fn seat_number(&self) -> u64 {
        self.seat.as_ref().map_or(0, |seat| seat.number.unsigned_abs())
    }

    /// The member accepts, by the record at `offset`. Who added it is of no use from then on.
    pub fn accept(&mut self, offset: Offset) {
        self.consent.accept(offset);
        self.seat.iter_mut().for_each(|seat| seat.added_by.clear());
    }

    /// Whether the record at `offset` put the member into the conversation.
    pub fn began_at(&self, offset: Offset) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.began == offset)
    }
}

impl Members {
    /// Nobody has read anything. `None` unless they are 2 to [`MEMBERS_MAX`] different accounts.
    pub fn new(account_ids: &[String]) -> Option<Self> {
        if account_ids.len() > MEMBERS_MAX || account_ids.iter().any(|id| RecordId::parse(id).is_none()) {
            return None;
        }
        let mut sorted = account_ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let member = |account_id| Member::new(account_id, None);
        (sorted.len() >= 2).then(|| Self(sorted.into_iter().map(member).collect()))
    }

    /// Number up to which all have read.
    pub fn read_by_all(&self) -> i64 {
        self.0.iter().map(|member| member.progress.read_number()).min().unwrap_or(0)
    }

    /// One more. False if it is in already, if there are [`MEMBERS_MAX`], or if its id is none.
    pub fn insert(&mut self, member: Member) -> bool {
        let place = self.0.binary_search_by(|other| other.account_id.cmp(&member.account_id));
        let Some(place) = place.err().filter(|_| self.0.len() < MEMBERS_MAX) else { return false };
        let is_id = RecordId::parse(&member.account_id).is_some();
        if is_id {
            self.0.insert(place, member);
        }
        is_id
    }

    pub fn remove(&mut self, account_id: &str) -> Option<Member> {
        let place = self.place(account_id)?;
        Some(self.0.remove(place))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    pub fn get(&self, account_id: &str) -> Option<&Member> {
        self.0.get(self.place(account_id)?)
    }

    pub fn get_mut(&mut self, account_id: &str) -> Option<&mut Member> {
        let at = self.place(account_id)?;
        self.0.get_mut(at)
    }

    /// All but this one.
    pub fn others<'m>(&'m self, account_id: &'m str) -> impl Iterator<Item = &'m Member> {
        self.0.iter().filter(move |member| member.account_id != account_id)
    }

    pub fn account_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|member| member.account_id.as_str())
    }

    fn place(&self, account_id: &str) -> Option<usize> {
        self.0.binary_search_by(|member| member.account_id.as_str().cmp(account_id)).ok()
    }
}

impl Cell for Members {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        let shown = |member: &Member| {
            let seat = member.seat.as_ref().map(|seat| format!("/{seat}")).unwrap_or_default();
            let view = if member.view == View::default() { String::new() } else { format!(";{}", member.view) };
            let noted = if member.noted == Noted::default() { String::new() } else { format!("={}", member.noted) };
            format!("{}{}:{}{seat}{view}{noted}", member.account_id, member.consent, member.progress)
        };
        Value::Text(self.0.iter().map(shown).collect::<Vec<_>>().join(" "))
    }

    fn from_value(value: Value) -> Option<Self> {
        let text = String::from_value(value)?;
        let member = |shown: &str| {
            let (shown, noted) = shown.split_once('=').map_or((shown, None), |(shown, noted)| (shown, Some(noted)));
            let is_some = |noted: &Noted| *noted != Noted::default();
            let noted = noted.map_or(Some(Noted::default()), |noted| Noted::parse(noted).filter(is_some))?;
            let (shown, view) = shown.split_once(';').map_or((shown, None), |(shown, view)| (shown, Some(view)));
            let view =
                view.map_or(Some(View::default()), |view| View::parse(view).filter(|view| *view != View::default()))?;
            let (who, progress) = shown.split_once(':')?;
            let (account_id, consent) = who.split_at_checked(ID_CHARS).unwrap_or((who, ""));
            let (progress, seat) = progress.split_once('/').map_or((progress, None), |(rest, seat)| (rest, Some(seat)));
            let seat = seat.map_or(Some(None), |seat| Seat::parse(seat).map(Some))?;
            let (progress, consent) = (Progress::parse(progress)?, Consent::parse(consent)?);
            Some(Member { account_id: account_id.to_owned(), progress, consent, view, noted, seat })
        };
        text.split_terminator(' ').map(member).collect::<Option<Vec<_>>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> String {
        RecordId([n; 16]).to_string()
    }

    #[test]
    fn members_read_back_from_their_column() {
        let mut members = Members::new(&[id(2), id(1)]).unwrap();
        members.get_mut(&id(2)).unwrap().progress.read_up_to(7);
        members.get_mut(&id(1)).unwrap().progress.write(9);
        assert!(members.get_mut(&id(3)).is_none());
        assert_eq!(members.get(&id(2)).map(|member| member.progress.read_number()), Some(7));
        assert_eq!(members.get(&id(3)), None);
        assert_eq!(members.clone().into_value(), Value::Text(format!("{}:0:9-9 {}:7", id(1), id(2))));
        assert_eq!(Members::from_value(members.clone().into_value()), Some(members.clone()));
        for (consent, shown) in [(Consent::Asked, "?"), (Consent::Declined, "!"), (Consent::Accepted(12), "+12")] {
            members.get_mut(&id(2)).unwrap().consent = consent;
            let column = Value::Text(format!("{}:0:9-9 {}{shown}:7", id(1), id(2)));
            assert_eq!(members.clone().into_value(), column);
            assert_eq!(Members::from_value(column), Some(members.clone()));
        }
        members.get_mut(&id(1)).unwrap().seat = Seat::parse("o3.0.77.5");
        let column = Value::Text(format!("{}:0:9-9/o3.0.77.5 {}+12:7", id(1), id(2)));
        assert_eq!(members.clone().into_value(), column);
        assert_eq!(Members::from_value(column), Some(members.clone()));
        assert_eq!(Members::from_value(Value::Text(String::new())), Some(Members::default()));
        members.get_mut(&id(2)).unwrap().view.archived_at = Some(3);
        let column = Value::Text(format!("{}:0:9-9/o3.0.77.5 {}+12:7;0,3,0,0", id(1), id(2)));
        assert_eq!(members.clone().into_value(), column);
        assert_eq!(Members::from_value(column), Some(members.clone()));
        members.get_mut(&id(2)).unwrap().noted.note_own(9);
        let column = Value::Text(format!("{}:0:9-9/o3.0.77.5 {}+12:7;0,3,0,0=9", id(1), id(2)));
        assert_eq!(members.clone().into_value(), column);
        assert_eq!(Members::from_value(column), Some(members.clone()));
        let unknown = format!("{}x:0", id(1));
        let no_seat = format!("{}:0/x", id(1));
        let damaged = [
            "a:1=",
            "a:1=x",
            "a:1;",
            "a:1;x",
            "a",
            "a:",
            "a:b",
            "a:1  b:2",
            "a:1:2-2",
            unknown.as_str(),
            no_seat.as_str(),
        ];
        for damaged in damaged {
            assert_eq!(Members::from_value(Value::Text(damaged.into())), None, "{damaged}");
        }
    }

    #[test]
    fn a_conversation_has_two_members_to_a_hundred() {
        let many: Vec<String> = (0..=100).map(id).collect();
        assert_eq!(Members::new(&many[..100]).unwrap().account_ids().count(), 100);
        let refused = [&many[..], &many[..1], &[], &[id(1), id(1)], &[id(1), "bob".into()], &[id(1), String::new()]];
        assert!(refused.iter().all(|ids| Members::new(ids).is_none()));
    }
}
