//! Where a conversation stands in its members' inboxes, and where it stood before. Pure.
//!
//! A place is an hour: an inbox is in the order of activity, and one place an hour keeps what a busy conversation leaves
//! behind small.

use kith_log::Offset;
use kith_tables::{Cell, Kind, Timestamp, Value};

/// Former places that a conversation remembers: as often it may move before a crash until all that it left is cleared.
pub const LEFT_KEPT: usize = 8;
/// Of these, the last ones in which its index rows stay, for walks that began when it stood there. So a walk misses
/// nothing while no conversation moves more often than this, which takes at least an hour.
pub const LEFT_STANDING: usize = 2;

/// A conversation in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Since 1970, of the fold's hours.
    pub hour: i64,
    /// When it was last written in there.
    pub time: Timestamp,
    /// The offset of the record that moved it there, in the conversation's log partition.
    pub entered: Offset,
}

/// The places of a conversation, the present one last. In its column it reads `hour:microseconds:offset`, with spaces
/// between.
///
/// They only rise: a conversation never comes back to a place that it left, so what is removed there stays away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<Place>);

impl Places {
    /// The record at `offset` was written in it at that time. A time before the present hour counts as of this hour.
    pub fn be_active(&mut self, hour: i64, time: Timestamp, offset: Offset) {
        match self.0.last_mut() {
            Some(now) if hour <= now.hour => now.time = now.time.max(time),
            _ => {
                self.0.push(Place { hour, time, entered: offset });
                self.0.drain(..self.0.len().saturating_sub(LEFT_KEPT + 1));
            }
        }
    }

    /// Where it stood for a reader who has the log up to `offset`; `None`: nowhere yet, or it has moved too often since.
    pub fn at(&self, offset: Option<Offset>) -> Option<&Place> {
        self.0.iter().rfind(|place| Some(place.entered) <= offset)
    }

    /// Whether the record at `offset` moved it, or may have: it is older than what is remembered.
    pub fn is_move(&self, offset: Offset) -> bool {
        let forgotten = self.0.len() > LEFT_KEPT && self.0.first().is_some_and(|oldest| offset < oldest.entered);
        forgotten || self.0.iter().any(|place| place.entered == offset)
    }

    /// As for a member in whose inbox it is since the record at `accepted`; `None`: since the beginning. Of the place in which
    /// it stood then, that record counts as the one that moved it there. The same for every later record: so no two writes
    /// of a row by place differ.
    #[must_use]
    pub fn since(&self, accepted: Option<Offset>) -> Self {
        let Some(accepted) = accepted else { return self.clone() };
        let stood_in = self.0.iter().rposition(|place| place.entered <= accepted).unwrap_or(0);
        let mut places = self.0[stood_in..].to_vec();
        places.first_mut().into_iter().for_each(|place| place.entered = place.entered.max(accepted));
        Self(places)
    }

    /// The places in which its index rows stand.
    pub fn standing(&self) -> &[Place] {
        &self.0[self.left_behind()..]
    }

    /// The places from which its index rows go.
    pub fn gone(&self) -> &[Place] {
        &self.0[..self.left_behind()]
    }

    /// All that are known, the present one last.
    pub fn remembered(&self) -> &[Place] {
        &self.0
    }

    /// What an inbox needs of them.
    pub fn for_readers(&self) -> Self {
        Self(self.standing().to_vec())
    }

    fn left_behind(&self) -> usize {
        self.0.len().saturating_sub(LEFT_STANDING + 1)
    }
}

impl Cell for Places {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        let shown = |place: &Place| format!("{}:{}:{}", place.hour, place.time.0, place.entered);
        Value::Text(self.0.iter().map(shown).collect::<Vec<_>>().join(" "))
    }

    fn from_value(value: Value) -> Option<Self> {
        let text = String::from_value(value)?;
        let place = |shown: &str| {
            let (hour, rest) = shown.split_once(':')?;
            let (time, entered) = rest.split_once(':')?;
            let time = Timestamp(time.parse().ok()?);
            Some(Place { hour: hour.parse().ok()?, time, entered: entered.parse().ok()? })
        };
        let places = Self(text.split_terminator(' ').map(place).collect::<Option<Vec<_>>>()?);
        places.is_sound().then_some(places)
    }
}

