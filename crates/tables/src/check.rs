//! What every adapter refuses before it does anything, with the same messages; also adapters of tests.

use std::collections::BTreeMap;

use crate::{
    Column, Key, Kind, MAX_APPLY_BYTES, MAX_APPLY_ROWS, MAX_GET_ROWS, MAX_KEY_BYTES, MAX_SLICE_ROWS, RowKey, SectionId,
    Slice, StoreError, Table, Value, Write,
};

/// Characters of a keyspace's, table's or column's name: CQL allows 48.
const MAX_NAME_CHARS: usize = 48;
/// Offsets stay below it; microseconds since 1970, a CQL server's default write time, do not.
pub(crate) const POSITION_LIMIT: u64 = 1 << 50;
/// The clustering column that every table has besides its own.
pub(crate) const SECTION: &str = "section";

/// Checks the name of a keyspace.
pub fn keyspace(name: &str) -> Result<(), StoreError> {
    plain_name(name)
}

/// Checks that every adapter supports a declaration.
pub fn table(table: &Table) -> Result<(), StoreError> {
    plain_name(table.name)?;
    let mut kinds = BTreeMap::new();
    for column in table.partition.iter().chain(table.clustering) {
        plain_name(column.name)?;
        if column.name == SECTION || kinds.insert(column.name, column.kind).is_some() {
            return contract(format!("key column {} of {} twice", column.name, table.name));
        }
    }
    if table.partition.is_empty() {
        return contract(format!("{} has no partition columns", table.name));
    }
    for section in table.sections.iter().map(|s| s.id).chain([-1]) {
        row_columns(table, section, &mut kinds)?;
    }
    unique_sections(table)
}

fn row_columns<'a>(
    table: &'a Table,
    section: SectionId,
    kinds: &mut BTreeMap<&'a str, Kind>,
) -> Result<(), StoreError> {
    let mut names = Vec::new();
    for column in table.columns(section).into_iter().flatten() {
        plain_name(column.name)?;
        let is_key = table.partition.iter().chain(table.clustering).any(|k| k.name == column.name);
        let other_kind = kinds.insert(column.name, column.kind).is_some_and(|kind| kind != column.kind);
        if is_key || other_kind || column.name == SECTION || names.contains(&column.name) {
            return contract(format!("column {} of {} is declared twice", column.name, table.name));
        }
        names.push(column.name);
    }
    // The write time that carries a row's position needs a cell.
    if names.is_empty() {
        return contract(format!("section {section} of {} has no columns", table.name));
    }
    Ok(())
}

fn unique_sections(table: &Table) -> Result<(), StoreError> {
    let mut ids: Vec<_> = table.sections.iter().map(|s| s.id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < table.sections.len() || ids.first().is_some_and(|id| *id < 0) {
        return contract(format!("{} has two sections of one id, or a negative one", table.name));
    }
    Ok(())
}

/// Lower case, so that it reads the same in CQL with and without quotes.
fn plain_name(name: &str) -> Result<(), StoreError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !starts_well || !plain || name.len() > MAX_NAME_CHARS {
        return contract(format!("{name:?} is no name of 1 to {MAX_NAME_CHARS} of a-z, 0-9, _"));
    }
    Ok(())
}

pub(crate) fn partition(table: &Table, key: &Key) -> Result<(), StoreError> {
    values(table, "partition", table.partition, &key.0)?;
    // CQL refuses an empty partition key.
    if key.0.len() == 1 && key.0.iter().all(|value| value.size_bytes() == 0) {
        return contract(format!("an empty partition key for {}", table.name));
    }
    Ok(())
}

/// Checks that rows of these keys can be read.
pub fn get(table: &Table, partition_key: &Key, rows: &[RowKey]) -> Result<(), StoreError> {
    at_most(rows.len(), MAX_GET_ROWS)?;
    partition(table, partition_key)?;
    rows.iter().try_for_each(|row| row_key(table, row))
}

/// Checks that a slice can be read.
pub fn slice(table: &Table, partition_key: &Key, slice: &Slice) -> Result<(), StoreError> {
    at_most(slice.limit, MAX_SLICE_ROWS)?;
    partition(table, partition_key)?;
    section(table, slice.range.section)?;
    let given = slice.range.prefix.len();
    let after = slice.range.after.as_deref();
    let columns = table.clustering.get(..given).ok_or_else(|| too_long(table))?;
    values(table, "clustering", columns, &slice.range.prefix)?;
    let Some(after) = after else { return Ok(()) };
    let columns = table.clustering.get(given..given + after.len()).ok_or_else(|| too_long(table))?;
    if after.is_empty() {
        return contract(format!("a slice of {} behind no place", table.name));
    }
    values(table, "clustering", columns, after)
}

/// Checks that these rows can be written together.
pub fn apply(table: &Table, partition_key: &Key, writes: &[Write]) -> Result<(), StoreError> {
    at_most(writes.len(), MAX_APPLY_ROWS)?;
    partition(table, partition_key)?;
    let mut bytes = 0;
    for write in writes {
        row_key(table, &write.key)?;
        row(table, write)?;
        bytes += size_bytes(&write.key.clustering) + write.columns.as_deref().map_or(0, size_bytes);
    }
    if bytes > MAX_APPLY_BYTES {
        return Err(StoreError::TooLarge { bytes, limit: MAX_APPLY_BYTES });
    }
    Ok(())
}

