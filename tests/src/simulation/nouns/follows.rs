//! Relationships: follows and blocks. A block ends the follows between the two.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{Offset, topics};
use kith_proto::Event;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    BatchGetRelationshipsRequest, BlockRequest, FollowEntry, FollowRequest, ListFollowersRequest, ListFollowingRequest,
    UnblockRequest, UnfollowRequest,
};
use kith_service::limits;
use kith_tables::{Row, RowType};
use tonic::{Code, Status};

use super::accounts::{ACCOUNTS, Handles};
use super::lists::{List, There, walk, whole};
use super::presences::{always_away, ever_away};
use super::{Counted, Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::Callers;
use crate::simulation::checks::{CUT, Finding, LISTS, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

const SERVICE: &str = "identity";

pub struct Follows;

/// The relationship of one account to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    pub following: bool,
    pub blocking: bool,
    /// Since when, less what the follow reaches back; microseconds.
    since: i64,
    pub shows_shares: bool,
    /// How much of the target's partition the follow had seen.
    seen: Offset,
    /// One more than the offset of the last block, standing or not.
    block_next: Offset,
}

impl Edge {
    /// Whether what happened then is shown to the follower.
    pub fn reaches(&self, at: i64) -> bool {
        self.following && at >= self.since
    }
}

/// By (actor, target).
#[derive(Default)]
struct Edges(BTreeMap<(String, String), Timeline<Edge>>);

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
                Draw { weight: 2, draw: |scene| Some(whole(Followers { account: someone(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(whole(Following { account: someone(scene)? })) },
                Draw { weight: 1, draw: |scene| Some(walk(Followers { account: someone(scene)? }, size(scene))) },
                Draw { weight: 1, draw: |scene| Some(walk(Following { account: someone(scene)? }, size(scene))) },
                Draw {
                    weight: 1,
                    draw: |scene| Some(op(Relationships { targets: vec![another(scene)?, another(scene)?] })),
                },
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
            _ => return,
        };
        let line = model.state_mut::<Edges>().0.entry((who.clone(), whom.clone())).or_default();
        let mut now = line.last();
        match event {
            Identity::FollowCut(event) => now.following &= now.seen > event.block_offset,
            Identity::Followed(event) if is_new && !now.blocking => {
                if !now.following {
                    let window = i64::from(event.backfill_window_seconds) * 1_000_000;
                    now.since = fact.at - window;
                }
                now.following = true;
                now.shows_shares = event.shows_shares;
                now.seen = event.seen_target_offset;
            }
            Identity::Unfollowed(_) if is_new => now.following = false,
            Identity::Blocked(_) if is_new => (now.following, now.blocking, now.block_next) = (false, true, offset + 1),
            Identity::Unblocked(_) if is_new => now.blocking = false,
            _ => {}
        }
        line.set(offset, now);
    }

    /// No follow exists that had not seen a block.
    fn check(&self, model: &Model) -> Vec<Finding> {
        let edges = &model.state::<Edges>().0;
        let uncut = edges.iter().filter(|((who, whom), line)| {
            let (mine, theirs) = (line.last(), edges.get(&(whom.clone(), who.clone())).map(Timeline::last));
            theirs.is_some_and(|theirs| mine.following && mine.seen < theirs.block_next)
        });
        uncut.map(|((who, whom), _)| Finding::new(CUT, format!("{who} follows {whom}, who blocked unseen"))).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let people: Vec<&String> = model.state::<Handles>().people().collect();
        let mut all = Vec::new();
        for &person in &people {
            all.push((person.clone(), walk(Followers { account: person.clone() }, 2)));
            all.push((person.clone(), walk(Following { account: person.clone() }, 3)));
            let others: Vec<String> = people.iter().filter(|other| **other != person).copied().cloned().collect();
            for targets in others.chunks(limits::BATCH_ITEMS) {
                all.push((person.clone(), op(Relationships { targets: targets.to_vec() })));
            }
        }
        all
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

fn someone(scene: &Scene<'_>) -> Option<String> {
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
fn own_record(actor: &str, rpc: &str, request_id: &str) -> Option<Appended> {
    let rpc = format!("kith.identity.v1.GraphService/{rpc}");
    let id = record_id(actor, &rpc, request_id)?;
    Some(Appended { topic: topics::IDENTITY, key: actor.to_owned(), id })
}

/// A command of the graph: its type, its RPC, and what is so once it is done.
macro_rules! commands {
    ($($name:ident { $($field:ident: $type:ty),* } $rpc:literal $method:ident $request:ident,
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
    Follow { shows_shares: bool } "Follow" follow FollowRequest,
        |edge, this| edge.following && edge.shows_shares == this.shows_shares;
    Unfollow {} "Unfollow" unfollow UnfollowRequest, |edge, _this| !edge.following;
    Block {} "Block" block BlockRequest, |edge, _this| edge.blocking;
    Unblock {} "Unblock" unblock UnblockRequest, |edge, _this| !edge.blocking;
}

#[derive(Debug)]
struct Followers {
    account: String,
}

#[derive(Debug)]
struct Following {
    account: String,
}

fn ids(entries: Vec<FollowEntry>) -> Vec<String> {
    entries.into_iter().filter_map(|entry| entry.account).map(|account| account.account_id).collect()
}

#[async_trait]
impl List for Followers {
    type Row = String;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<String>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListFollowersRequest { account_id: self.account.clone(), page_size, page_token, at_least };
        let mut graph = GraphServiceClient::new(to.way(SERVICE));
        let page = graph.list_followers(to.from(&actor, request)).await?.into_inner();
        Ok(Reply { answer: ids(page.followers), token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[String]) -> Vec<Finding> {
        check(model, call, rows, |who, whom| (whom == self.account).then(|| who.to_owned()))
    }
}

#[async_trait]
impl List for Following {
    type Row = String;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<String>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListFollowingRequest { account_id: self.account.clone(), page_size, page_token, at_least };
        let mut graph = GraphServiceClient::new(to.way(SERVICE));
        let page = graph.list_following(to.from(&actor, request)).await?.into_inner();
        Ok(Reply { answer: ids(page.following), token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[String]) -> Vec<Finding> {
        check(model, call, rows, |who, whom| (who == self.account).then(|| whom.to_owned()))
    }
}

/// A list of one's follows, by the id of the other, or of those that are none.
fn check(model: &Model, call: &Call, rows: &[String], other: impl Fn(&str, &str) -> Option<String>) -> Vec<Finding> {
    let mut there = There::default();
    for (who, whom) in model.state::<Edges>().0.keys() {
        let Some(other) = other(who, whom) else { continue };
        let states = edges(model, call, who, whom);
        let ever = states.iter().any(|edge| edge.following) && !always_parted(model, call, &call.actor, &other);
        let always = states.iter().all(|edge| edge.following) && !ever_parted(model, call, &call.actor, &other);
        there.put(&other, ever, always);
    }
    let ids: Vec<&str> = rows.iter().map(String::as_str).collect();
    let mut findings = there.check(call, &ids);
    if !ids.is_sorted() {
        findings.push(Finding::new(LISTS, format!("{} is out of order: {ids:?}", call.op)));
    }
    findings
}

/// The actor's relationships with others.
#[derive(Debug)]
struct Relationships {
    targets: Vec<String>,
}

/// Follows, shows shares, is followed, blocks, is blocked.
type Standing = (bool, bool, bool, bool, bool);

#[async_trait]
impl Operation for Relationships {
    type Answer = Vec<(String, Standing)>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status> {
        let request = BatchGetRelationshipsRequest { target_ids: self.targets.clone(), at_least: ask.at_least };
        let mut graph = GraphServiceClient::new(to.way(SERVICE));
        let found = graph.batch_get_relationships(to.from(&ask.actor, request)).await?.into_inner();
        let standing = found.relationships.into_iter().map(|of| {
            let standing = (of.following, of.shows_shares, of.followed_by, of.blocking, of.blocked_by);
            (of.target_id, standing)
        });
        Ok(Reply::new(standing.collect(), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        if !told.iter().map(|(target, _)| target).eq(&self.targets) {
            return vec![Finding::new(LISTS, format!("{} was answered for {told:?}", call.op))];
        }
        let wrong = told.iter().filter(|(target, (following, shows_shares, followed_by, blocking, blocked_by))| {
            let (mine, theirs) = (edges(model, call, &call.actor, target), edges(model, call, target, &call.actor));
            let shows = |edge: &Edge| edge.following && edge.shows_shares;
            // Readers see a follow as ended from the block on, also before the record `FollowCut` is in the log.
            let is_cut = |edges: &[Edge], by: &[Edge]| {
                edges.iter().any(|edge| by.iter().any(|other| other.blocking && other.block_next > edge.seen))
            };
            let fits = (mine.iter().any(|edge| (edge.following, shows(edge)) == (*following, *shows_shares))
                || (!following && !shows_shares && is_cut(&mine, &theirs)))
                && mine.iter().any(|edge| edge.blocking == *blocking)
                && (theirs.iter().any(|edge| edge.following == *followed_by)
                    || (!followed_by && is_cut(&theirs, &mine)))
                && theirs.iter().any(|edge| edge.blocking == *blocked_by);
            let is_nothing = [following, shows_shares, followed_by, blocking, blocked_by].iter().all(|is| !**is);
            let hidden = is_nothing && ever_away(model, call, target);
            let told_of_absent = !is_nothing && always_away(model, call, target);
            told_of_absent || !(fits || hidden)
        });
        wrong.map(|(target, now)| Finding::new(TOKEN, format!("{} and {target} are {now:?}", call.actor))).collect()
    }
}
