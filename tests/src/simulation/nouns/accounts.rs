//! Accounts and their handles.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::{Offset, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{CreateAccountRequest, ResolveHandleRequest};
use kith_service::ids::{RequestId, account_id};
use tonic::{Code, Status};

use super::follows::parted_by;
use super::{Draw, Noun};
use crate::simulation::board::{Board, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, HIDDEN, ONE_OWNER, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Ask, Op, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

pub const ACCOUNTS: &str = "accounts";
const SERVICE: &str = "identity";
pub const PASSWORD: &str = "correct horse";
/// Handles that more than one client wants.
pub const CONTENDED: [&str; 3] = ["star", "moon", "sun"];

pub struct Accounts;

/// Handles, and who has them.
#[derive(Default)]
pub struct Handles {
    /// Who was made under a handle.
    owners: BTreeMap<String, BTreeSet<String>>,
    /// Who asked for it, in the order of the log.
    claims: BTreeMap<String, Vec<String>>,
    /// The handle of an account, by the facts.
    handles: BTreeMap<String, Timeline<String>>,
    /// Which change of it was applied last, and 1.
    applied: BTreeMap<String, Offset>,
}

impl Handles {
    /// Everybody.
    pub fn people(&self) -> impl Iterator<Item = &String> {
        self.owners.values().flatten()
    }

    /// Everybody, and the handle that each has in the end.
    pub fn last(&self) -> impl Iterator<Item = (&String, String)> {
        self.handles.iter().map(|(account, line)| (account, line.last()))
    }

    /// The handles of the account that a call could see.
    pub fn within(&self, account: &str, window: (Offset, Offset)) -> Vec<String> {
        self.handles.get(account).map(|line| line.within(window)).unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct CreateAccount {
    pub handle: String,
}

impl CreateAccount {
    /// The id that the account is going to have.
    pub fn account_id(&self, request_id: &str) -> Option<String> {
        let request_id = RequestId::parse("request_id", request_id, &kith_runtime::Runtime::system()).ok()?;
        Some(account_id(&self.handle, &request_id).to_string())
    }
}

#[derive(Debug)]
struct Resolve {
    handle: String,
}

impl Noun for Accounts {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 1, draw: |scene| Some(create(scene.chance.pick(&CONTENDED)?)) },
                Draw { weight: 1, draw: |scene| Some(op(Resolve { handle: scene.one(ACCOUNTS)?.name.clone() })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Handles>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let offset = fact.position.offset;
        let handles = model.state_mut::<Handles>();
        match &fact.event {
            Event::IdentityPrivate(Private::AccountRequested(event)) => {
                handles.claims.entry(event.handle_key.clone()).or_default().push(event.account_id.clone());
            }
            Event::Identity(Identity::AccountCreated(event)) => {
                handles.owners.entry(event.handle_key.clone()).or_default().insert(event.account_id.clone());
                let line = handles.handles.entry(event.account_id.clone()).or_default();
                if fact.is_new {
                    line.set(offset, event.handle_key.clone());
                }
            }
            Event::Identity(Identity::HandleChanged(event)) if fact.is_new => {
                let applied = handles.applied.entry(event.account_id.clone()).or_default();
                if event.intent_offset >= *applied {
                    *applied = event.intent_offset + 1;
                    let line = handles.handles.entry(event.account_id.clone()).or_default();
                    line.set(offset, event.handle_key.clone());
                }
            }
            _ => {}
        }
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let owners = model.state::<Handles>().owners.iter().filter(|(_, owners)| owners.len() > 1);
        owners.map(|(handle, owners)| Finding::new(ONE_OWNER, format!("{handle} is {owners:?}"))).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let owners = model.state::<Handles>().owners.iter();
        let first = owners.flat_map(|(handle, owners)| owners.iter().map(move |owner| (owner.clone(), handle.clone())));
        let last = model.state::<Handles>().last().map(|(owner, handle)| (owner.clone(), handle));
        first.chain(last).map(|(owner, handle)| (owner, op(Resolve { handle }))).collect()
    }
}

/// Creates an account.
pub fn create(handle: &str) -> Op {
    op(CreateAccount { handle: handle.to_owned() })
}

#[async_trait]
impl Operation for CreateAccount {
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let request = CreateAccountRequest {
            handle: self.handle.clone(),
            password: PASSWORD.to_owned(),
            request_id: ask.request_id,
            at_least: ask.at_least,
            ..Default::default()
        };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let created = accounts.create_account(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(created.account.unwrap_or_default().account_id, created.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        let (Self { handle }, Ok(id)) = (self, told) else { return Vec::new() };
        let Handles { owners, claims, .. } = model.state();
        let first = claims.get(handle).and_then(|claims| claims.first());
        if first.is_some_and(|first| first != id) {
            let what = format!("{id} was told to have {handle}, which is {first:?}'s");
            return vec![Finding::new(ONE_OWNER, what)];
        }
        if owners.get(handle).is_some_and(|owners| owners.contains(id)) {
            return Vec::new();
        }
        vec![Finding::new(EFFECTIVE_ONCE, format!("an account that is not in the log: {}", call.op))]
    }

    fn learn(&self, board: &mut Board, _actor: &str, id: &String) {
        let (id, name, on) = (id.clone(), self.handle.clone(), self.handle.clone());
        board.add(ACCOUNTS, Thing { by: vec![id.clone()], id, name, on, ..Thing::default() });
    }
}

#[async_trait]
impl Operation for Resolve {
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let request = ResolveHandleRequest { handle: self.handle.clone(), at_least: ask.at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let found = accounts.resolve_handle(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(found.account.unwrap_or_default().account_id, found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        let (Self { handle }, handles) = (self, model.state::<Handles>());
        let seen = |id: &str| handles.within(id, call.window(model.partition(topics::IDENTITY, id)));
        let finding = match told {
            Ok(id) if !seen(id).contains(handle) => {
                Some(Finding::new(ONE_OWNER, format!("{handle} is said to be {id}'s, which has {:?}", seen(id))))
            }
            Ok(id) if parted_by(model, call, id, &call.actor) => {
                Some(Finding::new(HIDDEN, format!("{id} is shown to {}, whom it blocks", call.actor)))
            }
            // One's own handle: nobody can hide it.
            Err(Code::NotFound) => {
                let seen = seen(&call.actor);
                let own = !seen.is_empty() && seen.iter().all(|now| now == handle);
                own.then(|| Finding::new(TOKEN, format!("{handle} was not found by {} who has it", call.actor)))
            }
            _ => None,
        };
        finding.into_iter().collect()
    }
}
