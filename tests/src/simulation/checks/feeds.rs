//! Feeds: the naive join of follows, posts and shares, as far as a read could see it.

use std::collections::BTreeSet;

use super::answers::{HIDDEN, TOKEN, counted};
use super::lists::PAGING;
use super::{Finding, always_parted, around_states, ever_parted, post_states};
use crate::simulation::history::{Call, List, Op, SeenItem};
use crate::simulation::ledger::{Edge, Ledger, Post, Share};

const FEED: &str = "feed";

pub fn feed(ledger: &Ledger, call: &Call, list: &List, items: &[SeenItem]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let one_page = matches!(call.op, Op::List { .. });
    for item in items {
        let reason = if one_page { None } else { item.shared_by.clone() };
        if !seen.insert((item.post.post_id.clone(), reason)) {
            findings.push(Finding::new(PAGING, format!("{list:?} repeats {}", item.post.post_id)));
        }
        findings.extend(content(ledger, call, item));
        let foreign = match list {
            List::Home { include_shares } => !in_home(ledger, call, item, *include_shares),
            List::Author { account } => !of_author(ledger, call, item, account),
            _ => false,
        };
        if foreign {
            findings.push(Finding::new(FEED, format!("{list:?} of {} has {item:?}", call.actor)));
        }
    }
    if !items.is_sorted_by(|earlier, later| earlier.at_ms >= later.at_ms) {
        findings.push(Finding::new(FEED, format!("{list:?} of {} is out of order", call.actor)));
    }
    let shown: BTreeSet<&str> = items.iter().map(|item| &*item.post.post_id).collect();
    for post_id in ledger.posts.keys().filter(|post_id| !shown.contains(post_id.as_str())) {
        let belongs = match list {
            List::Home { include_shares } => must_be_home(ledger, call, post_id, *include_shares),
            List::Author { account } => must_be_of_author(ledger, call, post_id, account),
            _ => false,
        };
        if belongs {
            findings.push(Finding::new(FEED, format!("{list:?} of {} lacks {post_id}", call.actor)));
        }
    }
    findings
}

/// Nothing deleted, nobody in a block, texts and numbers of their time.
fn content(ledger: &Ledger, call: &Call, item: &SeenItem) -> Vec<Finding> {
    let (post_id, reader) = (&item.post.post_id, &call.actor);
    let states = post_states(ledger, call, post_id);
    let mut findings = Vec::new();
    if states.iter().all(|post| post.deleted || post.revision == 0) {
        findings.push(Finding::new(HIDDEN, format!("{post_id} is shown to {reader}, deleted or never written")));
    } else if !states.iter().any(|post| (&post.text, post.revision) == (&item.post.text, item.post.revision)) {
        findings.push(Finding::new(TOKEN, format!("{post_id} reads {:?} in a feed, not as in {states:?}", item.post)));
    }
    let parted = |author: &str| always_parted(ledger, call, reader, author);
    if parted(&item.post.author_id) || item.shared_by.as_deref().is_some_and(parted) {
        findings.push(Finding::new(HIDDEN, format!("{reader} is shown {post_id} in spite of a block")));
    }
    findings.extend(counted(ledger, call, post_id, &item.counts));
    let around = around_states(ledger, call, post_id);
    let mine = (item.mine.0, item.mine.1);
    let reaction = around.iter().any(|now| now.reactions.get(reader).copied().unwrap_or(0) == mine.0);
    let share = around.iter().any(|now| now.shares.contains_key(reader) == mine.1);
    if !(reaction && share) {
        findings.push(Finding::new(TOKEN, format!("{reader}'s own doings about {post_id} are {mine:?}")));
    }
    findings
}

fn follows(ledger: &Ledger, call: &Call, whom: &str) -> Vec<Edge> {
    ledger.edge(call, &call.actor, whom)
}

fn reaches(edge: &Edge, at_ms: i64) -> bool {
    edge.following && at_ms >= edge.since_ms
}

fn shares_by(ledger: &Ledger, call: &Call, post_id: &str, who: &str) -> Vec<Option<Share>> {
    around_states(ledger, call, post_id).into_iter().map(|mut now| now.shares.remove(who)).collect()
}

fn in_home(ledger: &Ledger, call: &Call, item: &SeenItem, include_shares: bool) -> bool {
    match &item.shared_by {
        None => follows(ledger, call, &item.post.author_id).iter().any(|edge| reaches(edge, item.at_ms)),
        Some(by) => {
            let follows = follows(ledger, call, by);
            let reaches = follows.iter().any(|edge| reaches(edge, item.at_ms) && edge.shows_shares);
            let shares = shares_by(ledger, call, &item.post.post_id, by);
            include_shares && reaches && shares.iter().flatten().any(|share| share.at_ms == item.at_ms)
        }
    }
}

fn of_author(ledger: &Ledger, call: &Call, item: &SeenItem, account: &str) -> bool {
    match &item.shared_by {
        None => item.post.author_id == account,
        Some(by) => by == account && shares_by(ledger, call, &item.post.post_id, by).iter().any(Option::is_some),
    }
}

/// The post as it stood the whole time, if it did.
fn standing(ledger: &Ledger, call: &Call, post_id: &str) -> Option<Post> {
    let states = post_states(ledger, call, post_id);
    let stood = !states.is_empty() && states.iter().all(|post| post.revision > 0 && !post.deleted);
    states.into_iter().next_back().filter(|_| stood)
}

/// Whether the share stood the whole time, and since when.
fn shared_at(ledger: &Ledger, call: &Call, post_id: &str, who: &str) -> Option<i64> {
    let shares = shares_by(ledger, call, post_id, who);
    let first = shares.first().cloned().flatten()?;
    shares.iter().all(|share| share.as_ref() == Some(&first)).then_some(first.at_ms)
}

fn must_be_home(ledger: &Ledger, call: &Call, post_id: &str, include_shares: bool) -> bool {
    let Some(post) = standing(ledger, call, post_id) else { return false };
    if ever_parted(ledger, call, &call.actor, &post.author) {
        return false;
    }
    let by_author = follows(ledger, call, &post.author).iter().all(|edge| reaches(edge, post.at_ms));
    let by_share = || {
        let sharers = around_states(ledger, call, post_id).into_iter().next().unwrap_or_default().shares;
        sharers.keys().any(|who| {
            let Some(at_ms) = shared_at(ledger, call, post_id, who) else { return false };
            let follows = follows(ledger, call, who);
            let reaches = follows.iter().all(|edge| reaches(edge, at_ms) && edge.shows_shares);
            reaches && !ever_parted(ledger, call, &call.actor, who)
        })
    };
    by_author || include_shares && by_share()
}

fn must_be_of_author(ledger: &Ledger, call: &Call, post_id: &str, account: &str) -> bool {
    let Some(post) = standing(ledger, call, post_id) else { return false };
    let parted = |author: &str| ever_parted(ledger, call, &call.actor, author);
    if parted(account) || parted(&post.author) {
        return false;
    }
    post.author == account || shared_at(ledger, call, post_id, account).is_some()
}
