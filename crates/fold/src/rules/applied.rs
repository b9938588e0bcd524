use bytes::Bytes;
use kith_log::RecordId;
use kith_tables::{Cell, Kind, Value};

/// The number of command ids that a row that can be set back keeps.
pub const APPLIED_IDS_PER_ROW: usize = 16;
const ID_BYTES: usize = 16;

/// The ids of the last commands applied to a row, oldest first. A late copy of one of them must change nothing, or it
/// would undo later changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedIds(Vec<RecordId>);

impl AppliedIds {
    pub fn contains(&self, id: RecordId) -> bool {
        self.0.contains(&id)
    }

    /// Adds `id`; false if it is there already, and the record must change nothing.
    #[must_use]
    pub fn insert(&mut self, id: RecordId) -> bool {
        if self.contains(id) {
            return false;
        }
        if self.0.len() == APPLIED_IDS_PER_ROW {
            self.0.remove(0);
        }
        self.0.push(id);
        true
    }
}

impl Cell for AppliedIds {
    const KIND: Kind = Kind::Blob;

    fn into_value(self) -> Value {
        Value::Blob(self.0.iter().flat_map(|id| id.0).collect())
    }

    fn from_value(value: Value) -> Option<Self> {
        let bytes = Bytes::from_value(value)?;
        let ids = bytes.chunks(ID_BYTES).map(|chunk| chunk.try_into().ok().map(RecordId));
        ids.collect::<Option<Vec<_>>>().filter(|ids| ids.len() <= APPLIED_IDS_PER_ROW).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_sixteen_in_order() {
        let id = |n: u8| RecordId([n; 16]);
        let mut applied = AppliedIds::default();
        for n in 0..20 {
            assert!(applied.insert(id(n)));
        }
        assert!(!applied.insert(id(4)));
        assert!(!applied.contains(id(3)));
        assert_eq!(AppliedIds::from_value(applied.clone().into_value()), Some(applied));
    }

    #[test]
    fn refuses_bytes_that_are_no_ids() {
        assert_eq!(AppliedIds::from_value(Value::Blob(Bytes::from_static(b"short"))), None);
        assert_eq!(AppliedIds::from_value(Value::Blob(Bytes::from(vec![0; 16 * 17]))), None);
    }
}
