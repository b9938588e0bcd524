//! The end of a history: everything is read once more, with a token of all there is. Then each answer has one value only
//! that is right.

use std::sync::Arc;

use kith_fold::Token;
use kith_log::Position;

use super::call::{Ask, call};
use super::history::{Body, Call, Heads, List, Op, Outcome, Page, Reply};
use super::ledger::Ledger;
use super::process::Process;
use super::workload::WHOLE;

/// Pages of one list.
const PAGES: usize = 40;

/// Reads all that anybody can read.
pub async fn read_all(process: &Arc<Process>, ledger: &Ledger, heads: &Heads) -> Vec<Call> {
    let token =
        heads.iter().filter_map(|(&partition, head)| head.checked_sub(1).map(|offset| Position { partition, offset }));
    let token: Token = token.collect();
    let mut calls = Vec::new();
    for (actor, op) in questions(ledger) {
        let outcome = match &op {
            Op::Walk { list, page_size } => walk(process, &actor, list, *page_size, &token).await,
            _ => ask(process, &actor, op.clone(), &token).await,
        };
        calls.push(Call {
            actor,
            op,
            request_id: String::new(),
            at_least: token.clone(),
            attempts: 1,
            asked: 0,
            told: 0,
            before: heads.clone(),
            after: heads.clone(),
            answered_by: (0, 0),
            outcome,
            shaken: false,
        });
    }
    calls
}

fn questions(ledger: &Ledger) -> Vec<(String, Op)> {
    let mut all = Vec::new();
    let people = || ledger.owners.values().flatten().cloned();
    for person in people() {
        for include_shares in [true, false] {
            all.push((person.clone(), Op::Walk { list: List::Home { include_shares }, page_size: WHOLE }));
        }
        let account = person.clone();
        all.push((person.clone(), Op::Walk { list: List::Author { account: account.clone() }, page_size: 2 }));
        all.push((person.clone(), Op::Walk { list: List::Followers { account: account.clone() }, page_size: 2 }));
        all.push((person.clone(), Op::Walk { list: List::Following { account }, page_size: 3 }));
    }
    for (post_id, line) in &ledger.posts {
        let author = line.last().author;
        all.push((author.clone(), Op::GetPost { post_id: post_id.clone() }));
        all.push((author.clone(), Op::Counts { post_id: post_id.clone() }));
        all.push((author, Op::Walk { list: List::Comments { post_id: post_id.clone() }, page_size: 3 }));
    }
    for (talk, line) in &ledger.talks {
        for member in line.last().members.into_keys() {
            all.push((member.clone(), Op::Unread { talk: talk.clone() }));
            all.push((member, Op::Walk { list: List::Messages { talk: talk.clone() }, page_size: 3 }));
        }
    }
    all
}

async fn ask(process: &Arc<Process>, actor: &str, op: Op, token: &Token) -> Outcome {
    let at_least = if token.positions().next().is_some() { vec![token.encode()] } else { Vec::new() };
    let ask = Ask { actor: actor.to_owned(), request_id: String::new(), at_least, op };
    match call(&process.services, ask).await {
        Ok(reply) => Outcome::Ok(reply),
        Err(status) => Outcome::Fail(status.code(), status.message().to_owned()),
    }
}

async fn walk(process: &Arc<Process>, actor: &str, list: &List, size: i32, token: &Token) -> Outcome {
    let (mut ids, mut items, mut page_token) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..PAGES {
        let op = Op::List { list: list.clone(), page: Page { size, token: page_token } };
        let outcome = ask(process, actor, op, token).await;
        let Outcome::Ok(reply) = &outcome else { return outcome };
        match &reply.body {
            Body::Ids(page) => ids.extend(page.iter().cloned()),
            Body::Items(page) => items.extend(page.iter().cloned()),
            _ => {}
        }
        page_token = reply.next_page.clone();
        if page_token.is_empty() {
            let body = if items.is_empty() { Body::Ids(ids) } else { Body::Items(items) };
            return Outcome::Ok(Reply { body, token: reply.token.clone(), next_page: page_token });
        }
    }
    Outcome::Fail(tonic::Code::OutOfRange, "a walk without an end".to_owned())
}
