//! When an account was in a group before, and what it sees of that. Pure.

use std::fmt;

use kith_service::limits::GROUP_WINDOWS_PER_ACCOUNT;
use kith_tables::{Cell, Kind, Timestamp, Value};

use crate::consent::Consent;

/// A time in which an account was in a group.
///
/// Shown as `3-7@1700` (the messages 4 to 7, among the account's requests at microsecond 1700), with `?` behind it if the account was
/// asked, `+` if the group was in its inbox in the end, and `!` if it wanted no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The number of the last message before it.
    pub from: i64,
    /// The number of the last message in it.
    pub to: i64,
    /// Where it stood among the account's requests, if the account was asked.
    pub opened: Timestamp,
    /// Whether the account was asked.
    pub asked: bool,
    /// Whether it stood in the account's inbox in the end.
    pub listed: bool,
    /// Whether the account had declined it in the end, or left by itself, or had done so before and not accepted since.
    pub refused: bool,
}

/// The times of an account, oldest first, without the present one. Of more than [`GROUP_WINDOWS_PER_ACCOUNT`] the last ones; shown with
/// `+` before them if one of the others ended in the account's inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    kept: Vec<Window>,
    others_listed: bool,
}

/// One who is asked again within so long stands where it stood before among its requests.
const SAME_PLACE_US: i64 = 24 * 3_600 * 1_000_000;

impl Windows {
    /// One more, the last.
    pub fn close(&mut self, window: Window) {
        self.kept.push(window);
        let mut others = self.kept.drain(..self.kept.len().saturating_sub(GROUP_WINDOWS_PER_ACCOUNT));
        self.others_listed |= others.any(|window| window.listed);
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Window> {
        self.kept.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether it ever stood in the account's inbox.
    pub fn were_listed(&self) -> bool {
        self.others_listed || self.kept.iter().any(|window| window.listed)
    }

    /// Where it stood among the account's requests.
    pub fn asked(&self) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.kept.iter().filter(|window| window.asked).map(|window| window.opened)
    }

    /// Where it stands for an account that is asked then: in the place of before, if that is no day old. So whoever adds and removes
    /// an account over and over leaves it one place a day, and does not come to the top of its requests.
    pub fn opens_at(&self, at: Timestamp) -> Timestamp {
        let is_near = |before: &Timestamp| (0..SAME_PLACE_US).contains(&at.0.saturating_sub(before.0));
        self.asked().next_back().filter(is_near).unwrap_or(at)
    }

    /// Whether the account wanted no more of it.
    pub fn are_refused(&self) -> bool {
        self.kept.last().is_some_and(|last| last.refused)
    }

    /// What an account that is added makes of it; `asked`: it does not follow who adds it. One that wanted no more is not put back into
    /// its inbox, and not asked again what it has declined.
    pub fn consent(&self, asked: bool) -> Consent {
        match (asked, self.kept.last().filter(|last| last.refused)) {
            (false, None) => Consent::Given,
            (true, Some(last)) if !last.listed => Consent::Declined,
            (true, _) | (false, Some(_)) => Consent::Asked,
        }
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        let (shown, others_listed) = shown.strip_prefix('+').map_or((shown, false), |rest| (rest, true));
        let kept = shown.split_terminator(',').map(Window::parse).collect::<Option<Vec<_>>>()?;
        let rise = kept.is_sorted_by(|one, next| one.to <= next.from);
        let is_sound = if others_listed { kept.len() == GROUP_WINDOWS_PER_ACCOUNT } else { true };
        (rise && is_sound && kept.len() <= GROUP_WINDOWS_PER_ACCOUNT).then_some(Self { kept, others_listed })
    }
}

impl Window {
    fn parse(shown: &str) -> Option<Self> {
        let (shown, refused) = shown.strip_suffix('!').map_or((shown, false), |rest| (rest, true));
        let (shown, listed) = shown.strip_suffix('+').map_or((shown, false), |rest| (rest, true));
        let (shown, asked) = shown.strip_suffix('?').map_or((shown, false), |rest| (rest, true));
        let (numbers, opened) = shown.split_once('@')?;
        let (from, to) = numbers.split_once('-')?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        let is_sound = (0..=to).contains(&from);
        is_sound.then_some(Self { from, to, opened: Timestamp(opened.parse().ok()?), asked, listed, refused })
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |holds: bool, letter: &'static str| if holds { letter } else { "" };
        f.write_str(shown(self.others_listed, "+"))?;
        for (n, window) in self.kept.iter().enumerate() {
            let Window { from, to, opened, asked, listed, refused } = *window;
            let letters = [shown(asked, "?"), shown(listed, "+"), shown(refused, "!")].concat();
            write!(f, "{}{from}-{to}@{}{letters}", shown(n > 0, ","), opened.0)?;
        }
        Ok(())
    }
}

impl Cell for Windows {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        Value::Text(self.to_string())
    }

