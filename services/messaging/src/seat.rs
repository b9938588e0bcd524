//! A member's place in a group: its role, and since when it is there. Pure.

use std::fmt;

use kith_log::Offset;
use kith_proto::messaging::v1::MemberRole;
use kith_tables::Timestamp;

use crate::role;
use crate::windows::Windows;

/// Shown as `m8.12.1700.55`: role, number, last message before, since when, by the record at which offset; then `@` and where it stands
/// among the requests, if not there; then `^` and who added it, while that is of use; then `~` and the times before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub role: MemberRole,
    /// One more than the offset of the intent that it began with: no two times of an account in a group have the same.
    pub number: i64,
    /// The number of the last message before it.
    pub from: i64,
    pub joined: Timestamp,
    /// Where the group stands, or stood, among the member's requests, if it was asked.
    pub opened: Timestamp,
    /// The record that it began with, in the conversation's log partition.
    pub began: Offset,
    /// Who added the member, while the group waits among its requests; else empty.
    pub added_by: String,
    pub before: Windows,
}

impl Seat {
    /// Whether the member sees the message of that number: it was written in this time, or in one before.
    pub fn shows(&self, number: i64) -> bool {
        self.from < number || self.before.iter().any(|window| window.from < number && number <= window.to)
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        let (shown, before) = shown.split_once('~').unwrap_or((shown, ""));
        let (shown, added_by) = shown.split_once('^').unwrap_or((shown, ""));
        let (shown, opened) = shown.split_once('@').map_or((shown, None), |(rest, opened)| (rest, Some(opened)));
        let (letter, numbers) = shown.split_at_checked(1)?;
        let mut numbers = numbers.split('.');
        let mut next = || numbers.next();
        let (number, from) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let joined = Timestamp(next()?.parse().ok()?);
        let seat = Self {
            role: role::parse(letter)?,
            number,
            from,
            joined,
            opened: opened.map_or(Some(joined), |opened| opened.parse().ok().map(Timestamp))?,
            began: next()?.parse().ok()?,
            added_by: added_by.to_owned(),
            before: Windows::parse(before)?,
        };
        (numbers.next().is_none() && seat.from >= 0).then_some(seat)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, number, from, joined, opened, began, added_by, before } = self;
        write!(f, "{}{number}.{from}.{}.{began}", role::letter(*role), joined.0)?;
        if opened != joined {
            write!(f, "@{}", opened.0)?;
        }
        if !added_by.is_empty() {
            write!(f, "^{added_by}")?;
        }
        if !before.is_empty() {
            write!(f, "~{before}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Window;

    #[test]
    fn a_seat_reads_back() {
        let mut seat = Seat {
            role: MemberRole::Member,
            number: 8,
            from: 12,
            joined: Timestamp(1_700),
            opened: Timestamp(1_700),
            began: 55,
            added_by: String::new(),
            before: Windows::default(),
        };
        assert_eq!(seat.to_string(), "m8.12.1700.55");
        assert_eq!(Seat::parse(&seat.to_string()), Some(seat.clone()));
        seat.added_by = "ada".to_owned();
        let (opened, asked, listed, refused) = (Timestamp(9), true, false, false);
        seat.before.close(Window { from: 1, to: 3, opened, asked, listed, refused });
        seat.opened = Timestamp(9);
        assert_eq!(seat.to_string(), "m8.12.1700.55@9^ada~1-3@9?");
        assert_eq!(Seat::parse(&seat.to_string()), Some(seat.clone()));
        assert_eq!([1, 2, 3, 4, 12, 13].map(|number| seat.shows(number)), [false, true, true, false, false, true]);
        for damaged in
            ["", "x1.2.3.4", "m1.2.3", "m1.2.3.4.5", "m1.-2.3.4", "ma.2.3.4", "m1.2.3.4~x", "m1.2.3.4@x", "é1.2.3.4"]
        {
            assert_eq!(Seat::parse(damaged), None, "{damaged}");
        }
    }
}
