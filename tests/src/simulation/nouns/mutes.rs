//! Mutes: whom an account mutes, and what is kept from it. An end is no record: whether it has come is what a clock says.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{Offset, topics};
use kith_proto::Event;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{self, ListMutesRequest, MuteRequest, MuteScopes, UnmuteRequest};
use kith_proto::time;
use tonic::Status;

use super::accounts::Handles;
use super::follows::{SERVICE, another, edges, own_record, parted_by, size};
use super::lists::{List, There, walk, whole};
use super::presences::ever_away;
use super::{Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{Finding, LISTS};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op};
use crate::simulation::timeline::Timeline;
use crate::simulation::world::EPOCH_MS;

/// Before every history, whatever clock it goes by, and after all.
const LONG_AGO_US: i64 = 1_577_836_800_000_000;
const FAR_AHEAD_US: i64 = 4_102_444_800_000_000;

/// Things on the board: whom somebody mutes, or muted.
const MUTES: &str = "mutes";

pub struct Mutes;

/// A mute as a record, or an answer, says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    scopes: [bool; 5],
    at: i64,
    end: Option<i64>,
}

impl Mute {
    pub fn of(scopes: MuteScopes, at: Option<&prost_types::Timestamp>, end: Option<&prost_types::Timestamp>) -> Self {
        let MuteScopes { posts, shares, replies, notifications, conversations } = scopes;
        Self {
            scopes: [posts, shares, replies, notifications, conversations],
            at: micros(at),
            end: end.map(|end| micros(Some(end))),
        }
    }

    /// Whether it may be running while a history lasts, by some clock, and whether it may be over.
    fn may_run(&self) -> bool {
        self.end.is_none_or(|end| end > LONG_AGO_US)
    }

    fn may_be_over(&self) -> bool {
        self.end.is_some_and(|end| end < FAR_AHEAD_US)
    }
}

/// By (actor, target).
#[derive(Default)]
struct Muted(BTreeMap<(String, String), Timeline<Option<Mute>>>);

impl Muted {
    fn line(&self, who: &str, whom: &str) -> Timeline<Option<Mute>> {
        self.0.get(&(who.to_owned(), whom.to_owned())).cloned().unwrap_or_default()
    }
}

fn states(model: &Model, call: &Call, whom: &str) -> Vec<Option<Mute>> {
    let window = call.window(model.partition(topics::IDENTITY, &call.actor));
    model.state::<Muted>().line(&call.actor, whom).within(window)
}

/// What of an account is kept from the home feed.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    Posts = 0,
    Shares = 1,
}

/// Whether the caller's mute kept it away at some time that the call could see, by some clock.
pub fn ever_kept(model: &Model, call: &Call, whom: &str, scope: Scope) -> bool {
    states(model, call, whom).iter().flatten().any(|mute| mute.scopes[scope as usize] && mute.may_run())
}

/// Whether it did all the time, by any clock.
pub fn always_kept(model: &Model, call: &Call, whom: &str, scope: Scope) -> bool {
    let keeps = |mute: &Mute| mute.scopes[scope as usize] && !mute.may_be_over();
    states(model, call, whom).iter().all(|mute| mute.as_ref().is_some_and(keeps))
}

/// Whether the caller muted the account at some time that the call could see, by some clock.
pub fn ever_muted(model: &Model, call: &Call, whom: &str) -> bool {
    states(model, call, whom).iter().flatten().any(Mute::may_run)
}

/// Whether it did all the time, by any clock.
pub fn always_muted(model: &Model, call: &Call, whom: &str) -> bool {
    states(model, call, whom).iter().all(|mute| mute.as_ref().is_some_and(|mute| !mute.may_be_over()))
}

/// Whether the caller's mute in effect was so at some time that the call could see.
pub fn fits(model: &Model, call: &Call, whom: &str, told: Option<&Mute>) -> bool {
    let states = states(model, call, whom);
    match told {
        None => states.iter().any(|mute| mute.as_ref().is_none_or(Mute::may_be_over)),
        Some(told) => states.iter().flatten().any(|mute| mute == told && mute.may_run()),
    }
}

