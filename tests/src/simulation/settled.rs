//! The end of a history: everything is read once more, with a token for the whole log. Then each answer has exactly one
//! correct value.

use std::time::Duration;

use super::callers::Callers;
use super::client::{ask, take_page};
use super::history::{Call, Outcome};
use super::model::Model;
use super::nouns;
use super::operation::Op;
use super::target::outcome;

/// Pages of one list: more than any list of a torture has rows.
const PAGES: usize = 10_000;

const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Reads everything readable; unanswered reads up to `attempts` times.
pub async fn read_all(callers: &Callers, model: &Model, attempts: u32) -> Vec<Call> {
    let mut calls = Vec::new();
    for (actor, op) in nouns::ALL.iter().flat_map(|noun| noun.questions(model)) {
        let mut call = Call {
            actor,
            op,
            request_id: String::new(),
            at_least: model.end(),
            attempts: 1,
            pages: 0,
            asked: 0,
            told: 0,
            before: model.ends.clone(),
            after: model.ends.clone(),
            answered_by: None,
            outcome: Outcome::Unknown("not asked".to_owned()),
            shaken: false,
            copy_of: None,
            is_copy: false,
        };
        walk(callers, &mut call, attempts).await;
        calls.push(call);
    }
    calls
}

async fn walk(callers: &Callers, call: &mut Call, attempts: u32) {
    let (op, mut page_token, mut all): (Op, _, _) = (call.op.clone(), String::new(), None);
    for _ in 0..PAGES {
        call.pages += 1;
        for attempt in 1..=attempts {
            call.outcome = outcome(op.call(callers, ask(call, &page_token)).await);
            if attempt == attempts || !matches!(call.outcome, Outcome::Unknown(_)) {
                break;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        let Some(next) = take_page(call, &mut all) else { return };
        page_token = next;
    }
    call.outcome = Outcome::Fail(tonic::Code::OutOfRange, "a walk without an end".to_owned());
}
