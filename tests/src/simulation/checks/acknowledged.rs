//! Checks the answers to commands against the log.

use std::collections::BTreeSet;

use super::{EFFECTIVE_ONCE, Finding, NEVER_INTERNAL, NO_IS_NO};
use crate::simulation::history::{Call, Outcome};
use crate::simulation::model::Model;
use crate::simulation::nouns;

/// Every OK is in the log and is effective once; a definite no is not; and what the nouns say of the log itself.
pub fn acknowledged(model: &Model, history: &[Call]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // One of two copies may be refused what the other has done.
    let copied: BTreeSet<&str> = history.iter().filter(|call| call.is_copy).map(|call| &*call.request_id).collect();
    for call in history {
        match &call.outcome {
            Outcome::Fail(tonic::Code::Internal, message) if !call.shaken => {
                findings.push(Finding::new(NEVER_INTERNAL, format!("{}: {message}", call.op)));
            }
            Outcome::Fail(..) if call.attempts == 1 && !copied.contains(&*call.request_id) => {
                findings.extend(told_no(model, call))
            }
            Outcome::Ok(_) | Outcome::Fail(..) | Outcome::Unknown(_) => {}
        }
        if !call.op.is_read() {
            findings.extend(call.op.check(model, call));
        }
    }
    for (text, ids) in model.said.iter().filter(|(_, ids)| ids.len() > 1) {
        findings.push(Finding::new(EFFECTIVE_ONCE, format!("one command made {}: {text:?} is {ids:?}", ids.len())));
    }
    findings.extend(nouns::ALL.iter().flat_map(|noun| noun.check(model)));
    findings
}

fn told_no(model: &Model, call: &Call) -> Option<Finding> {
    let record = call.op.record(&call.actor, &call.request_id)?;
    let there = model.places.get(&record.id)?;
    Some(Finding::new(NO_IS_NO, format!("{} was refused and is at {there:?}: {:?}", call.op, call.outcome)))
}