impl Noun for Mutes {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 6,
                    draw: |scene| Some(op(DoMute { target: another(scene)?, scopes: scopes(scene), end: end(scene) })),
                },
                Draw { weight: 3, draw: |scene| Some(op(Unmute { target: muted(scene)? })) },
                Draw { weight: 2, draw: |_| Some(whole(OfCaller)) },
                Draw { weight: 1, draw: |scene| Some(walk(OfCaller, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Muted>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Identity(event) = &fact.event else { return };
        let (who, whom, now) = match event {
            Identity::Muted(event) => {
                let mute = Mute::of(event.scopes.unwrap_or_default(), None, event.end_time.as_ref());
                (&event.actor_id, &event.target_id, Some(Mute { at: fact.at, ..mute }))
            }
            Identity::Unmuted(event) => (&event.actor_id, &event.target_id, None),
            _ => return,
        };
        if fact.is_new {
            let line = model.state_mut::<Muted>().0.entry((who.clone(), whom.clone())).or_default();
            line.set(fact.position.offset, now);
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        model.state::<Handles>().people().map(|person| (person.clone(), walk(OfCaller, 2))).collect()
    }
}

/// Mostly somebody whom the actor mutes, or muted.
fn muted(scene: &Scene<'_>) -> Option<String> {
    let known = scene.own(MUTES).filter(|_| scene.chance.per_mille(850));
    known.map(|mute| mute.on.clone()).or_else(|| another(scene))
}

fn scopes(scene: &Scene<'_>) -> [bool; 5] {
    std::array::from_fn(|_| scene.chance.per_mille(600))
}

/// Mostly none, else one that has come, one that is far ahead, or one that comes while the history lasts.
fn end(scene: &Scene<'_>) -> Option<i64> {
    let soon = EPOCH_MS * 1_000 + scene.chance.between(100_000, 6_000_000) as i64;
    match scene.chance.below(6) {
        0 => Some(LONG_AGO_US),
        1 => Some(FAR_AHEAD_US),
        2 => Some(soon),
        _ => None,
    }
}

fn client(to: &Callers) -> GraphServiceClient<Way> {
    GraphServiceClient::new(to.way(SERVICE))
}

#[derive(Debug)]
struct DoMute {
    target: String,
    scopes: [bool; 5],
    end: Option<i64>,
}

impl DoMute {
    /// None asked for means all.
    fn wanted(&self) -> [bool; 5] {
        if self.scopes == [false; 5] { [true; 5] } else { self.scopes }
    }
}

#[async_trait]
impl Operation for DoMute {
    /// `None`: it was taken back since.
    type Answer = Option<Mute>;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Option<Mute>>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let [posts, shares, replies, notifications, conversations] = self.scopes;
        let scopes = Some(MuteScopes { posts, shares, replies, notifications, conversations });
        let (target_id, end_time) = (self.target.clone(), self.end.map(time::of_us));
        let request = MuteRequest { target_id, scopes, end_time, request_id, at_least };
        let done = client(to).mute(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(done.mute.map(|mute| seen(&mute)), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "Mute", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let window = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
        let is_it = |mute: &Mute| (mute.scopes, mute.end) == (self.wanted(), self.end);
        let line = model.state::<Muted>().line(&call.actor, &self.target);
        line.ever(window, |mute| mute.as_ref().is_some_and(is_it))
    }

    fn stands(&self, model: &Model, call: &Call, told: &Option<Mute>) -> bool {
        model.state::<Muted>().line(&call.actor, &self.target).ever((0, Offset::MAX), |mute| mute == told)
    }

    fn learn(&self, board: &mut Board, actor: &str, _: &Option<Mute>) {
        let (id, by, on) = (format!("{actor} {}", self.target), vec![actor.to_owned()], self.target.clone());
        board.add(MUTES, Thing { id, by, on, ..Thing::default() });
    }
}

#[derive(Debug)]
struct Unmute {
    target: String,
}

#[async_trait]
impl Operation for Unmute {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = UnmuteRequest { target_id: self.target.clone(), request_id, at_least };
        let done = client(to).unmute(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "Unmute", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        let window = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
        model.state::<Muted>().line(&call.actor, &self.target).ever(window, Option::is_none)
    }
}

/// The caller's own mutes.
#[derive(Debug)]
struct OfCaller;

fn seen(mute: &v1::Mute) -> Mute {
    Mute::of(mute.scopes.unwrap_or_default(), mute.mute_time.as_ref(), mute.end_time.as_ref())
}

fn place(target: &str, mute: &Mute) -> String {
    format!("{target} as {mute:?}")
}

#[async_trait]
impl List for OfCaller {
    /// Who, how, and whether that has ended.
    type Row = (String, Mute, bool);

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<Self::Row>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListMutesRequest { page_size, page_token, at_least };
        let page = client(to).list_mutes(to.from(&actor, request)).await?.into_inner();
        let row = |entry: v1::MuteEntry| {
            let mute = entry.mute.unwrap_or_default();
            (entry.account.unwrap_or_default().account_id, seen(&mute), mute.ended)
        };
        let answer = page.mutes.into_iter().map(row).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[Self::Row]) -> Vec<Finding> {
        let mut there = There::default();
        for (_, target) in model.state::<Muted>().0.keys().filter(|(who, _)| *who == call.actor) {
            let states = states(model, call, target);
            // Whoever blocks the caller, or is away, is not there.
            let is_shown = edges(model, call, target, &call.actor).iter().all(|edge| !edge.blocking)
                && !ever_away(model, call, target);
            for mute in states.iter().flatten() {
                let stayed = states.iter().all(|now| now.as_ref() == Some(mute));
                let ever = !parted_by(model, call, target, &call.actor);
                there.put(&place(target, mute), ever, is_shown && stayed);
            }
        }
        let places: Vec<String> = rows.iter().map(|(target, mute, _)| place(target, mute)).collect();
        let mut findings = there.check(call, &places.iter().map(String::as_str).collect::<Vec<_>>());
        let is_wrong = |(_, mute, ended): &&Self::Row| if *ended { !mute.may_be_over() } else { !mute.may_run() };
        let wrong = rows.iter().filter(is_wrong);
        findings.extend(wrong.map(|row| Finding::new(LISTS, format!("{} has ended, or not: {row:?}", call.op))));
        if !rows.is_sorted_by(|earlier, later| earlier.1.at >= later.1.at) {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {rows:?}", call.op, call.actor)));
        }
        findings
    }
}
