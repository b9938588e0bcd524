//! When an account was in a group before, and what it sees of that. Pure.

use std::fmt;

use kith_service::limits::GROUP_WINDOWS_PER_ACCOUNT;
use kith_tables::{Cell, Kind, Timestamp, Value};

/// A time in which an account was in a group.
///
/// Shown as `3-7@1700` (the messages 4 to 7, in the group since microsecond 1700), with `?` behind it if the group waited among
/// the account's requests, and `+` if it was in the account's inbox in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The number of the last message before it.
    pub from: i64,
    /// The number of the last message in it.
    pub to: i64,
    pub joined: Timestamp,
    /// Whether the account was asked.
    pub asked: bool,
    /// Whether it stood in the account's inbox in the end.
    pub listed: bool,
}

/// The times of an account, oldest first, without the present one. Of more than [`GROUP_WINDOWS_PER_ACCOUNT`] the last ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// One more, the last.
    pub fn close(&mut self, window: Window) {
        self.0.push(window);
        self.0.drain(..self.0.len().saturating_sub(GROUP_WINDOWS_PER_ACCOUNT));
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Window> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it ever stood in the account's inbox.
    pub fn were_listed(&self) -> bool {
        self.0.iter().any(|window| window.listed)
    }

    /// When the account was asked.
    pub fn asked(&self) -> impl Iterator<Item = Timestamp> {
        self.0.iter().filter(|window| window.asked).map(|window| window.joined)
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        let windows = Self(shown.split_terminator(',').map(Window::parse).collect::<Option<Vec<_>>>()?);
        let rise = windows.0.is_sorted_by(|one, next| one.to <= next.from);
        (rise && windows.0.len() <= GROUP_WINDOWS_PER_ACCOUNT).then_some(windows)
    }
}

impl Window {
    fn parse(shown: &str) -> Option<Self> {
        let (shown, listed) = shown.strip_suffix('+').map_or((shown, false), |rest| (rest, true));
        let (shown, asked) = shown.strip_suffix('?').map_or((shown, false), |rest| (rest, true));
        let (numbers, joined) = shown.split_once('@')?;
        let (from, to) = numbers.split_once('-')?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        let is_sound = (0..=to).contains(&from);
        is_sound.then_some(Self { from, to, joined: Timestamp(joined.parse().ok()?), asked, listed })
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, window) in self.0.iter().enumerate() {
            let (asked, listed) = (if window.asked { "?" } else { "" }, if window.listed { "+" } else { "" });
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}@{}{asked}{listed}", window.from, window.to, window.joined.0)?;
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
        Window { from, to, joined: Timestamp(from * 10), asked: from == 3, listed: to != 3 }
    }

    #[test]
    fn the_last_times_of_an_account_are_kept() {
        let mut windows = Windows::default();
        for n in 0..20 {
            windows.close(window(n, n + 1));
        }
        assert_eq!(windows.iter().map(|window| window.from).collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
    }

    #[test]
    fn windows_read_back_from_their_column() {
        let mut windows = Windows::default();
        assert_eq!(Windows::from_value(windows.clone().into_value()), Some(windows.clone()));
        windows.close(window(0, 3));
        windows.close(window(3, 3));
        windows.close(window(3, 9));
        assert_eq!(windows.to_string(), "0-3@0,3-3@30?,3-9@30?+");
        assert_eq!(Windows::from_value(windows.clone().into_value()), Some(windows.clone()));
        assert_eq!((windows.were_listed(), windows.asked().count()), (true, 2));
        for damaged in ["x", "1", "1-2", "2-1@5", "-1-2@5", "1-2@x", "1-2@5,1-2@6", "1-2@5+?"] {
            assert_eq!(Windows::parse(damaged), None, "{damaged}");
        }
    }
}
