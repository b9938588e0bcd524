use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use kith_log::Offset;
use kith_tables::{Row, RowKey, RowType, Table, Value, Write};

use super::Scope;

/// The maximum of hashes of written rows per table partition; one with more is read again.
const WRITTEN_KEPT: usize = 1_024;

/// A fold's view of a table partition: the rows of its scope, and the summary row of its own log partition.
#[derive(Debug, Clone)]
pub struct Rows {
    table: &'static Table,
    summary_key: RowKey,
    /// Rows known to be there or known not to be.
    known: Known,
    dirty: BTreeSet<RowKey>,
    /// For a table partition that had no mark when first read: hashes of the keys of all rows written since. A row that
    /// is not among them does not exist and need not be read. Another row with the same hash is read.
    written: Option<BTreeSet<u64>>,
    /// The offset of the record being applied; every row it changes gets it as its position.
    at: Offset,
    /// A forbidden read of a fold: its partition stops, since otherwise the row would be taken as absent.
    fault: OnceLock<String>,
}

impl Rows {
    /// For an engine, or a test of a fold: an empty table partition as log partition `source` sees it.
    pub fn new(table: &'static Table, source: i32) -> Self {
        let summary_key = table.summary_key(source);
        let (known, dirty) = (Known::default(), BTreeSet::new());
        Self { table, summary_key, known, dirty, written: None, at: 0, fault: OnceLock::new() }
    }

    /// For a test of a fold: rows that `scope` names and that are not known yet count as absent.
    pub fn load_empty(&mut self, scope: &Scope) {
        for key in &scope.rows {
            if !self.knows(key) {
                self.known.set(key.clone(), None);
            }
        }
    }

    /// The row of type `R`, if there is one. Only rows named by [`super::Fold::scope`], or put before, may be asked for;
    /// another one, or one that does not read as its type, stops the partition.
    pub fn get<R: RowType>(&self, clustering: impl IntoIterator<Item = Value>) -> Option<R> {
        let row = self.row::<R>(clustering)?;
        let read = row.read();
        if read.is_none() {
            self.blame(&row.key, "does not read as its type");
        }
        read
    }

    /// The position of that row.
    pub fn position<R: RowType>(&self, clustering: impl IntoIterator<Item = Value>) -> Option<u64> {
        self.row::<R>(clustering).map(|row| row.position)
    }

    /// Writes the row whole, at the position of the record being applied. An equal row stays unchanged.
    pub fn put<R: RowType>(&mut self, clustering: impl IntoIterator<Item = Value>, row: R) {
        self.write(RowKey::of::<R>(clustering), row.into_columns());
    }

    /// The columns of the summary row, or their defaults.
    pub fn summary<S: RowType + Default>(&self) -> S {
        let Some(row) = self.known.row(&self.summary_key) else { return S::default() };
        let read = S::from_columns(row.columns.iter().skip(1).cloned().collect());
        if read.is_none() {
            self.blame(&row.key, "does not read as its type");
        }
        read.unwrap_or_default()
    }

