//! One request id, one answer: a command that is sent twice at once, or again after others, has one effect, and gets
//! the first answer or the current state; never a mixture.

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
        if !is_as_first && !call.op.stands(model, call, answer) {
            let first = call.copy_of.as_ref().map(|first| format!(", first with {first:?}")).unwrap_or_default();
            let what = format!("{} was answered with {answer:?}, which never stood{first}", call.op);
            findings.push(Finding::new(COPIES, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::history::Outcome;
    use crate::simulation::nouns::{React, Subject};
    use crate::simulation::operation::{Answer, Reply, op};

    /// A reaction that was answered so, after it was answered with what is given as the first answer.
    fn answered(kind_and_time: (i32, i64), first: Option<(i32, i64)>) -> Call {
        let call = Call::of(op(React { subject: Subject::post("a post"), kind: 1 }));
        let reply = Reply::new(Answer::new(kind_and_time), String::new());
        Call { outcome: Outcome::Ok(reply), copy_of: first.map(Answer::new), is_copy: first.is_some(), ..call }
    }

    #[test]
    fn a_copy_is_answered_as_the_first_or_with_what_stood() {
        // Of an empty log nothing stood.
        let model = Model::of(&[], 1, std::time::Duration::ZERO);
        let found = |call: Call| copies(&model, &[call]).len();
        assert_eq!(found(answered((1, 7), Some((1, 7)))), 0);
        assert_eq!(found(answered((1, 8), Some((1, 7)))), 1);
        assert_eq!(found(answered((1, 7), None)), 1);
    }
}
