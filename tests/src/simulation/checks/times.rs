//! A later event has a later time, and is shown later.

use kith_log::Position;

use super::{Finding, TIMES};
use crate::simulation::history::Call;
use crate::simulation::model::Model;

/// The record of a command is later than each record that its token names.
pub fn later_than_what_was_seen(model: &Model, history: &[Call]) -> Vec<Finding> {
    let commands = history.iter().filter(|call| !call.op.is_read() && !call.is_copy);
    commands.filter_map(|call| not_later(model, call)).collect()
}

fn not_later(model: &Model, call: &Call) -> Option<Finding> {
    let record = call.op.record(&call.actor, &call.request_id).and_then(|record| model.places.get(&record.id)?.first());
    let made = || model.made(&call.op.made(&call.reply()?.answer)?).map(|made| &made.position);
    let position = record.or_else(made)?;
    let time = model.time(*position)?;
    // Two that are both clamped may have one millisecond.
    let too_late = |other: i64| other > time || other == time && !model.is_clamped(*position);
    let (seen, seen_time) = model.before(&call.at_least).find(|(seen, other)| too_late(*other) && seen != position)?;
    let what = format!("{} at {position} is of {time}, and had seen {seen} of {seen_time}", call.op);
    Some(Finding::new(TIMES, what))
}

/// That of these (ids of what was made, in the order of the list, the oldest first) none stands before what its maker had
/// seen.
pub fn in_causal_order(model: &Model, call: &Call, oldest_first: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, earlier) in oldest_first.iter().enumerate() {
        let Some(made) = model.made(earlier) else { continue };
        let Some(seen) = &made.at_least else { continue };
        let has_seen = |at: Position| seen.offset(at.partition).is_some_and(|seen| seen >= at.offset);
        let later = oldest_first[at + 1..].iter().filter_map(|id| Some((id, model.made(id)?.position)));
        let wrong = later.filter(|(_, later)| has_seen(*later) && !in_one_millisecond(model, made.position, *later));
        findings.extend(wrong.map(|(later, _)| {
            Finding::new(TIMES, format!("{} has {earlier} before {later}, which its maker had seen", call.op))
        }));
    }
    findings
}

/// Whether both said times too far ahead, and the log took them in one millisecond.
fn in_one_millisecond(model: &Model, one: Position, other: Position) -> bool {
    model.is_clamped(one) && model.is_clamped(other) && model.time(one) == model.time(other)
}

#[cfg(test)]
mod tests {
    use kith_fold::Token;
    use kith_log::{LogPartition, topics};

    use super::*;
    use crate::simulation::nouns::create;

    /// Three things in one partition; the second was made by one who had seen the first.
    fn model() -> Model {
        let partition = LogPartition { topic: topics::POSTS, index: 0 };
        let mut model = Model::of(&[], 1, std::time::Duration::ZERO);
        for (id, offset) in [("one", 4), ("two", 5), ("alone", 6)] {
            model.makes(id, None, Position { partition, offset });
            model.saw(id, &Token::default());
        }
        model.saw("two", &Position { partition, offset: 4 }.into());
        model
    }

    #[test]
    fn what_was_made_after_stands_after() {
        let (model, call) = (model(), Call::of(create("ada")));
        let wrong = |model: &Model, ids: &[&str]| in_causal_order(model, &call, ids).len();
        assert_eq!(wrong(&model, &["one", "alone", "two"]), 0);
        assert_eq!(wrong(&model, &["alone", "two", "one"]), 1);
    }
}
