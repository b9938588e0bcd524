//! Private accounts: who follows one asked before, what it says is for its followers, and each request gets one answer. The checks of
//! what accounts say and do ask here whom it is hidden from.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_log::Offset;
use kith_proto::Event;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    AcceptFollowRequest, FollowRequestEntry, ListFollowRequestsRequest, RejectFollowRequest, Relationship,
};
use tonic::Status;

use super::accounts::Handles;
use super::follows::{Edge, Edges, FOLLOWS, SERVICE, always_parted, edges, ever_parted, own_record, size};
use super::lists::{List, There, walk, whole};
use super::profiles::{privacy, private_ever_since};
use super::{Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, HIDDEN, LISTS};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op};

/// Whether the account was private, and not followed by the viewer, the whole time that a call could see.
pub fn always_veiled(model: &Model, call: &Call, viewer: &str, account: &str) -> bool {
    viewer != account
        && privacy(model, call, account).iter().all(|private| *private)
        && edges(model, call, viewer, account).iter().all(|edge| !edge.following)
}

/// Whether it was so at some time that a call could see.
pub fn ever_veiled(model: &Model, call: &Call, viewer: &str, account: &str) -> bool {
    viewer != account
        && privacy(model, call, account).contains(&true)
        && edges(model, call, viewer, account)
            .iter()
            .any(|edge| !edge.following || may_be_cut(model, call, edge, viewer, account))
}

/// Whether a follow that stood may have been over for whoever read both sides.
pub fn may_be_over(model: &Model, call: &Call, who: &str, whom: &str) -> bool {
    edges(model, call, who, whom).iter().any(|edge| may_be_cut(model, call, edge, who, whom))
}

/// A follow that is about to be cut may be over for whoever reads both sides.
fn may_be_cut(model: &Model, call: &Call, edge: &Edge, who: &str, whom: &str) -> bool {
    edges(model, call, whom, who).iter().any(|theirs| theirs.cut_next > edge.seen)
}

/// Whether what the account says and does was hidden from the viewer the whole time that a call could see.
pub fn always_hidden(model: &Model, call: &Call, viewer: &str, account: &str) -> bool {
    always_parted(model, call, viewer, account) || always_veiled(model, call, viewer, account)
}

/// Whether it was at some time that a call could see.
pub fn ever_hidden(model: &Model, call: &Call, viewer: &str, account: &str) -> bool {
    ever_parted(model, call, viewer, account) || ever_veiled(model, call, viewer, account)
}

pub struct Requests;

/// Follows that began without being asked for, of accounts that were private all the time since.
#[derive(Default)]
struct Unasked(BTreeSet<(String, String, Offset)>);

