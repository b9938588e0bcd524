//! Relationships: follows, blocks, removed followers. A block ends the follows between the two. Their lists and numbers are in
//! [`circles`](super::circles).

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{Offset, topics};
use kith_proto::Event;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{BlockRequest, FollowRequest, RemoveFollowerRequest, UnblockRequest, UnfollowRequest};
use kith_tables::{Row, RowType};
use tonic::Status;

use super::accounts::ACCOUNTS;
use super::presences::{always_away, ever_away};
use super::{Counted, Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{CUT, Finding};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Appended, Ask, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

pub const SERVICE: &str = "identity";
/// Things on the board: who wants, or wanted, to follow whom; each is of the one followed.
pub const FOLLOWS: &str = "follows";

pub struct Follows;

/// The relationship of one account to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    pub following: bool,
    pub blocking: bool,
    /// Declined, and not followed since.
    pub dismissed: bool,
    /// Since when it follows, microseconds.
    pub began: i64,
    /// When it first followed.
    pub first: i64,
    /// The same, less what the follow reaches back.
    since: i64,
    /// Since when it blocks.
    pub block_began: i64,
    pub shows_shares: bool,
    /// How much of the target's partition the follow had seen.
    pub seen: Offset,
    /// One more than the offset of the last block, standing or not, or removal of the other.
    pub cut_next: Offset,
    /// Whether it asks to follow, and since when.
    pub requested: bool,
    pub request_began: i64,
    /// What was asked for at an offset before this one is no longer wanted.
    ended_next: Offset,
    /// One more than the offset of the last answer to the other.
    pub answer_next: Offset,
}

impl Edge {
    /// Neither follow nor request is left.
    fn end(&mut self) {
        (self.following, self.requested) = (false, false);
    }

    /// Whether what happened then is shown to the follower.
    pub fn reaches(&self, at: i64) -> bool {
        self.following && at >= self.since
    }
}

/// By (actor, target).
#[derive(Default)]
pub struct Edges(pub BTreeMap<(String, String), Timeline<Edge>>);

/// What `who` is to `whom` while a call could see it.
pub fn edges(model: &Model, call: &Call, who: &str, whom: &str) -> Vec<Edge> {
    let window = call.window(model.partition(topics::IDENTITY, who));
    let line = model.state::<Edges>().0.get(&(who.to_owned(), whom.to_owned()));
    line.map_or_else(|| vec![Edge::default()], |line| line.within(window))
}

/// Whether `who` followed `whom` after so many records of `who`'s partition.
pub fn follows_at(model: &Model, who: &str, whom: &str, records: Offset) -> bool {
    let line = model.state::<Edges>().0.get(&(who.to_owned(), whom.to_owned()));
    line.is_some_and(|line| line.at(records).following)
}

/// Whether `who` blocked `whom`, or was away, the whole time that a call could see.
pub fn parted_by(model: &Model, call: &Call, who: &str, whom: &str) -> bool {
    let blocks = || edges(model, call, who, whom).iter().all(|edge| edge.blocking);
    who != whom && (blocks() || always_away(model, call, who))
}

/// Whether a block stood between two, the whole time that a call could see, and whether it did at some time.
pub fn blocked(model: &Model, call: &Call, one: &str, other: &str) -> (bool, bool) {
    let between = |holds: fn(&[Edge]) -> bool| {
        one != other && (holds(&edges(model, call, one, other)) || holds(&edges(model, call, other, one)))
    };
    let always = between(|edges| edges.iter().all(|edge| edge.blocking));
    (always, between(|edges| edges.iter().any(|edge| edge.blocking)))
}

/// Whether a block stood between two, or one was away, the whole time that a call could see.
pub fn always_parted(model: &Model, call: &Call, one: &str, other: &str) -> bool {
    parted_by(model, call, one, other) || parted_by(model, call, other, one)
}

/// Whether a block stood between two, or one was away, at some time that a call could see.
pub fn ever_parted(model: &Model, call: &Call, one: &str, other: &str) -> bool {
    let blocks = |who, whom| edges(model, call, who, whom).iter().any(|edge| edge.blocking);
    let away = |who| ever_away(model, call, who);
    one != other && (blocks(one, other) || blocks(other, one) || away(one) || away(other))
}

