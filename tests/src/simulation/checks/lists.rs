//! Lists: nothing twice, nothing that was not there, nothing left out that was there all the time.

use std::collections::{BTreeMap, BTreeSet};

use kith_log::topics;

use super::{Finding, always_parted, around_states, ever_parted};
use crate::simulation::history::{Call, List};
use crate::simulation::ledger::Ledger;

pub const PAGING: &str = "paging";
const LISTS: &str = "lists";

/// For each id that may be in a list: whether it was in it at all, and whether all the time.
type There = BTreeMap<String, (bool, bool)>;

pub fn list(ledger: &Ledger, call: &Call, list: &List, ids: &[String]) -> Vec<Finding> {
    let there = match list {
        List::Followers { account } => follows(ledger, call, |who, whom| (whom == account).then(|| who.to_owned())),
        List::Following { account } => follows(ledger, call, |who, whom| (who == account).then(|| whom.to_owned())),
        List::Comments { post_id } => comments(ledger, call, post_id),
        List::Messages { talk } => messages(ledger, call, talk),
        List::Home { .. } | List::Author { .. } => return Vec::new(),
    };
    let mut findings = Vec::new();
    let unique: BTreeSet<&String> = ids.iter().collect();
    if unique.len() < ids.len() {
        findings.push(Finding::new(PAGING, format!("{list:?} repeats: {ids:?}")));
    }
    if let List::Messages { talk } = list {
        let all = ledger.talks.get(talk).map(|line| line.last().messages).unwrap_or_default();
        let numbers = ids.iter().map(|id| all.iter().position(|known| known == id));
        if !numbers.is_sorted_by(|later, earlier| later > earlier) {
            findings.push(Finding::new(LISTS, format!("{list:?} is out of order: {ids:?}")));
        }
    }
    for id in &unique {
        if !there.get(*id).is_some_and(|(ever, _)| *ever) {
            findings.push(Finding::new(LISTS, format!("{list:?} for {} has {id}", call.actor)));
        }
    }
    for id in there.iter().filter(|(_, (_, always))| *always).map(|(id, _)| id) {
        if !unique.contains(id) {
            findings.push(Finding::new(LISTS, format!("{list:?} for {} lacks {id}", call.actor)));
        }
    }
    findings
}

fn follows(ledger: &Ledger, call: &Call, other: impl Fn(&str, &str) -> Option<String>) -> There {
    let mut there = There::new();
    for (who, whom) in ledger.edges.keys() {
        let Some(other) = other(who, whom) else { continue };
        let states = ledger.edge(call, who, whom);
        let ever = states.iter().any(|edge| edge.following) && !always_parted(ledger, call, &call.actor, &other);
        let always = states.iter().all(|edge| edge.following) && !ever_parted(ledger, call, &call.actor, &other);
        there.insert(other, (ever, always));
    }
    there
}

fn comments(ledger: &Ledger, call: &Call, post_id: &str) -> There {
    let states = around_states(ledger, call, post_id);
    let mut there = There::new();
    for (id, author) in states.iter().flat_map(|now| &now.comments) {
        let ever = !always_parted(ledger, call, &call.actor, author);
        let always = states.iter().all(|now| now.comments.contains_key(id));
        there.insert(id.clone(), (ever, always && !ever_parted(ledger, call, &call.actor, author)));
    }
    there
}

fn messages(ledger: &Ledger, call: &Call, talk: &str) -> There {
    let window = call.window(ledger.partition(topics::MESSAGING, talk));
    let states = ledger.talks.get(talk).map(|line| line.within(window)).unwrap_or_default();
    let all = states.iter().flat_map(|now| &now.messages);
    all.map(|id| (id.clone(), (true, states.iter().all(|now| now.messages.contains(id))))).collect()
}
