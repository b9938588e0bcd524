//! What is listed and counted of follows and blocks, and what two accounts are to each other. It has no records of its own.

use async_trait::async_trait;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::{
    self, BatchGetAccountsRequest, BatchGetRelationshipsRequest, FollowEntry, ListBlocksRequest, ListFollowersRequest,
    ListFollowingRequest, ListMutualsRequest,
};
use kith_service::limits;
use tonic::{Code, Status};

use super::accounts::Handles;
use super::follows::{Edge, Edges, SERVICE, always_parted, another, edges, ever_parted, parted_by, size, someone};
use super::lists::{List, There, walk, whole};
use super::mutes::{self, Mute};
use super::presences::{always_away, ever_away};
use super::requests::{always_veiled, ever_veiled};
use super::{Draw, Noun};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{COUNTS, Finding, HIDDEN, LISTS, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Model, micros};
use crate::simulation::operation::{Ask, Op, Operation, Reply, op};

pub struct Circles;

impl Noun for Circles {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 2, draw: |scene| Some(whole(Listed::Followers(someone(scene)?))) },
                Draw { weight: 1, draw: |scene| Some(whole(Listed::Following(someone(scene)?))) },
                Draw { weight: 1, draw: |_| Some(whole(Listed::Mutuals)) },
                Draw { weight: 1, draw: |_| Some(whole(Listed::Blocks)) },
                Draw { weight: 1, draw: |scene| Some(walk(Listed::Followers(someone(scene)?), size(scene))) },
                Draw { weight: 1, draw: |scene| Some(walk(Listed::Following(someone(scene)?), size(scene))) },
                Draw { weight: 1, draw: |scene| Some(walk(Listed::Mutuals, size(scene))) },
                Draw { weight: 1, draw: |scene| Some(walk(Listed::Blocks, size(scene))) },
                Draw { weight: 1, draw: |scene| Some(op(Counts { accounts: vec![someone(scene)?, someone(scene)?] })) },
                Draw {
                    weight: 1,
                    draw: |scene| Some(op(Relationships { targets: vec![another(scene)?, another(scene)?] })),
                },
            ]
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let people: Vec<&String> = model.state::<Handles>().people().collect();
        let mut all = Vec::new();
        for &person in &people {
            let lists = [
                walk(Listed::Followers(person.clone()), 2),
                walk(Listed::Following(person.clone()), 3),
                walk(Listed::Mutuals, 2),
                walk(Listed::Blocks, 1),
            ];
            all.extend(lists.map(|list| (person.clone(), list)));
            let others: Vec<String> = people.iter().filter(|other| **other != person).copied().cloned().collect();
            for some in others.chunks(limits::BATCH_ITEMS) {
                all.push((person.clone(), op(Relationships { targets: some.to_vec() })));
                all.push((person.clone(), op(Counts { accounts: some.to_vec() })));
            }
        }
        all
    }
}

fn graph(to: &Callers) -> GraphServiceClient<Way> {
    GraphServiceClient::new(to.way(SERVICE))
}

/// A list of the graph.
#[derive(Debug)]
enum Listed {
    Followers(String),
    Following(String),
    /// Of the caller, as the last.
    Mutuals,
    Blocks,
}

/// The other account, and since when.
type Row = (String, i64);

fn row(entry: FollowEntry) -> Row {
    (entry.account.unwrap_or_default().account_id, micros(entry.follow_time.as_ref()))
}