impl Noun for Follows {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 12,
                    draw: |scene| {
                        Some(op(Follow { target: another(scene)?, shows_shares: scene.chance.per_mille(700) }))
                    },
                },
                Draw { weight: 3, draw: |scene| Some(op(Unfollow { target: another(scene)? })) },
                Draw { weight: 2, draw: |scene| Some(op(Block { target: another(scene)? })) },
                Draw { weight: 2, draw: |scene| Some(op(Unblock { target: another(scene)? })) },
                Draw { weight: 2, draw: |scene| Some(op(RemoveFollower { follower: another(scene)? })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Edges>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let (Event::Identity(event), is_new, offset) = (&fact.event, fact.is_new, fact.position.offset) else { return };
        let (who, whom) = match event {
            Identity::Followed(event) => (&event.follower_id, &event.target_id),
            Identity::Unfollowed(event) => (&event.follower_id, &event.target_id),
            Identity::FollowCut(event) => (&event.follower_id, &event.target_id),
            Identity::Blocked(event) => (&event.actor_id, &event.target_id),
            Identity::Unblocked(event) => (&event.actor_id, &event.target_id),
            Identity::FollowerRemoved(event) => (&event.actor_id, &event.follower_id),
            Identity::SuggestionDismissed(event) => (&event.account_id, &event.target_id),
            Identity::FollowRequested(event) => (&event.follower_id, &event.target_id),
            Identity::FollowRequestEnded(event) => (&event.follower_id, &event.target_id),
            Identity::FollowRequestAnswered(event) => (&event.actor_id, &event.follower_id),
            _ => return,
        };
        let line = model.state_mut::<Edges>().0.entry((who.clone(), whom.clone())).or_default();
        let mut now = line.last();
        match event {
            Identity::FollowCut(event) if now.seen <= event.block_offset => now.end(),
            Identity::FollowRequestEnded(event) if now.requested && now.seen <= event.answer_offset => now.end(),
            Identity::FollowRequested(event) if is_new && !now.blocking => {
                now.following = false;
                now.request_began = if now.requested { now.request_began } else { fact.at };
                (now.requested, now.shows_shares, now.seen) = (true, event.shows_shares, event.seen_target_offset);
            }
            Identity::FollowRequestAnswered(_) if is_new => now.answer_next = offset + 1,
            // What it asked for was over.
            Identity::Followed(event) if event.request_offset.is_some_and(|asked| asked < now.ended_next) => {}
            Identity::Followed(event) if is_new && !now.blocking => {
                now.requested = false;
                if event.request_offset.is_none() {
                    now.ended_next = offset + 1;
                }
                if !now.following {
                    let window = i64::from(event.backfill_window_seconds) * 1_000_000;
                    (now.began, now.since) = (fact.at, fact.at - window);
                    now.first = if now.first == 0 { fact.at } else { now.first };
                }
                (now.following, now.dismissed) = (true, false);
                now.shows_shares = event.shows_shares;
                now.seen = event.seen_target_offset;
            }
            Identity::Unfollowed(_) if is_new => {
                now.end();
                now.ended_next = offset + 1;
            }
            Identity::Blocked(_) if is_new => {
                now.end();
                now.ended_next = offset + 1;
                now.block_began = if now.blocking { now.block_began } else { fact.at };
                (now.blocking, now.cut_next) = (true, offset + 1);
            }
            Identity::FollowerRemoved(_) if is_new => now.cut_next = offset + 1,
            Identity::Unblocked(_) if is_new => now.blocking = false,
            Identity::SuggestionDismissed(_) if is_new => now.dismissed = true,
            _ => {}
        }
        line.set(offset, now);
    }

    /// No follow exists that had not seen a block or a removal.
    fn check(&self, model: &Model) -> Vec<Finding> {
        let edges = &model.state::<Edges>().0;
        let uncut = edges.iter().filter(|((who, whom), line)| {
            let (mine, theirs) = (line.last(), edges.get(&(whom.clone(), who.clone())).map(Timeline::last));
            theirs.is_some_and(|theirs| (mine.following || mine.requested) && mine.seen < theirs.cut_next)
        });
        uncut
            .map(|((who, whom), _)| {
                Finding::new(CUT, format!("{who} follows {whom}, who blocked or removed it unseen"))
            })
            .collect()
    }

    fn counted(&self) -> &'static [Counted] {
        const {
            &[
                Counted { table: "edges", column: 1, counts: |row| edge(row).is_some_and(|edge| edge.following) },
                Counted { table: "edges", column: 2, counts: |row| edge(row).is_some_and(|edge| edge.blocking) },
                Counted { table: "followers", column: 1, counts: follower },
                Counted {
                    table: "follows",
                    column: 1,
                    counts: |row| follow(row).is_some_and(|follow| follow.following),
                },
            ]
        }
    }
}

/// Anybody.
pub fn someone(scene: &Scene<'_>) -> Option<String> {
    scene.one(ACCOUNTS).map(|account| account.id.clone())
}