    fn from_value(value: Value) -> Option<Self> {
        Self::parse(&String::from_value(value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window { from, to, opened: Timestamp(from * 10), asked: from == 3, listed: to != 3, refused: to == 9 }
    }

    #[test]
    fn the_last_times_of_an_account_are_kept() {
        let mut windows = Windows::default();
        for n in 0..20 {
            windows.close(window(n, n + 1));
        }
        assert_eq!(windows.iter().map(|window| window.from).collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
        assert_eq!(Windows::from_value(windows.clone().into_value()), Some(windows));
    }

    #[test]
    fn that_it_ever_was_in_the_inbox_is_never_forgotten() {
        let mut windows = Windows::default();
        windows.close(window(0, 1));
        for n in 1..30 {
            assert!(windows.were_listed());
            windows.close(Window { listed: false, ..window(n, n) });
        }
        assert!(windows.were_listed() && windows.to_string().starts_with("+14-14@140,"));
        assert_eq!(Windows::parse(&windows.to_string()), Some(windows));
        assert_eq!(Windows::parse("+1-2@5"), None);
    }

    #[test]
    fn who_wanted_no_more_is_asked_or_stays_silent() {
        let after = |listed, refused| {
            let mut windows = Windows::default();
            windows.close(Window { asked: true, listed, refused, ..window(0, 1) });
            [windows.consent(false), windows.consent(true)]
        };
        use Consent::{Asked, Declined, Given};
        assert_eq!(Windows::default().consent(false), Given);
        assert_eq!([after(true, false), after(false, false)], [[Given, Asked]; 2], "removed by others");
        assert_eq!(after(true, true), [Asked; 2], "left");
        assert_eq!(after(false, true), [Asked, Declined], "declined, or left without having accepted");
    }

    #[test]
    fn one_group_leaves_an_account_one_place_a_day_among_its_requests() {
        let mut windows = Windows::default();
        assert_eq!(windows.opens_at(Timestamp(5)), Timestamp(5));
        windows.close(Window { opened: Timestamp(5), asked: true, ..window(0, 1) });
        windows.close(Window { opened: Timestamp(9), asked: false, ..window(1, 1) });
        assert_eq!(windows.opens_at(Timestamp(SAME_PLACE_US + 4)), Timestamp(5));
        for later in [SAME_PLACE_US + 5, 3] {
            assert_eq!(windows.opens_at(Timestamp(later)), Timestamp(later));
        }
    }

    #[test]
    fn windows_read_back_from_their_column() {
        let mut windows = Windows::default();
        assert_eq!(Windows::from_value(windows.clone().into_value()), Some(windows.clone()));
        windows.close(window(0, 3));
        windows.close(window(3, 3));
        windows.close(window(3, 9));
        assert_eq!(windows.to_string(), "0-3@0,3-3@30?,3-9@30?+!");
        assert_eq!(Windows::from_value(windows.clone().into_value()), Some(windows.clone()));
        assert_eq!((windows.were_listed(), windows.asked().count()), (true, 2));
        for damaged in ["x", "1", "1-2", "2-1@5", "-1-2@5", "1-2@x", "1-2@5,1-2@6", "1-2@5+?", "1-2@5!+", "+"] {
            assert_eq!(Windows::parse(damaged), None, "{damaged}");
        }
    }
}