fn row_key(table: &Table, key: &RowKey) -> Result<(), StoreError> {
    section(table, key.section)?;
    values(table, "clustering", table.clustering, &key.clustering)
}

fn row(table: &Table, write: &Write) -> Result<(), StoreError> {
    let kinds = table.columns(write.key.section).into_iter().flatten().map(|column| column.kind);
    if write.columns.as_ref().is_some_and(|columns| !kinds.eq(columns.iter().map(Value::kind))) {
        return contract(format!("a row of section {} of {} with other columns", write.key.section, table.name));
    }
    if write.is_removal() && !table.is_removable(write.key.section) {
        return contract(format!("a removal in section {} of {}, whose rows stay", write.key.section, table.name));
    }
    if write.position >= POSITION_LIMIT {
        return contract(format!("position {} is no offset", write.position));
    }
    Ok(())
}

fn section(table: &Table, section: SectionId) -> Result<(), StoreError> {
    match table.columns(section) {
        Some(_) => Ok(()),
        None => contract(format!("{} has no section {section}", table.name)),
    }
}

fn values(table: &Table, part: &str, columns: &[Column], values: &[Value]) -> Result<(), StoreError> {
    if !columns.iter().map(|column| column.kind).eq(values.iter().map(Value::kind)) {
        return contract(format!("a key of {} with other {part} columns", table.name));
    }
    let bytes = size_bytes(values);
    if bytes > MAX_KEY_BYTES {
        return Err(StoreError::TooLarge { bytes, limit: MAX_KEY_BYTES });
    }
    Ok(())
}

fn size_bytes(values: &[Value]) -> usize {
    values.iter().map(Value::size_bytes).sum()
}

fn at_most(asked: usize, limit: usize) -> Result<(), StoreError> {
    if asked > limit { Err(StoreError::TooMany { asked, limit }) } else { Ok(()) }
}

fn too_long(table: &Table) -> StoreError {
    StoreError::Contract(format!("a slice of {} with more values than clustering columns", table.name))
}

fn contract(what: String) -> Result<(), StoreError> {
    Err(StoreError::Contract(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Order, Section};

    const fn declared(partition: &'static [Column], sections: &'static [Section]) -> Table {
        Table { name: "things", partition, clustering: AT, order: Order::Ascending, sections, summary: &[] }
    }

    const AT: &[Column] = &[Column::bigint("at")];
    const ID: &[Column] = &[Column::text("id")];
    const WORD: Section = Section { id: 0, name: "words", columns: &[Column::text("word")], removable: true };

    #[test]
    fn a_declaration_that_cql_could_not_keep_is_refused() {
        assert!(table(&declared(ID, &[WORD])).is_ok());
        assert!(table(&declared(&[], &[WORD])).is_err());
        assert!(table(&declared(ID, &[WORD, WORD])).is_err());
        assert!(table(&declared(const { &[Column::text("Id")] }, &[WORD])).is_err());
        assert!(table(&declared(const { &[Column::text("word")] }, &[WORD])).is_err());
        assert!(table(&declared(ID, &[Section { id: 0, name: "none", columns: &[], removable: false }])).is_err());
        const NUMBER: Section =
            Section { id: 1, name: "numbers", columns: &[Column::bigint("word")], removable: false };
        assert!(table(&declared(ID, &[WORD, NUMBER])).is_err());
    }

    #[test]
    fn rows_of_another_shape_are_refused() {
        let things = declared(ID, &[WORD]);
        let key = |section| RowKey { section, clustering: vec![Value::BigInt(1)] };
        let write = |section, columns| Write { key: key(section), columns: Some(columns), position: 1 };
        assert!(apply(&things, &Key::text("a"), &[write(0, vec!["w".into()])]).is_ok());
        assert!(apply(&things, &Key::text("a"), &[write(-3, vec![Value::BigInt(9)])]).is_ok());
        assert!(apply(&things, &Key::text("a"), &[Write::removal(key(0), 1)]).is_ok());
        assert!(apply(&things, &Key::text("a"), &[Write::removal(key(-1), 1)]).is_err(), "a section whose rows stay");
        assert!(apply(&things, &Key::text("a"), &[Write::removal(key(0), POSITION_LIMIT)]).is_err());
        assert!(apply(&things, &Key::text("a"), &[write(0, vec![Value::BigInt(9)])]).is_err());
        assert!(apply(&things, &Key::text("a"), &[write(1, vec!["w".into()])]).is_err());
        assert!(apply(&things, &Key::text(""), &[write(0, vec!["w".into()])]).is_err());
        let long = "x".repeat(MAX_KEY_BYTES + 1);
        assert!(matches!(get(&things, &Key::text(&long), &[]), Err(StoreError::TooLarge { .. })));
    }
}
