//! A batch with more effects than are held at once is folded in parts.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::{Effect, Fold, Group, Record, Rows, Scope};
use kith_tables::{Key, MAX_SLICE_ROWS, RowRange, Table};

use crate::stage::{Stage, group};
use crate::toy::{MOODS_OF, MoodOfRow, Moods};

/// Three records write more than is held.
const ROWS: usize = 1_500;
const RECORDS: usize = 10;

/// As [`Moods`], but that each record writes many rows.
struct Wide;

impl Fold for Wide {
    fn tables(&self) -> Vec<&'static Table> {
        Moods.tables()
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Moods.scope(record)
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        Moods.apply(rows, record);
    }

    fn effects(&self, _rows: &Rows, record: &Record) -> Vec<Effect> {
        let offset = record.position.offset;
        let row = |n: usize| {
            let row = MoodOfRow { at_offset: offset.try_into().unwrap() };
            Effect::put(&MOODS_OF, Key::text(&format!("actor{offset}")), [format!("{n:04}").into()], row, offset)
        };
        (0..ROWS).map(row).collect()
    }
}

async fn written(stage: &Stage, offset: usize) -> usize {
    let (key, mut after, mut count) = (Key::text(&format!("actor{offset}")), None, 0);
    loop {
        let range = RowRange { after, ..RowRange::all::<MoodOfRow>() };
        let rows = stage.state().slice::<MoodOfRow>(&MOODS_OF, &key, range, MAX_SLICE_ROWS).await.unwrap();
        after = rows.last().map(|last| last.clustering.clone());
        count += rows.len();
        if rows.len() < MAX_SLICE_ROWS {
            return count;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_records_are_applied_than_have_effects_to_be_held_at_once() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.plan.stick(Some(MOODS_OF.name));
    for n in 0..RECORDS {
        stage.react("p", &n.to_string(), 1).await;
    }
    let wide = || Group { folds: vec![Arc::new(Wide)], ..group() };
    stage.start_group(wide()).await;
    stage.until(async || stage.sum("p").await.records > 0).await;
    stage.turns(1_000).await;
    assert_eq!(stage.sum("p").await.records, 3, "the others wait until these rows are written");
    stage.kill().await;
    stage.plan.stick(None);
    stage.start_group(wide()).await;
    stage.settle().await;
    assert_eq!(usize::try_from(stage.sum("p").await.records), Ok(RECORDS));
    for offset in 0..RECORDS {
        assert_eq!(written(&stage, offset).await, ROWS, "of record {offset}");
    }
}
