//! Accounts that are deactivated and come back: while one is away nobody else sees it, in any answer of any service. The checks of
//! other nouns ask here, as they ask for blocks.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::{Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{DeactivateAccountRequest, ReactivateAccountRequest};
use kith_service::auth::Accounts;
use kith_tables::{Key, Row, Table};
use tonic::{Code, Status};

use super::accounts::{ACCOUNTS, PASSWORD};
use super::edits::misjudged;
use super::services::{SERVICES, WEB};
use super::{Draw, Noun};
use crate::simulation::board::Scene;
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Ask, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

const SERVICE: &str = "identity";
/// The table of verdicts.
const CLAIMS: &str = "presences";

pub struct Presences;

#[derive(Default)]
struct Read {
    /// By account: whether it is away after the intents.
    asked: BTreeMap<String, bool>,
    /// The same after the facts.
    away: BTreeMap<String, Timeline<bool>>,
    applied: BTreeMap<String, Offset>,
    won: BTreeSet<RecordId>,
    due: BTreeMap<String, BTreeSet<Offset>>,
    facts: BTreeMap<String, BTreeSet<Offset>>,
}

impl Read {
    fn fact(&mut self, account_id: &str, away: bool, (intent, offset): (Offset, Offset)) {
        self.facts.entry(account_id.to_owned()).or_default().insert(intent);
        let applied = self.applied.entry(account_id.to_owned()).or_default();
        if intent >= *applied {
            *applied = intent + 1;
            self.away.entry(account_id.to_owned()).or_default().set(offset, away);
        }
    }
}

/// Whether the account was away at each time that a call could see. One that calls sees itself.
fn absences(model: &Model, call: &Call, account: &str) -> Vec<bool> {
    let line = model.state::<Read>().away.get(account).filter(|_| account != call.actor);
    let window = call.window(model.partition(topics::IDENTITY, account));
    line.map_or_else(|| vec![false], |line| line.within(window))
}

/// Whether it was away the whole time that a call could see.
pub fn always_away(model: &Model, call: &Call, account: &str) -> bool {
    absences(model, call, account).iter().all(|away| *away)
}

/// Whether it was away at some time that a call could see.
pub fn ever_away(model: &Model, call: &Call, account: &str) -> bool {
    absences(model, call, account).contains(&true)
}

impl Noun for Presences {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 3, draw: |_| Some(op(Deactivate)) },
                Draw {
                    weight: 6,
                    draw: |scene| {
                        let by_service = scene.one(SERVICES).is_some() && scene.chance.per_mille(400);
                        let handle = if by_service { None } else { Some(handle(scene)?) };
                        Some(op(Reactivate { handle }))
                    },
                },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Read>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        if !fact.is_new {
            return;
        }
        let (read, offset) = (model.state_mut::<Read>(), fact.position.offset);
        match &fact.event {
            Event::IdentityPrivate(Private::AccountStateRequested(event)) => {
                let away = read.asked.entry(event.account_id.clone()).or_default();
                if *away != event.deactivates {
                    *away = event.deactivates;
                    read.won.insert(fact.id);
                    read.due.entry(event.account_id.clone()).or_default().insert(offset);
                }
            }
            Event::Identity(Identity::AccountDeactivated(event)) => {
                read.fact(&event.account_id, true, (event.intent_offset, offset));
            }
            Event::Identity(Identity::AccountReactivated(event)) => {
                read.fact(&event.account_id, false, (event.intent_offset, offset));
            }
            _ => {}
        }
    }

    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        let verdicts = all.iter().filter(|(_, row)| table.name == CLAIMS && row.key.section == 0);
        verdicts.filter_map(|(_, row)| misjudged("the presence", &model.state::<Read>().won, row)).collect()
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Read { due, facts, .. } = model.state();
        let none = BTreeSet::new();
        let lost = facts.iter().flat_map(|(account, named)| {
            let due = due.get(account).unwrap_or(&none);
            named.difference(due).map(move |intent| format!("a fact of {account} names {intent}, which lost"))
        });
        let missing = due.iter().filter_map(|(account, due)| {
            let last = due.last()?;
            let is_there = facts.get(account).is_some_and(|facts| facts.contains(last));
            (!is_there).then(|| format!("{last} of {account} won, and its fact is not in the log"))
        });
        lost.chain(missing).map(|what| Finding::new(EFFECTIVE_ONCE, what)).collect()
    }
}

fn handle(scene: &Scene<'_>) -> Option<String> {
    let all = scene.board.all(ACCOUNTS).iter();
    all.filter(|account| account.id == scene.actor).map(|account| account.name.clone()).next()
}

/// The account that acts leaves.
#[derive(Debug)]
struct Deactivate;

/// The account that acts comes back: by its password, or without a handle by a service.
#[derive(Debug)]
struct Reactivate {
    handle: Option<String>,
}

/// Whether the account was so while it was asked for, or a moment before, when another command made it so.
fn was(model: &Model, call: &Call, away: bool) -> bool {
    let (low, high) = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
    let line = model.state::<Read>().away.get(&call.actor).cloned().unwrap_or_default();
    line.ever((low, high), |now| *now == away)
}

fn not_so(model: &Model, call: &Call, away: bool) -> Vec<Finding> {
    // A copy is answered as the first one, whatever came between.
    if call.shaken || call.is_copy || was(model, call, away) {
        return Vec::new();
    }
    vec![Finding::new(EFFECTIVE_ONCE, format!("{} was answered, and is not so: {}", call.op, call.actor))]
}

#[async_trait]
impl Operation for Deactivate {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = DeactivateAccountRequest { request_id, at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let left = accounts.deactivate_account(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), left.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(), Code>) -> Vec<Finding> {
        if told.is_ok() { not_so(model, call, true) } else { Vec::new() }
    }
}

#[async_trait]
impl Operation for Reactivate {
    /// The account.
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let request = match &self.handle {
            Some(handle) => {
                let (handle, password) = (handle.clone(), PASSWORD.to_owned());
                tonic::Request::new(ReactivateAccountRequest { handle, password, request_id, at_least })
            }
            None => {
                let request = ReactivateAccountRequest { request_id, at_least, ..Default::default() };
                to.acting((WEB, Accounts::Any), &actor, request)?
            }
        };
        let back = accounts.reactivate_account(request).await?.into_inner();
        Ok(Reply::new(back.account.unwrap_or_default().account_id, back.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        if told.is_ok_and(|account| *account == call.actor) { not_so(model, call, false) } else { Vec::new() }
    }
}