impl Noun for Requests {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 5, draw: |scene| Some(op(Accept { follower: suitor(scene)? })) },
                Draw { weight: 2, draw: |scene| Some(op(Reject { follower: suitor(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(whole(Asking { sent: scene.chance.per_mille(400) })) },
                Draw { weight: 1, draw: |scene| Some(walk(Asking { sent: scene.chance.per_mille(400) }, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Unasked>();
    }

    /// Before [`Follows`](super::follows::Follows) reads the same record: what stood before it is still there.
    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Identity(Identity::Followed(event)) = &fact.event else { return };
        let pair = (event.follower_id.clone(), event.target_id.clone());
        let follows = model.state::<Edges>().0.get(&pair).is_some_and(|line| line.last().following);
        if fact.is_new && !follows && event.request_offset.is_none() {
            model.state_mut::<Unasked>().0.insert((pair.0, pair.1, event.seen_target_offset));
        }
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let unasked = model.state::<Unasked>().0.iter();
        let unasked = unasked.filter(|(_, target, seen)| private_ever_since(model, target, *seen));
        let unasked = unasked.map(|(who, whom, _)| format!("{who} follows {whom}, which is private, unasked"));
        let edges = &model.state::<Edges>().0;
        let unsettled = edges.iter().filter(|((who, whom), line)| {
            let (mine, theirs) = (line.last(), edges.get(&(whom.clone(), who.clone())).map(|line| line.last()));
            theirs.is_some_and(|theirs| mine.requested && mine.seen < theirs.answer_next)
        });
        let unsettled = unsettled.map(|((who, whom), _)| format!("{whom} answered {who}, who still asks"));
        unasked.chain(unsettled).map(|what| Finding::new(EFFECTIVE_ONCE, what)).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let people = model.state::<Handles>().people();
        people.flat_map(|person| [true, false].map(|sent| (person.clone(), walk(Asking { sent }, 2)))).collect()
    }
}

/// Somebody who wanted to follow the actor.
fn suitor(scene: &Scene<'_>) -> Option<String> {
    scene.own(FOLLOWS).map(|follow| follow.on.clone())
}

fn client(to: &Callers) -> GraphServiceClient<Way> {
    GraphServiceClient::new(to.way(SERVICE))
}

/// What the follower is to the actor now, in the log.
fn between(model: &Model, follower: &str, actor: &str) -> Vec<Edge> {
    let line = model.state::<Edges>().0.get(&(follower.to_owned(), actor.to_owned()));
    line.cloned().unwrap_or_default().within((0, Offset::MAX))
}

/// An answer to a request: its type, its RPC, and what may be so where there was nothing to answer.
macro_rules! answers {
    ($($name:ident $rpc:literal $method:ident $request:ident, |$edge:ident| $holds:expr;)*) => {$(
        #[derive(Debug)]
        struct $name {
            follower: String,
        }

        #[async_trait]
        impl Operation for $name {
            /// Whether it follows then.
            type Answer = bool;

            const SERVICE: &'static str = SERVICE;
            const READS: bool = false;

            async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<bool>, Status> {
                let Ask { actor, request_id, at_least, .. } = ask;
                let request = $request { target_id: self.follower.clone(), request_id, at_least };
                let done = client(to).$method(to.from(&actor, request)).await?.into_inner();
                let Relationship { followed_by, .. } = done.relationship.unwrap_or_default();
                Ok(Reply::new(followed_by, done.consistency_token))
            }

            fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
                own_record(actor, $rpc, request_id)
            }

            fn in_effect(&self, model: &Model, call: &Call) -> bool {
                between(model, &self.follower, &call.actor).iter().any(|$edge| $holds)
            }

            fn stands(&self, model: &Model, call: &Call, follows: &bool) -> bool {
                between(model, &self.follower, &call.actor).iter().any(|edge| edge.following == *follows)
            }
        }
    )*};
}

answers! {
    Accept "AcceptFollow" accept_follow AcceptFollowRequest, |edge| edge.following || edge.requested;
    Reject "RejectFollow" reject_follow RejectFollowRequest, |edge| !edge.requested;
}

/// Who asks to follow the caller; or whom the caller asks.
#[derive(Debug)]
struct Asking {
    sent: bool,
}

/// The other account, and since when it waits.
type Row = (String, i64);

#[async_trait]
impl List for Asking {
    type Row = Row;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<Row>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListFollowRequestsRequest { sent: self.sent, page_size, page_token, at_least };
        let page = client(to).list_follow_requests(to.from(&actor, request)).await?.into_inner();
        let row =
            |of: FollowRequestEntry| (of.account.unwrap_or_default().account_id, micros(of.request_time.as_ref()));
        Ok(Reply {
            answer: page.requests.into_iter().map(row).collect(),
            token: page.as_of,
            next_page: page.next_page_token,
        })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[Row]) -> Vec<Finding> {
        let (mut there, actor) = (There::default(), &call.actor);
        for (who, whom) in model.state::<Edges>().0.keys() {
            let (mine, other) = if self.sent { (who, whom) } else { (whom, who) };
            if mine != actor {
                continue;
            }
            let (asks, asked) = (edges(model, call, who, whom), edges(model, call, whom, who));
            let is_over = |edge: &Edge| asked.iter().any(|to| to.answer_next > edge.seen || to.cut_next > edge.seen);
            let ever_shown = !always_parted(model, call, actor, other);
            for edge in asks.iter().filter(|edge| edge.requested) {
                let same = |now: &Edge| now.requested && now.request_began == edge.request_began && !is_over(now);
                let always = asks.iter().all(same) && !ever_parted(model, call, actor, other);
                let may_wait = asked.iter().any(|to| to.answer_next <= edge.seen);
                there.put(&place(other, edge.request_began), ever_shown && may_wait, always);
            }
        }
        let places: Vec<String> = rows.iter().map(|(id, at)| place(id, *at)).collect();
        let mut findings = there.check(call, &places.iter().map(String::as_str).collect::<Vec<_>>());
        if !rows.is_sorted_by(|earlier, later| earlier.1 >= later.1) {
            findings.push(Finding::new(LISTS, format!("{} is out of order: {rows:?}", call.op)));
        }
        let veiled = rows.iter().filter(|(id, _)| always_parted(model, call, actor, id));
        findings.extend(veiled.map(|(id, _)| Finding::new(HIDDEN, format!("{id} is listed for {actor}"))));
        findings
    }
}

fn place(id: &str, at: i64) -> String {
    format!("{id} since {at}")
}