#[async_trait]
impl List for Listed {
    type Row = Row;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<Row>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let mut graph = graph(to);
        let (answer, token, next_page) = match self {
            Self::Followers(account) => {
                let request = ListFollowersRequest { account_id: account.clone(), page_size, page_token, at_least };
                let page = graph.list_followers(to.from(&actor, request)).await?.into_inner();
                (page.followers.into_iter().map(row).collect(), page.as_of, page.next_page_token)
            }
            Self::Following(account) => {
                let request = ListFollowingRequest { account_id: account.clone(), page_size, page_token, at_least };
                let page = graph.list_following(to.from(&actor, request)).await?.into_inner();
                (page.following.into_iter().map(row).collect(), page.as_of, page.next_page_token)
            }
            Self::Mutuals => {
                let request = ListMutualsRequest { page_size, page_token, at_least };
                let page = graph.list_mutuals(to.from(&actor, request)).await?.into_inner();
                (page.mutuals.into_iter().map(row).collect(), page.as_of, page.next_page_token)
            }
            Self::Blocks => {
                let request = ListBlocksRequest { page_size, page_token, at_least };
                let page = graph.list_blocks(to.from(&actor, request)).await?.into_inner();
                let row =
                    |of: v1::BlockEntry| (of.account.unwrap_or_default().account_id, micros(of.block_time.as_ref()));
                (page.blocks.into_iter().map(row).collect(), page.as_of, page.next_page_token)
            }
        };
        Ok(Reply { answer, token, next_page })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[Row]) -> Vec<Finding> {
        let mut there = There::default();
        for (who, whom) in model.state::<Edges>().0.keys() {
            let Some(other) = self.other(who, whom, &call.actor) else { continue };
            let since = |edge: &Edge| match self {
                Self::Blocks => edge.blocking.then_some(edge.block_began),
                _ => edge.following.then_some(edge.began),
            };
            let states: Vec<Option<i64>> = edges(model, call, who, whom).iter().map(since).collect();
            let (ever_shown, always_shown) = self.shown(model, call, other);
            for at in states.iter().flatten() {
                let stayed = states.iter().all(|now| *now == Some(*at));
                there.put(&place(other, *at), ever_shown, stayed && always_shown);
            }
        }
        let places: Vec<String> = rows.iter().map(|(id, at)| place(id, *at)).collect();
        let mut findings = there.check(call, &places.iter().map(String::as_str).collect::<Vec<_>>());
        let order: Vec<i64> = rows.iter().map(|row| self.ordered_by(model, &call.actor, row)).collect();
        if !order.is_sorted_by(|earlier, later| earlier >= later) {
            findings.push(Finding::new(LISTS, format!("{} is out of order: {rows:?}", call.op)));
        }
        if self.owner().is_some_and(|owner| always_veiled(model, call, &call.actor, owner)) {
            findings.push(Finding::new(HIDDEN, format!("{} of a private account for {}", call.op, call.actor)));
        }
        findings
    }

    fn refused(&self, model: &Model, call: &Call, code: Code) -> Vec<Finding> {
        let is_open = self.owner().is_some_and(|owner| !ever_veiled(model, call, &call.actor, owner));
        let refused = is_open && code == Code::PermissionDenied;
        refused
            .then(|| Finding::new(HIDDEN, format!("{} was refused to {}", call.op, call.actor)))
            .into_iter()
            .collect()
    }
}

fn place(id: &str, at: i64) -> String {
    format!("{id} since {at}")
}

impl Listed {
    /// Whom the list shows for the edge of two; `None`: it is of another list.
    fn other<'e>(&self, who: &'e str, whom: &'e str, actor: &str) -> Option<&'e str> {
        match self {
            Self::Followers(account) => (whom == account).then_some(who),
            Self::Following(account) => (who == account).then_some(whom),
            Self::Mutuals | Self::Blocks => (who == actor).then_some(whom),
        }
    }

    /// Follows by the first of the two, blocks by themselves.
    fn ordered_by(&self, model: &Model, actor: &str, (other, at): &Row) -> i64 {
        let (who, whom) = match self {
            Self::Blocks => return *at,
            Self::Followers(account) => (other.as_str(), account.as_str()),
            Self::Following(account) => (account.as_str(), other.as_str()),
            Self::Mutuals => (actor, other.as_str()),
        };
        let line = model.state::<Edges>().0.get(&(who.to_owned(), whom.to_owned()));
        line.map_or(0, |line| line.last().first)
    }

    /// Whose list it is, if not the caller's.
    fn owner(&self) -> Option<&str> {
        match self {
            Self::Followers(account) | Self::Following(account) => Some(account),
            Self::Mutuals | Self::Blocks => None,
        }
    }

