//! What clients were told of their commands, against the log.

use kith_log::{RecordId, Topic, topics};
use kith_service::ids::{RequestId, record_id};

use super::Finding;
use crate::simulation::history::{Body, Call, Op, Outcome};
use crate::simulation::ledger::Ledger;
use crate::simulation::timeline::Timeline;

const EFFECTIVE_ONCE: &str = "effective once";
const NO_IS_NO: &str = "no is no";
const ONE_OWNER: &str = "one owner";
const CUT: &str = "cut";
const NEVER_INTERNAL: &str = "never internal";

/// Every OK is in the log and is effective once; a definite no is not; a handle has one owner at every prefix.
pub fn acknowledged(ledger: &Ledger, history: &[Call]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for call in history {
        match &call.outcome {
            Outcome::Ok(reply) if !call.op.is_read() => findings.extend(told_yes(ledger, call, &reply.body)),
            Outcome::Fail(tonic::Code::Internal, message) if !call.shaken => {
                findings.push(Finding::new(NEVER_INTERNAL, format!("{:?}: {message}", call.op)));
            }
            Outcome::Fail(..) if call.attempts == 1 => findings.extend(told_no(ledger, call)),
            Outcome::Ok(_) | Outcome::Fail(..) | Outcome::Unknown(_) => {}
        }
    }
    for ((who, whom), line) in &ledger.edges {
        let (mine, theirs) = (line.last(), ledger.edges.get(&(whom.clone(), who.clone())).map(Timeline::last));
        if theirs.is_some_and(|theirs| mine.following && mine.seen < theirs.block_next) {
            findings.push(Finding::new(CUT, format!("{who} follows {whom}, who blocked unseen")));
        }
    }
    for (text, ids) in ledger.said.iter().filter(|(_, ids)| ids.len() > 1) {
        findings.push(Finding::new(EFFECTIVE_ONCE, format!("one command made {}: {text:?} is {ids:?}", ids.len())));
    }
    for (handle, owners) in ledger.owners.iter().filter(|(_, owners)| owners.len() > 1) {
        findings.push(Finding::new(ONE_OWNER, format!("{handle} is {owners:?}")));
    }
    findings
}

fn told_yes(ledger: &Ledger, call: &Call, body: &Body) -> Option<Finding> {
    let missing = |what: &str| Some(Finding::new(EFFECTIVE_ONCE, format!("{what}: {:?} by {}", call.op, call.actor)));
    match (&call.op, body) {
        (Op::CreateAccount { handle }, Body::Id(id)) => {
            let owns = ledger.owners.get(handle).is_some_and(|owners| owners.contains(id));
            let first = ledger.claims.get(handle).and_then(|claims| claims.first());
            if first.is_some_and(|first| first != id) {
                return Some(Finding::new(ONE_OWNER, format!("{id} was told to have {handle}, which is {first:?}'s")));
            }
            if owns { None } else { missing("an account that is not in the log") }
        }
        (Op::EditPost { post_id, text, .. }, _) => {
            let line = ledger.posts.get(post_id).cloned().unwrap_or_default();
            let made = line.ever((0, u64::MAX), |post| post.text == *text);
            if made { None } else { missing("an edit that is not in the log") }
        }
        (Op::CreatePost { text } | Op::Comment { text, .. } | Op::Send { text, .. }, body) => {
            let id = match body {
                Body::Post(post) => &post.post_id,
                Body::Id(id) => id,
                _ => return missing("an answer without an id"),
            };
            let said = ledger.said.get(text).is_some_and(|ids| ids.contains(id));
            if said { None } else { missing("said, and not in the log") }
        }
        _ => {
            let (topic, key, id) = record_of(call)?;
            let partition = ledger.partition(topic, &key);
            if ledger.places.contains_key(&id) || call.shaken {
                return None;
            }
            let start = call.before.get(&partition).copied().unwrap_or(0);
            let end = call.after.get(&partition).copied().unwrap_or(0);
            let so_already = in_effect(ledger, call, (start, end.max(start)));
            if so_already { None } else { missing("neither in the log nor in effect") }
        }
    }
}

