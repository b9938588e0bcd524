//! Checks of the tables' rows: legal write times, marks equal to their own position, counts equal to their lists.

use std::collections::BTreeMap;

use kith_fold::Group;
use kith_log::{LogPartition, Offset};
use kith_tables::{Key, Row, Table, Value};

use super::{Finding, WATERMARKS};
use crate::simulated::SimulatedTables;
use crate::simulation::history::Heads;
use crate::simulation::model::Model;
use crate::simulation::nouns;

const WRITE_TIME: &str = "write time";
const COUNT_IS_LIST: &str = "count is list";

pub fn rows(tables: &SimulatedTables, groups: &[Group], model: &Model) -> Vec<Finding> {
    let (mut findings, heads) = (Vec::new(), &model.ends);
    for group in groups {
        let most = heads.iter().filter(|(at, _)| group.topics.contains(&at.topic)).map(|(_, head)| *head).max();
        for table in group.tables() {
            let all = tables.dump(&group.keyspace(), table);
            findings.extend(all.iter().filter_map(|(key, row)| times(table, key, row, heads, most.unwrap_or(0))));
            findings.extend(counts(table, &all));
            findings.extend(nouns::ALL.iter().flat_map(|noun| noun.check_rows(model, table, &all)));
        }
    }
    findings
}

fn times(table: &Table, key: &Key, row: &Row, heads: &Heads, most: Offset) -> Option<Finding> {
    let place = || format!("{} {key:?} {:?}", table.name, row.key);
    if row.key.section >= 0 {
        let is_flag = row.position == 0;
        let legal = is_flag || row.position < most;
        let check = if table.name == "watermarks" { WATERMARKS } else { WRITE_TIME };
        return (!legal).then(|| Finding::new(check, format!("{} at {}", place(), row.position)));
    }
    let source = |at: &&LogPartition| at.source() == -row.key.section;
    let head = heads.keys().find(source).and_then(|at| heads.get(at)).copied().unwrap_or(0);
    if row.position >= head {
        return Some(Finding::new(WRITE_TIME, format!("{} at {} of {head}", place(), row.position)));
    }
    match row.columns.first() {
        Some(Value::BigInt(mark)) if u64::try_from(*mark) == Ok(row.position) => None,
        mark => Some(Finding::new(WRITE_TIME, format!("{} has the mark {mark:?} at {}", place(), row.position))),
    }
}

/// The sum of what the summary rows of a table partition count is the number of rows counted.
fn counts(table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all_counted = nouns::ALL.iter().flat_map(|noun| noun.counted());
    for counted in all_counted.filter(|counted| counted.table == table.name) {
        let mut by_key: BTreeMap<&Key, (i64, i64)> = BTreeMap::new();
        for (key, row) in all {
            let entry = by_key.entry(key).or_default();
            match row.columns.get(counted.column) {
                Some(Value::BigInt(count)) if row.key.section < 0 => entry.0 += count,
                _ if row.key.section == 0 && (counted.counts)(row) => entry.1 += 1,
                _ => {}
            }
        }
        let wrong = by_key.into_iter().filter(|(_, (count, rows))| count != rows);
        findings.extend(wrong.map(|(key, (count, rows))| {
            let what = format!("{} {key:?}: {count} counted, {rows} there (column {})", table.name, counted.column);
            Finding::new(COUNT_IS_LIST, what)
        }));
    }
    findings
}
