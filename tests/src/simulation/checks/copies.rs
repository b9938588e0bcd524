//! One request id, one answer: a command that is sent twice at once, or again after others, makes one thing, and is
//! answered as the first, or with what stands; never with a mixture.

use super::{COPIES, EFFECTIVE_ONCE, Finding};
use crate::simulation::history::Call;
use crate::simulation::model::Model;

pub fn copies(model: &Model, history: &[Call]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for call in history.iter().filter(|call| !call.op.is_read() && !call.shaken) {
        let Some(answer) = call.reply().map(|reply| &reply.answer) else { continue };
        if let Some(first) = &call.copy_of
            && call.op.made(first) != call.op.made(answer)
        {
            findings.push(Finding::new(EFFECTIVE_ONCE, format!("{} made {first:?}, and again {answer:?}", call.op)));
        }
        let is_as_first = call.copy_of.as_ref() == Some(answer);
        if model.promises.copies && !is_as_first && !call.op.stands(model, call, answer) {
            let first = call.copy_of.as_ref().map(|first| format!(", first with {first:?}")).unwrap_or_default();
            let what = format!("{} was answered with {answer:?}, which never stood{first}", call.op);
            findings.push(Finding::new(COPIES, what));
        }
    }
    findings
}
