//! Which records last changed something for one member alone: so who was away is told that, and nothing of what the others keep to
//! themselves. Pure.

use std::fmt;

use kith_log::Offset;

/// Offsets in the conversation's log partition. Shown as `7`, or as `7^5` if record 5 moved the marker that the others are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noted {
    /// Of what the member has read or made of the conversation, and of its role.
    own: Option<Offset>,
    /// Of the marker that the others are shown. Only one that is shown: what a stranger has read stays unknown.
    marker: Option<Offset>,
}

impl Noted {
    /// The last record that the member alone is told of.
    pub fn own(self) -> Option<Offset> {
        self.own
    }

    /// The last record that moved the marker that the others are shown.
    pub fn marker(self) -> Option<Offset> {
        self.marker
    }

    pub fn note_own(&mut self, offset: Offset) {
        self.own = self.own.max(Some(offset));
    }

    pub fn note_marker(&mut self, offset: Offset) {
        self.marker = self.marker.max(Some(offset));
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        let (own, marker) = shown.split_once('^').map_or((shown, None), |(own, marker)| (own, Some(marker)));
        let own = if own.is_empty() { None } else { Some(own.parse().ok()?) };
        let marker = marker.map(|marker| marker.parse().ok()).map_or(Some(None), |marker| marker.map(Some))?;
        Some(Self { own, marker })
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.map_or(Ok(()), |own| write!(f, "{own}"))?;
        self.marker.map_or(Ok(()), |marker| write!(f, "^{marker}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_rises_and_reads_back() {
        let mut noted = Noted::default();
        assert_eq!((noted.to_string().as_str(), Noted::parse("")), ("", Some(noted)));
        noted.note_own(7);
        noted.note_own(5);
        assert_eq!((noted.to_string().as_str(), noted.own()), ("7", Some(7)));
        assert_eq!(Noted::parse("7"), Some(noted));
        noted.note_marker(9);
        noted.note_marker(0);
        assert_eq!((noted.to_string().as_str(), noted.marker()), ("7^9", Some(9)));
        assert_eq!([Noted::parse("7^9"), Noted::parse("^9").map(|_| noted)], [Some(noted); 2]);
        assert!(["x", "7^", "7^x", "^", "-1", "7^9^9"].iter().all(|damaged| Noted::parse(damaged).is_none()));
    }
}