impl Places {
    fn is_sound(&self) -> bool {
        self.0.is_sorted_by(|one, next| one.hour < next.hour && one.entered < next.entered)
            && self.0.len() <= LEFT_KEPT + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(active: &[(i64, Offset)]) -> Places {
        let mut places = Places::default();
        active.iter().for_each(|&(hour, offset)| places.be_active(hour, Timestamp(hour * 100), offset));
        places
    }

    fn hours(places: &[Place]) -> Vec<i64> {
        places.iter().map(|place| place.hour).collect()
    }

    #[test]
    fn a_conversation_moves_once_an_hour_and_never_back() {
        let mut places = moved(&[(5, 1), (5, 2), (6, 4), (5, 7), (6, 8)]);
        assert_eq!(hours(&places.0), [5, 6]);
        assert_eq!([0, 1, 2, 4, 7, 8].map(|offset| places.is_move(offset)), [false, true, false, true, false, false]);
        places.be_active(6, Timestamp(650), 9);
        places.be_active(4, Timestamp(400), 10);
        assert_eq!(places.0.last(), Some(&Place { hour: 6, time: Timestamp(650), entered: 4 }));
    }

    #[test]
    fn it_stood_where_the_log_had_it() {
        let places = moved(&[(5, 1), (6, 4), (9, 7)]);
        let at = |offset| places.at(offset).map(|place| place.hour);
        assert_eq!([None, Some(0), Some(1), Some(3)].map(at), [None, None, Some(5), Some(5)]);
        assert_eq!([Some(4), Some(6), Some(7), Some(99)].map(at), [Some(6), Some(6), Some(9), Some(9)]);
        assert_eq!(Places::default().at(Some(5)), None);
    }

    #[test]
    fn the_last_places_stand_and_eight_are_remembered() {
        let all: Vec<(i64, Offset)> = (0..20_i64).map(|n| (n, 10 + n.unsigned_abs())).collect();
        let places = moved(&all);
        assert_eq!((hours(places.gone()), hours(places.standing())), ((11..17).collect(), vec![17, 18, 19]));
        assert_eq!(places.for_readers().0, places.standing());
        assert_eq!([20, 21, 28, 29, 30].map(|offset| places.is_move(offset)), [true, true, true, true, false]);
        assert_eq!(places.for_readers().at(Some(26)), None, "it has moved too often since");
        assert!(moved(&[(5, 1)]).gone().is_empty());
    }

    #[test]
    fn who_accepted_has_it_from_then_on() {
        let places = moved(&[(5, 1), (6, 4), (9, 7)]);
        let since =
            |accepted| places.since(accepted).0.iter().map(|place| (place.hour, place.entered)).collect::<Vec<_>>();
        assert_eq!(since(None), [(5, 1), (6, 4), (9, 7)]);
        assert_eq!(since(Some(5)), [(6, 5), (9, 7)]);
        assert_eq!([since(Some(7)), since(Some(9))], [[(9, 7)], [(9, 9)]]);
        let late = places.since(Some(5));
        assert_eq!((late.at(Some(4)), late.at(Some(6)).map(|place| place.hour)), (None, Some(6)));
        let mut later = places.clone();
        later.be_active(12, Timestamp(1_200), 20);
        assert_eq!(later.since(Some(5)).0[..2], late.0, "the same for every later record");
        assert_eq!(Places::default().since(Some(5)), Places::default());
    }

    #[test]
    fn places_read_back_from_their_column() {
        for sound in [moved(&[]), moved(&[(-3, 0)]), moved(&[(5, 1), (6, 4), (9, 7)])] {
            assert_eq!(Places::from_value(sound.clone().into_value()), Some(sound));
        }
        assert_eq!(moved(&[(5, 1), (6, 4)]).into_value(), Value::Text("5:500:1 6:600:4".into()));
        for damaged in ["x", "1", "1:2", "1:2:3:4", "1:2:x", "5:1:1  6:1:2", "6:1:1 5:1:2", "5:1:2 6:1:2"] {
            assert_eq!(Places::from_value(Value::Text(damaged.into())), None, "{damaged}");
        }
    }
}