    /// Why the partition must stop, if it must.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    pub fn set_summary<S: RowType>(&mut self, summary: S) {
        let mark = self.mark().unwrap_or(self.at);
        let columns = std::iter::once(mark_value(mark)).chain(summary.into_columns()).collect();
        self.write(self.summary_key.clone(), columns);
    }

    /// The last offset applied to these rows: the position to stamp on values that are a function of the current rows.
    pub fn mark(&self) -> Option<Offset> {
        let row = self.known.row(&self.summary_key)?;
        match row.columns.first() {
            Some(Value::BigInt(mark)) => Offset::try_from(*mark).ok(),
            _ => None,
        }
    }

    /// Runs `apply` for the record at `offset` and sets the mark, unless the mark has passed it: then false.
    pub fn apply_at(&mut self, offset: Offset, apply: impl FnOnce(&mut Self)) -> bool {
        if self.mark().is_some_and(|mark| offset <= mark) {
            return false;
        }
        self.at = offset;
        apply(self);
        let summary = match self.known.take(&self.summary_key) {
            Some(row) => row.columns.into_iter().skip(1).collect(),
            None => self.table.summary.iter().map(|c| c.kind.default_value()).collect::<Vec<_>>(),
        };
        let columns = std::iter::once(mark_value(offset)).chain(summary).collect();
        self.write(self.summary_key.clone(), columns);
        true
    }

    /// The rows to write, in key order; they count as written from then on.
    pub(crate) fn take_dirty(&mut self) -> Vec<Write> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.iter().filter_map(|key| self.known.row(key).cloned().map(Write::from)).collect()
    }

    pub(crate) fn summary_key(&self) -> &RowKey {
        &self.summary_key
    }

    pub(crate) fn knows(&self, key: &RowKey) -> bool {
        self.known.place(key).is_ok()
    }

    pub(crate) fn learn(&mut self, key: RowKey, row: Option<Row>) {
        if row.is_some() {
            self.count_written(&key);
        }
        self.known.set(key, row);
    }

    /// No row of this log partition exists yet; this is known.
    pub(crate) fn begin(&mut self, summary: RowKey, rows: impl IntoIterator<Item = RowKey>) {
        self.written = Some(BTreeSet::new());
        std::iter::once(summary).chain(rows).for_each(|key| self.known.set(key, None));
    }

    /// Whether the row is known to be absent without a read.
    pub(crate) fn lacks(&self, key: &RowKey) -> bool {
        self.written.as_ref().is_some_and(|written| !written.contains(&hash(key)))
    }

    /// The number of hashes of written rows, if they are kept.
    pub(crate) fn written(&self) -> Option<usize> {
        self.written.as_ref().map(BTreeSet::len)
    }

    /// Keeps only the summary row.
    pub(crate) fn shrink(&mut self) {
        let summary_key = &self.summary_key;
        self.known.0.retain(|(key, _)| key == summary_key);
        self.known.0.shrink_to_fit();
    }

    pub(crate) fn forget(&mut self) {
        self.known.0.clear();
        self.dirty.clear();
        self.written = None;
    }

    pub(crate) fn len(&self) -> usize {
        self.known.0.len()
    }

    fn row<R: RowType>(&self, clustering: impl IntoIterator<Item = Value>) -> Option<&Row> {
        let key = RowKey::of::<R>(clustering);
        if !self.knows(&key) {
            self.blame(&key, "was not asked for");
        }
        self.known.row(&key)
    }

    /// The first fault is kept. Keys are ids of people and things: they are left out.
    fn blame(&self, key: &RowKey, what: &str) {
        let _ = self.fault.set(format!("a row of section {} of table {} {what}", key.section, self.table.name));
    }

    fn write(&mut self, key: RowKey, columns: Vec<Value>) {
        let same = self.known.row(&key).is_some_and(|row| row.columns == columns);
        if !same {
            self.count_written(&key);
            let row = Row { key: key.clone(), columns, position: self.at };
            self.known.set(key.clone(), Some(row));
            self.dirty.insert(key);
        }
    }

    fn count_written(&mut self, key: &RowKey) {
        if let Some(written) = &mut self.written {
            written.insert(hash(key));
        }
        self.written.take_if(|written| written.len() > WRITTEN_KEPT);
    }
}

fn hash(key: &RowKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// In the order of the keys. A list, as most table partitions have two or three known rows here, and many are cached: a
/// tree's smallest node has room for eleven.
#[derive(Debug, Clone, Default)]
struct Known(Vec<(RowKey, Option<Row>)>);

impl Known {
    /// The index of the key, or its insertion point.
    fn place(&self, key: &RowKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    fn row(&self, key: &RowKey) -> Option<&Row> {
        self.place(key).ok().and_then(|at| self.0[at].1.as_ref())
    }

    /// Removes the row; then it is known to be absent.
    fn take(&mut self, key: &RowKey) -> Option<Row> {
        self.place(key).ok().and_then(|at| self.0[at].1.take())
    }

    fn set(&mut self, key: RowKey, row: Option<Row>) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = row,
            Err(at) => self.0.insert(at, (key, row)),
        }
    }
}