/// Whether what is asked for was so already at some time while it was asked for.
fn in_effect(ledger: &Ledger, call: &Call, window: (u64, u64)) -> bool {
    let edge = |target: &str, holds: &dyn Fn(&crate::simulation::ledger::Edge) -> bool| {
        let line = ledger.edges.get(&(call.actor.clone(), target.to_owned())).cloned().unwrap_or_default();
        line.ever(window, holds)
    };
    let around = |post_id: &str| ledger.around.get(post_id).cloned().unwrap_or_default();
    match &call.op {
        Op::Follow { target, shows_shares } => {
            edge(target, &|edge| edge.following && edge.shows_shares == *shows_shares)
        }
        Op::Unfollow { target } => edge(target, &|edge| !edge.following),
        Op::Block { target } => edge(target, &|edge| edge.blocking),
        Op::Unblock { target } => edge(target, &|edge| !edge.blocking),
        Op::React { post_id, kind } => around(post_id).ever(window, |now| now.reactions.get(&call.actor) == Some(kind)),
        Op::Unreact { post_id } => around(post_id).ever(window, |now| !now.reactions.contains_key(&call.actor)),
        Op::Share { post_id } => around(post_id).ever(window, |now| now.shares.contains_key(&call.actor)),
        Op::Unshare { post_id } => around(post_id).ever(window, |now| !now.shares.contains_key(&call.actor)),
        Op::DeletePost { post_id } => {
            ledger.posts.get(post_id).is_some_and(|line| line.ever(window, |now| now.deleted))
        }
        Op::MarkRead { talk, up_to } => {
            let reads = |now: &crate::simulation::ledger::Talk| now.members.get(&call.actor) >= Some(up_to);
            ledger.talks.get(talk).is_some_and(|line| line.ever((0, window.1), reads))
        }
        Op::OpenTalk { .. } => match call.reply().map(|reply| &reply.body) {
            Some(Body::Id(talk)) => ledger.talks.get(talk).is_some_and(|line| !line.last().members.is_empty()),
            _ => false,
        },
        _ => false,
    }
}

fn told_no(ledger: &Ledger, call: &Call) -> Option<Finding> {
    let (_, _, id) = record_of(call)?;
    let there = ledger.places.get(&id)?;
    Some(Finding::new(NO_IS_NO, format!("{:?} was refused and is at {there:?}: {:?}", call.op, call.outcome)))
}

/// Topic, key and id of the one record that the command would append; `None`: it is an intent, or makes a thing whose id
/// is answered.
fn record_of(call: &Call) -> Option<(Topic, String, RecordId)> {
    let (topic, key, rpc) = match &call.op {
        Op::Follow { .. } => (topics::IDENTITY, &call.actor, "kith.identity.v1.GraphService/Follow"),
        Op::Unfollow { .. } => (topics::IDENTITY, &call.actor, "kith.identity.v1.GraphService/Unfollow"),
        Op::Block { .. } => (topics::IDENTITY, &call.actor, "kith.identity.v1.GraphService/Block"),
        Op::Unblock { .. } => (topics::IDENTITY, &call.actor, "kith.identity.v1.GraphService/Unblock"),
        Op::DeletePost { post_id } => (topics::POSTS, post_id, "kith.posts.v1.PostService/DeletePost"),
        Op::React { post_id, .. } => (topics::ENGAGEMENT, post_id, "kith.engagement.v1.ReactionService/React"),
        Op::Unreact { post_id } => (topics::ENGAGEMENT, post_id, "kith.engagement.v1.ReactionService/Unreact"),
        Op::Share { post_id } => (topics::ENGAGEMENT, post_id, "kith.engagement.v1.ShareService/Share"),
        Op::Unshare { post_id } => (topics::ENGAGEMENT, post_id, "kith.engagement.v1.ShareService/Unshare"),
        Op::OpenTalk { other } => (topics::MESSAGING, other, "kith.messaging.v1.ConversationService/GetOrCreateDirect"),
        Op::MarkRead { talk, .. } => (topics::MESSAGING, talk, "kith.messaging.v1.MessageService/MarkRead"),
        _ => return None,
    };
    let actor = RecordId::parse(&call.actor)?;
    let request_id = RequestId::parse("request_id", &call.request_id, &kith_runtime::Runtime::system()).ok()?;
    Some((topic, key.clone(), record_id(actor, rpc, &request_id)))
}
