//! An entry of a feed, before anything is known of how its post stands now.

use kith_tables::{Cell, Kind as ColumnKind, Timestamp, Value};

/// Where an entry stands in any feed. The greatest is the newest, and comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The post's id, or the share's. Empty: before every entry of that time.
    pub item_id: String,
}

/// What an entry comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Post,
    Share,
}

/// A post, or a share of one, in the feed of whoever wrote or shared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub kind: Kind,
    pub post_id: String,
    /// Whose feed it is from: the post's author, or who shared it.
    pub author_id: String,
    pub post_author_id: String,
    /// Known to be deleted or taken back. False says nothing: the card knows.
    pub over: bool,
}

impl Place {
    /// The place that all entries before `at_us` come after, and no others.
    pub fn before(at_us: i64) -> Self {
        Self { at_us, item_id: String::new() }
    }

    /// The clustering values of the row there.
    pub fn clustering(&self) -> [Value; 2] {
        [Timestamp(self.at_us).into(), self.item_id.as_str().into()]
    }

    /// From a row's clustering values.
    pub fn of(clustering: &[Value]) -> Option<Self> {
        match clustering {
            [Value::Timestamp(at), Value::Text(item_id)] => Some(Self { at_us: at.0, item_id: item_id.clone() }),
            _ => None,
        }
    }
}

impl Cell for Kind {
    const KIND: ColumnKind = ColumnKind::Text;

    fn into_value(self) -> Value {
        match self {
            Self::Post => "post".into(),
            Self::Share => "share".into(),
        }
    }

    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) if text == "post" => Some(Self::Post),
            Value::Text(text) if text == "share" => Some(Self::Share),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_from_its_row() {
        for at_us in [i64::MIN, -1, 0, 1_700_000_000_000, i64::MAX] {
            let place = Place { at_us, item_id: "a".to_owned() };
            assert_eq!(Place::of(&place.clustering()), Some(place));
        }
    }

    #[test]
    fn the_newest_place_is_the_greatest() {
        let place = |at_us, item_id: &str| Place { at_us, item_id: item_id.to_owned() };
        assert!(place(2, "a") > place(1, "z") && place(1, "b") > place(1, "a"));
        assert!(Place::before(1) < place(1, "a") && Place::before(1) > place(0, "z"));
    }

    #[test]
    fn kinds_are_words_in_their_column() {
        for kind in [Kind::Post, Kind::Share] {
            assert_eq!(Kind::from_value(kind.into_value()), Some(kind));
        }
        assert_eq!(Kind::from_value("quote".into()), None);
    }
}