fn mark_value(mark: Offset) -> Value {
    Value::BigInt(i64::try_from(mark).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use kith_tables::{Column, Order, Section, row};

    use super::*;

    static WORDS: Table = Table {
        name: "words",
        partition: &[Column::text("book")],
        clustering: &[Column::text("word")],
        order: Order::Ascending,
        sections: &[Section::of::<WordRow>("word")],
        summary: WordCount::COLUMNS,
    };
    row! {
        #[derive(Debug, Clone, Default, PartialEq)]
        struct WordRow in 0 { seen: i64 }
    }
    row! {
        #[derive(Debug, Clone, Default, PartialEq)]
        struct WordCount in 0 { words: i64 }
    }

    fn rows_with(words: &[&str]) -> Rows {
        let mut rows = Rows::new(&WORDS, 5_003);
        let scope = Scope::new(&WORDS, kith_tables::Key::text("book"));
        rows.load_empty(&words.iter().fold(scope, |scope, &word| scope.with::<WordRow>([word.into()])));
        rows
    }

    fn see(rows: &mut Rows, offset: Offset, word: &str) {
        rows.apply_at(offset, |rows| {
            let seen = rows.get::<WordRow>([word.into()]).unwrap_or_default().seen + 1;
            rows.put([word.into()], WordRow { seen });
            let WordCount { words } = rows.summary();
            rows.set_summary(WordCount { words: words + 1 });
        });
    }

    #[test]
    fn a_record_at_or_below_the_mark_is_not_applied_again() {
        let mut rows = rows_with(&["a", "b"]);
        assert_eq!(rows.mark(), None);
        see(&mut rows, 0, "a");
        see(&mut rows, 7, "b");
        for offset in [0, 6, 7] {
            see(&mut rows, offset, "a");
        }
        assert_eq!((rows.mark(), rows.summary::<WordCount>().words), (Some(7), 2));
        assert_eq!(rows.get::<WordRow>(["a".into()]), Some(WordRow { seen: 1 }));
        assert_eq!(rows.position::<WordRow>(["a".into()]), Some(0));
    }

    #[test]
    fn what_changed_is_written_once_with_the_mark() {
        let mut rows = rows_with(&["a", "b"]);
        see(&mut rows, 3, "b");
        see(&mut rows, 4, "a");
        let written = rows.take_dirty();
        let key = |write: &Write| (write.key.section, write.position);
        assert_eq!(written.iter().map(key).collect::<Vec<_>>(), [(-5_003, 4), (0, 4), (0, 3)], "in key order");
        assert_eq!(written[0].columns, Some(vec![Value::BigInt(4), Value::BigInt(2)]));
        assert!(rows.take_dirty().is_empty());
    }

    #[test]
    fn a_row_put_as_it_is_stays_but_the_mark_moves() {
        let mut rows = rows_with(&["a"]);
        see(&mut rows, 0, "a");
        rows.take_dirty();
        rows.apply_at(1, |rows| rows.put(["a".into()], WordRow { seen: 1 }));
        let written = rows.take_dirty();
        assert_eq!(written.len(), 1);
        assert_eq!((written[0].key.section, rows.mark()), (-5_003, Some(1)));
        assert_eq!(rows.position::<WordRow>(["a".into()]), Some(0));
    }

    #[test]
    fn a_record_that_changes_nothing_keeps_the_summary() {
        let mut rows = rows_with(&["a"]);
        see(&mut rows, 0, "a");
        rows.apply_at(9, |_| {});
        assert_eq!((rows.mark(), rows.summary::<WordCount>().words), (Some(9), 1));
    }

    #[test]
    fn what_is_forgotten_is_not_written() {
        let mut rows = rows_with(&["a"]);
        see(&mut rows, 0, "a");
        rows.forget();
        assert_eq!((rows.mark(), rows.len()), (None, 0));
        assert!(rows.take_dirty().is_empty());
    }

    #[test]
    fn a_row_that_was_not_asked_for_or_does_not_read_is_a_fault() {
        let rows = rows_with(&["a"]);
        assert_eq!((rows.get::<WordRow>(["a".into()]), rows.fault()), (None, None));
        assert_eq!(rows.get::<WordRow>(["b".into()]), None);
        assert!(rows.fault().unwrap().contains("was not asked for"));
        let mut rows = rows_with(&["a"]);
        let key = RowKey::of::<WordRow>(["a".into()]);
        rows.learn(key.clone(), Some(Row { key, columns: vec!["no number".into()], position: 1 }));
        assert_eq!(rows.get::<WordRow>(["a".into()]), None);
        assert!(rows.fault().unwrap().contains("does not read"));
    }
}