/// Somebody else than the actor.
pub fn another(scene: &Scene<'_>) -> Option<String> {
    someone(scene).filter(|other| other != scene.actor)
}

/// Of small pages.
pub fn size(scene: &Scene<'_>) -> i32 {
    scene.chance.between(1, 3) as i32
}

fn edge(row: &Row) -> Option<kith_identity::edge::EdgeRow> {
    row.read()
}

fn follow(row: &Row) -> Option<kith_projector::views::follows::FollowRow> {
    row.read()
}

fn follower(row: &Row) -> bool {
    edge(row).map(|edge| edge.following).or_else(|| follow(row).map(|follow| follow.following)).unwrap_or(false)
}

/// Sections that are read by type here are the first of their tables.
const _: () = assert!(<kith_identity::edge::EdgeRow as RowType>::SECTION == 0);

/// The record of an RPC of the graph: it is keyed by who acts.
pub fn own_record(actor: &str, rpc: &str, request_id: &str) -> Option<Appended> {
    let rpc = format!("kith.identity.v1.GraphService/{rpc}");
    let id = record_id(actor, &rpc, request_id)?;
    Some(Appended { topic: topics::IDENTITY, key: actor.to_owned(), id })
}

/// A command of the graph: its type, its RPC, and what is so once it is done.
macro_rules! commands {
    ($($name:ident { $($field:ident: $type:ty),* } $rpc:literal $method:ident $request:ident, $learns:literal,
       |$edge:ident, $this:ident| $holds:expr;)*) => {$(
        #[derive(Debug)]
        pub struct $name {
            pub target: String,
            $(pub $field: $type,)*
        }

        #[async_trait]
        impl Operation for $name {
            type Answer = ();

            const SERVICE: &'static str = SERVICE;
            const READS: bool = false;

            #[allow(clippy::needless_update, reason = "requests with more fields leave the others as they are")]
            async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
                let request = $request {
                    target_id: self.target.clone(),
                    $($field: self.$field,)*
                    request_id: ask.request_id,
                    at_least: ask.at_least,
                    ..Default::default()
                };
                let done = GraphServiceClient::new(to.way(SERVICE)).$method(to.from(&ask.actor, request)).await?;
                Ok(Reply::new((), done.into_inner().consistency_token))
            }

            fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
                own_record(actor, $rpc, request_id)
            }

            fn learn(&self, board: &mut Board, actor: &str, (): &()) {
                let (id, by, on) = (format!("{actor} {}", self.target), vec![self.target.clone()], actor.to_owned());
                if $learns {
                    board.add(FOLLOWS, Thing { id, by, on, ..Thing::default() });
                }
            }

            fn in_effect(&self, model: &Model, call: &Call) -> bool {
                let window = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
                let line = model.state::<Edges>().0.get(&(call.actor.clone(), self.target.clone()));
                let $this = self;
                line.cloned().unwrap_or_default().ever(window, |$edge| $holds)
            }
        }
    )*};
}

commands! {
    Follow { shows_shares: bool } "Follow" follow FollowRequest, true,
        |edge, this| (edge.following || edge.requested) && edge.shows_shares == this.shows_shares;
    Unfollow {} "Unfollow" unfollow UnfollowRequest, false, |edge, _this| !edge.following && !edge.requested;
    Block {} "Block" block BlockRequest, false, |edge, _this| edge.blocking;
    Unblock {} "Unblock" unblock UnblockRequest, false, |edge, _this| !edge.blocking;
}

/// Asks that an account follow the actor no longer.
#[derive(Debug)]
pub struct RemoveFollower {
    pub follower: String,
}

#[async_trait]
impl Operation for RemoveFollower {
    /// Whether it still follows.
    type Answer = bool;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<bool>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = RemoveFollowerRequest { target_id: self.follower.clone(), request_id, at_least };
        let done = GraphServiceClient::new(to.way(SERVICE)).remove_follower(to.from(&actor, request)).await?;
        let done = done.into_inner();
        Ok(Reply::new(done.relationship.unwrap_or_default().followed_by, done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "RemoveFollower", request_id)
    }

    /// Nothing to end, by the follower's part of the log.
    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let window = call.meanwhile(model.partition(topics::IDENTITY, &self.follower));
        let line = model.state::<Edges>().0.get(&(self.follower.clone(), call.actor.clone()));
        line.cloned().unwrap_or_default().ever(window, |edge| !edge.following)
    }

    fn stands(&self, model: &Model, call: &Call, follows: &bool) -> bool {
        let line = model.state::<Edges>().0.get(&(self.follower.clone(), call.actor.clone()));
        line.cloned().unwrap_or_default().ever((0, Offset::MAX), |edge| edge.following == *follows)
    }
}
