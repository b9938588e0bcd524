//! Defects of inboxes: of what is spread to them, and of what their readers are given.

use kith_fold::{Effect, Put};
use kith_messaging::{INBOX, InboxRow, Place, PlaceRow};
use kith_tables::{Row, RowKey, RowType, Value};

use super::Planted;

/// What a record writes instead.
pub(super) fn effects(defect: Planted, effects: Vec<Effect>) -> Vec<Effect> {
    match defect {
        Planted::PlacesUncompared => effects.into_iter().flat_map(uncompared).collect(),
        Planted::OldPlaceStays => effects.into_iter().filter(|effect| !is_removal(effect)).collect(),
        _ => effects,
    }
}

fn is_removal(effect: &Effect) -> bool {
    matches!(effect, Effect::Put(put) if put.write.is_removal())
}

/// With the row by id the place of before is removed, and that of now put, though they are one.
fn uncompared(effect: Effect) -> Vec<Effect> {
    let place = match &effect {
        Effect::Put(Put { table, write, .. }) if table.name == INBOX.name => {
            write.clone().into_row().and_then(|row| Some((now(&row)?, row)))
        }
        _ => None,
    };
    let (Some((place, row)), Effect::Put(put)) = (place, &effect) else { return vec![effect] };
    let at = [place.hour.into(), row.key.clustering.last().cloned().unwrap_or(Value::BigInt(0))];
    let removal = Effect::remove::<PlaceRow>(&INBOX, put.partition.clone(), at, row.position);
    vec![effect, removal]
}

/// The place of a row by id.
fn now(row: &Row) -> Option<Place> {
    let row: InboxRow = row.read().filter(|_| row.key.section == InboxRow::SECTION)?;
    row.places.standing().last().copied()
}

/// What a reader is given of the rows by id of what it found at `hints`, the rows by place.
pub(super) fn distort(defect: Planted, hints: &[RowKey], found: &mut [Option<Row>]) {
    let Some(column) = InboxRow::COLUMNS.iter().position(|column| column.name == "places") else { return };
    let mut hints = hints.iter();
    for row in found.iter_mut().flatten() {
        let Some(place) = now(row) else { continue };
        let of_row = |hint: &&RowKey| hint.clustering.last() == row.key.clustering.last();
        let hour = match (defect, hints.find(of_row).and_then(|hint| hint.clustering.first())) {
            (Planted::PlaceBelieved, Some(Value::BigInt(hour))) => *hour,
            _ => place.hour,
        };
        // As if it had always been there.
        row.columns[column] = Value::Text(format!("{hour}:{}:0", place.time.0));
    }
}
