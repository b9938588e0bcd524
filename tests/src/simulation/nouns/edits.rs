//! Verdicts on edits, by a naive reading of their intents: the log's order decides, for ever.

use std::collections::{BTreeMap, BTreeSet};

use kith_log::{Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::posts::private::v1::post_private_event::Event as Private;
use kith_proto::posts::v1::post_event::Event as Posted;
use kith_tables::{Key, Row, Table, Value};

use super::posts::Written;
use super::{Draw, Noun};
use crate::next;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding};
use crate::simulation::model::{Fact, Model};

/// The table of verdicts.
const CLAIMS: &str = "edit_claims";

pub struct Edits;

#[derive(Default)]
struct Verdicts {
    /// Edits of each post that won so far.
    edits: BTreeMap<String, u32>,
    /// Intents that won.
    won: BTreeSet<Position>,
    ids: BTreeSet<RecordId>,
    /// The last one of each post.
    last: BTreeMap<String, Position>,
    /// Facts, by what they are and the intent that they name.
    facts: Vec<(Position, Position)>,
}

/// Whether the intent of that id won.
pub fn won(model: &Model, id: RecordId) -> bool {
    model.state::<Verdicts>().ids.contains(&id)
}

impl Noun for Edits {
    fn draws(&self) -> &'static [Draw] {
        &[]
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Verdicts>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        match &fact.event {
            Event::PostsPrivate(Private::EditRequested(event)) if fact.is_new => {
                let verdicts = model.state_mut::<Verdicts>();
                let edits = verdicts.edits.entry(event.post_id.clone()).or_default();
                let unnamed_wins = event.rules < next::EVENTS;
                let wins = match event.expected_revision {
                    0 => unnamed_wins,
                    expected => expected == *edits + 1,
                };
                if event.content.is_some() && wins {
                    *edits += 1;
                    verdicts.won.insert(fact.position);
                    verdicts.ids.insert(fact.id);
                    verdicts.last.insert(event.post_id.clone(), fact.position);
                }
            }
            Event::Posts(Posted::PostEdited(event)) => {
                let partition = model.partition(topics::POSTS_PRIVATE, &event.post_id);
                let intent = Position { partition, offset: event.intent_offset };
                model.state_mut::<Verdicts>().facts.push((fact.position, intent));
            }
            _ => {}
        }
    }

    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        let verdicts = all.iter().filter(|(_, row)| table.name == CLAIMS && row.key.section == 0);
        let won = &model.state::<Verdicts>().ids;
        verdicts.filter_map(|(_, row)| misjudged("the edit", won, row)).collect()
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Verdicts { won, facts, last, .. } = model.state();
        let posts = model.state::<Written>();
        let standing = posts.last().filter(|(_, post)| post.stands()).filter_map(|(id, _)| last.get(id));
        let lost = facts.iter().filter(|(_, intent)| !won.contains(intent));
        let lost = lost.map(|(fact, intent)| format!("{fact} is the fact of {intent}, which lost"));
        // Of an earlier one the fact may come too late to change anything.
        let missing = standing.filter(|intent| facts.iter().all(|(_, of)| of != *intent));
        let missing = missing.map(|intent| format!("{intent} won, and its fact is not in the log"));
        lost.chain(missing).map(|what| Finding::new(EFFECTIVE_ONCE, what)).collect()
    }
}

/// A verdict of the tables that is not the log's; `what` is judged.
pub fn misjudged(what: &str, won: &BTreeSet<RecordId>, row: &Row) -> Option<Finding> {
    let Value::Text(id) = row.key.clustering.first()? else { return None };
    let is_right = row.columns.first() == Some(&Value::Bool(won.contains(&RecordId::parse(id)?)));
    let finding =
        || Finding::new(EFFECTIVE_ONCE, format!("the verdict on {what} {id} is not the log's: {:?}", row.columns));
    (!is_right).then(finding)
}
