//! Each answer of a read is a function of a prefix of the log that has what its token names, and no more than there was.

use kith_log::topics;
use tonic::Code;

use super::{Finding, always_parted, around_states, ever_parted, feeds, lists, post_states};
use crate::simulation::history::{Body, Call, List, Op, Outcome, SeenCounts};
use crate::simulation::ledger::{Around, Ledger};

pub const TOKEN: &str = "token";
pub const HIDDEN: &str = "hidden content";
pub const COUNTS: &str = "counts";
pub const UNREAD: &str = "unread";

pub fn answer(ledger: &Ledger, call: &Call) -> Vec<Finding> {
    if call.shaken {
        return Vec::new();
    }
    match (&call.op, &call.outcome) {
        (Op::GetPost { post_id }, outcome) => post(ledger, call, post_id, outcome),
        (Op::Counts { post_id }, Outcome::Ok(reply)) => match &reply.body {
            Body::Counts(counts) => counted(ledger, call, post_id, counts).into_iter().collect(),
            _ => Vec::new(),
        },
        (Op::Unread { talk }, Outcome::Ok(reply)) => match reply.body {
            Body::Number(unread) => unread_of(ledger, call, talk, unread).into_iter().collect(),
            _ => Vec::new(),
        },
        (Op::Resolve { handle }, outcome) => resolved(ledger, call, handle, outcome).into_iter().collect(),
        (Op::List { list, .. } | Op::Walk { list, .. }, outcome) => listed(ledger, call, list, outcome),
        _ => Vec::new(),
    }
}

fn listed(ledger: &Ledger, call: &Call, list: &List, outcome: &Outcome) -> Vec<Finding> {
    match outcome {
        Outcome::Ok(reply) => match &reply.body {
            Body::Items(items) => feeds::feed(ledger, call, list, items),
            Body::Ids(ids) if matches!(list, List::Home { .. } | List::Author { .. }) && ids.is_empty() => {
                feeds::feed(ledger, call, list, &[])
            }
            Body::Ids(ids) => lists::list(ledger, call, list, ids),
            _ => Vec::new(),
        },
        Outcome::Fail(Code::OutOfRange, what) => vec![Finding::new(lists::PAGING, format!("{list:?}: {what}"))],
        Outcome::Fail(..) | Outcome::Unknown(_) => Vec::new(),
    }
}

fn post(ledger: &Ledger, call: &Call, post_id: &str, outcome: &Outcome) -> Vec<Finding> {
    let states = post_states(ledger, call, post_id);
    let author = states.last().map(|post| post.author.clone()).unwrap_or_default();
    match outcome {
        Outcome::Ok(reply) => {
            let Body::Post(seen) = &reply.body else { return Vec::new() };
            if always_parted(ledger, call, &call.actor, &author) {
                return vec![Finding::new(
                    HIDDEN,
                    format!("{} sees {post_id} of {author} in spite of a block", call.actor),
                )];
            }
            let fits = |post: &&crate::simulation::ledger::Post| {
                !post.deleted && (&post.text, post.revision) == (&seen.text, seen.revision)
            };
            match states.iter().find(fits) {
                Some(_) => Vec::new(),
                None if states.iter().all(|post| post.deleted) => {
                    vec![Finding::new(HIDDEN, format!("{post_id} is deleted and shown"))]
                }
                None => vec![Finding::new(TOKEN, format!("{post_id} is {seen:?}, not one of {states:?}"))],
            }
        }
        Outcome::Fail(Code::NotFound, _) => {
            let there = !states.is_empty() && states.iter().all(|post| post.revision > 0 && !post.deleted);
            let hidden = ever_parted(ledger, call, &call.actor, &author);
            if there && !hidden { vec![Finding::new(TOKEN, format!("{post_id} was not found"))] } else { Vec::new() }
        }
        Outcome::Fail(..) | Outcome::Unknown(_) => Vec::new(),
    }
}

/// Each of the counts is right at some prefix; they are read one after the other.
pub(super) fn counted(ledger: &Ledger, call: &Call, post_id: &str, seen: &SeenCounts) -> Option<Finding> {
    let states = around_states(ledger, call, post_id);
    let by_kind = |now: &Around| {
        let mut counts = std::collections::BTreeMap::new();
        now.reactions.values().for_each(|kind| *counts.entry(*kind).or_default() += 1);
        counts
    };
    let fits = states.iter().any(|now| by_kind(now) == seen.0)
        && states.iter().any(|now| now.comments.len() as u64 == seen.1)
        && states.iter().any(|now| now.shares.len() as u64 == seen.2);
    let counts = || states.iter().map(|now| (by_kind(now), now.comments.len(), now.shares.len())).collect::<Vec<_>>();
    (!fits).then(|| Finding::new(COUNTS, format!("of {post_id}: {seen:?}, not of {:?}", counts())))
}

fn unread_of(ledger: &Ledger, call: &Call, talk: &str, seen: u64) -> Option<Finding> {
    let window = call.window(ledger.partition(topics::MESSAGING, talk));
    let states = ledger.talks.get(talk).map(|line| line.within(window)).unwrap_or_default();
    let unread: Vec<u64> = states
        .iter()
        .map(|now| now.members.get(&call.actor).map_or(0, |read| now.messages.len() as u64 - read))
        .collect();
    (!unread.contains(&seen))
        .then(|| Finding::new(UNREAD, format!("{seen} of {talk} for {}, not of {unread:?}", call.actor)))
}

fn resolved(ledger: &Ledger, call: &Call, handle: &str, outcome: &Outcome) -> Option<Finding> {
    let owners = ledger.owners.get(handle).cloned().unwrap_or_default();
    match outcome {
        Outcome::Ok(reply) => match &reply.body {
            Body::Id(id) if !owners.contains(id) => {
                Some(Finding::new("one owner", format!("{handle} is said to be {id}'s, it is {owners:?}'s")))
            }
            Body::Id(id) if ledger.edge(call, id, &call.actor).iter().all(|edge| edge.blocking) => {
                Some(Finding::new(HIDDEN, format!("{id} is shown to {}, whom it blocks", call.actor)))
            }
            _ => None,
        },
        Outcome::Fail(..) | Outcome::Unknown(_) => None,
    }
}