    /// Whether the caller may be shown the other at all while it could see, and whether it must all the time.
    fn shown(&self, model: &Model, call: &Call, other: &str) -> (bool, bool) {
        let actor = &call.actor;
        match self {
            Self::Followers(_) | Self::Following(_) => {
                (!always_parted(model, call, actor, other), !ever_parted(model, call, actor, other))
            }
            Self::Mutuals => {
                let back = edges(model, call, other, actor);
                let ever = back.iter().any(|edge| edge.following) && !always_parted(model, call, actor, other);
                let always = back.iter().all(|edge| edge.following) && !ever_parted(model, call, actor, other);
                (ever, always)
            }
            // Whoever blocks the caller too, or is away, is not there.
            Self::Blocks => {
                let back = edges(model, call, other, actor);
                let always = back.iter().all(|edge| !edge.blocking) && !ever_away(model, call, other);
                (!parted_by(model, call, other, actor), always)
            }
        }
    }
}

/// How many follow accounts, and how many they follow.
#[derive(Debug)]
struct Counts {
    accounts: Vec<String>,
}

#[async_trait]
impl Operation for Counts {
    /// By account: followers, followed; `None`: the account is not shown, or without them.
    type Answer = Vec<(String, Option<Option<(u64, u64)>>)>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status> {
        let request = BatchGetAccountsRequest { account_ids: self.accounts.clone(), at_least: ask.at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let found = accounts.batch_get_accounts(to.from(&ask.actor, request)).await?.into_inner();
        let counts =
            |account: v1::Account| account.counts.map(|counts| (counts.follower_count, counts.following_count));
        let entries = found.entries.into_iter().map(|entry| (entry.account_id, entry.account.map(counts)));
        Ok(Reply::new(entries.collect(), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        let mut findings = Vec::new();
        for (account, counts) in told {
            let Some(counts) = counts else { continue };
            if parted_by(model, call, account, &call.actor) {
                findings.push(Finding::new(HIDDEN, format!("{account} is shown to {}", call.actor)));
            }
            let veiled = counts.is_none() && !ever_veiled(model, call, &call.actor, account);
            if veiled || counts.is_some() && always_veiled(model, call, &call.actor, account) {
                findings
                    .push(Finding::new(HIDDEN, format!("{} of {account} are {counts:?} for {}", call.op, call.actor)));
            }
            let Some((followers, following)) = counts else { continue };
            let lists = [(0, followers), (1, following)];
            findings
                .extend(lists.into_iter().filter_map(|(side, count)| miscounted(model, call, account, (side, *count))));
        }
        findings
    }
}

/// A count that is less than those who were in the list all the time, or more than those who ever were.
fn miscounted(model: &Model, call: &Call, account: &str, (side, count): (usize, u64)) -> Option<Finding> {
    let (mut always, mut ever) = (0, 0);
    for (who, whom) in model.state::<Edges>().0.keys().filter(|(who, whom)| [whom, who][side] == account) {
        let states = edges(model, call, who, whom);
        always += u64::from(states.iter().all(|edge| edge.following));
        ever += u64::from(states.iter().any(|edge| edge.following));
    }
    let what = || format!("{account} has {count} of {:?}, not {always} to {ever}", ["followers", "followed"][side]);
    (!(always..=ever).contains(&count)).then(|| Finding::new(COUNTS, what()))
}

/// The actor's relationships with others.
#[derive(Debug)]
struct Relationships {
    targets: Vec<String>,
}

/// All that is said of two.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    /// Since when, and whether with shares.
    follows: Option<(i64, bool)>,
    followed: Option<i64>,
    blocks: Option<i64>,
    blocked_by: bool,
    mute: Option<Mute>,
    requested: Option<i64>,
    requested_by: Option<i64>,
}

impl Standing {
    fn of(of: v1::Relationship) -> (String, Self) {
        let since = |stands: bool, time: Option<&prost_types::Timestamp>| stands.then(|| micros(time));
        let follows = since(of.following, of.follow_time.as_ref()).map(|at| (at, of.shows_shares));
        let mute = of.muting.then(|| {
            let scopes = of.mute_scopes.unwrap_or_default();
            Mute::of(scopes, of.mute_time.as_ref(), of.mute_end_time.as_ref())
        });
        let standing = Self {
            follows,
            followed: since(of.followed_by, of.followed_by_time.as_ref()),
            blocks: since(of.blocking, of.block_time.as_ref()),
            blocked_by: of.blocked_by,
            mute,
            requested: since(of.requested, of.request_time.as_ref()),
            requested_by: since(of.requested_by, of.requested_by_time.as_ref()),
        };
        (of.target_id, standing)
    }

    /// As of an account that is not there.
    fn is_nothing(&self) -> bool {
        let nothing = (None, None, None, None, None, false);
        let Self { follows, followed, blocks, requested, requested_by, .. } = self;
        (*follows, *followed, *blocks, *requested, *requested_by, self.blocked_by) == nothing && self.mute.is_none()
    }

    /// Whether each fact was so at some time that the call could see.
    fn fits(&self, model: &Model, call: &Call, target: &str) -> bool {
        let (mine, theirs) = (edges(model, call, &call.actor, target), edges(model, call, target, &call.actor));
        // Readers see a follow as ended from the block or the removal on, also before the record `FollowCut` is in the log.
        let is_cut = |edges: &[Edge], by: &[Edge]| edges.iter().any(|edge| by.iter().any(|by| by.cut_next > edge.seen));
        let follows = |edge: &Edge| edge.following.then_some((edge.began, edge.shows_shares));
        let follow_fits = |told: Option<(i64, bool)>| {
            mine.iter().any(|edge| follows(edge) == told) || told.is_none() && is_cut(&mine, &theirs)
        };
        let followed_fits = |told: Option<i64>| {
            theirs.iter().any(|edge| edge.following.then_some(edge.began) == told)
                || told.is_none() && is_cut(&theirs, &mine)
        };
        follow_fits(self.follows)
            && followed_fits(self.followed)
            && mine.iter().any(|edge| edge.blocking.then_some(edge.block_began) == self.blocks)
            && !self.blocked_by
            && asks(&mine, &theirs, self.requested)
            && asks(&theirs, &mine, self.requested_by)
            && mutes::fits(model, call, target, self.mute.as_ref())
    }
}

/// Whether one asked since then, or did not: an answer, a block and a removal end that also before a record says so.
fn asks(mine: &[Edge], theirs: &[Edge], told: Option<i64>) -> bool {
    let is_over = |edge: &Edge| theirs.iter().any(|to| to.answer_next > edge.seen || to.cut_next > edge.seen);
    let waits = |edge: &Edge| theirs.iter().any(|to| to.answer_next <= edge.seen && to.cut_next <= edge.seen);
    mine.iter().any(|edge| match told {
        Some(at) => edge.requested && edge.request_began == at && waits(edge),
        None => !edge.requested || is_over(edge),
    })
}

#[async_trait]
impl Operation for Relationships {
    type Answer = Vec<(String, Standing)>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status> {
        let request = BatchGetRelationshipsRequest { target_ids: self.targets.clone(), at_least: ask.at_least };
        let found = graph(to).batch_get_relationships(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(found.relationships.into_iter().map(Standing::of).collect(), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        let Ok(told) = told else { return Vec::new() };
        if !told.iter().map(|(target, _)| target).eq(&self.targets) {
            return vec![Finding::new(LISTS, format!("{} was answered for {told:?}", call.op))];
        }
        let wrong = told.iter().filter(|(target, standing)| match standing.is_nothing() {
            true => !(standing.fits(model, call, target) || ever_away(model, call, target)),
            // Of who is away only the reader's own block is told.
            false => {
                let is_hidden = always_away(model, call, target) && standing.blocks.is_none();
                is_hidden || !standing.fits(model, call, target)
            }
        });
        wrong.map(|(target, now)| Finding::new(TOKEN, format!("{} and {target} are {now:?}", call.actor))).collect()
    }
}
