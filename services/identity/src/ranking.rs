//! What is left of a ranking that a first page made, as its page token carries it: ids, the best first. Whatever changes between two
//! pages, a walk shows nobody twice and skips nobody who was there throughout.

use bytes::Bytes;
use kith_log::RecordId;
use kith_service::limits;
use kith_tables::Value;

/// Bytes of an account's id in a page token.
const ID_BYTES: usize = 16;
/// The longest of all rankings; a page token holds them.
const LEFT_MAX: usize = limits::SEARCH_RESULTS;
const _: () = assert!(LEFT_MAX >= limits::SUGGESTIONS && LEFT_MAX * ID_BYTES < limits::PAGE_CURSOR_BYTES);

/// The place in the list at which so much is left.
pub fn place(left: &[RecordId]) -> Vec<Value> {
    let ids: Vec<u8> = left.iter().flat_map(|id| id.0).collect();
    vec![Value::Blob(Bytes::from(ids))]
}

/// What is left there; `None`: [`place`] made no such thing.
pub fn left(place: &[Value]) -> Option<Vec<RecordId>> {
    let [Value::Blob(ids)] = place else { return None };
    let ids = ids.chunks(ID_BYTES).map(|id| id.try_into().ok().map(RecordId));
    ids.collect::<Option<Vec<_>>>().filter(|ids| ids.len() <= LEFT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_reads_back_and_nothing_else_does() {
        let ids = [RecordId([1; 16]), RecordId([0xff; 16])];
        assert_eq!(left(&place(&ids)).as_deref(), Some(&ids[..]));
        assert_eq!(left(&[]), None);
        assert_eq!(left(&["x".into()]), None);
        assert_eq!(left(&[Value::Blob(Bytes::from_static(&[1; 17]))]), None);
        assert_eq!(left(&place(&[ids[0]; LEFT_MAX + 1])), None);
    }
}
