//! Changes of handles, and who gets one, by a naive reading of the log: at no place of it has a handle two owners, a handle that was
//! given up is held back, and in the end nobody has a claim on a handle that is not its own.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::{Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::ChangeHandleRequest;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_tables::{Key, Row, Table};
use tonic::{Code, Status};

use super::accounts::{ACCOUNTS, CONTENDED, Handles};
use super::edits::misjudged;
use super::{Draw, Noun};
use crate::simulation::board::{Board, Scene};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, ONE_OWNER};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Ask, Operation, Reply, op, record_id};

const SERVICE: &str = "identity";
/// The tables of verdicts.
const CLAIMS: &str = "claims";
const CHANGES: &str = "handle_changes";
/// Changes in 30 days, read from `docs/limits.md`; no history is longer.
const CHANGES_MAX: usize = 4;

pub struct Changes;

/// Who has a handle.
#[derive(Default)]
struct Owner {
    account: Option<String>,
    /// Changes of this account at or after this offset keep the handle when an earlier one gives it up.
    since: Offset,
    /// For whom it is held back, and until when, microseconds.
    held: Option<(String, i64)>,
}

impl Owner {
    fn is_free_for(&self, account: &str, at: i64) -> bool {
        self.account.is_none() && self.held.as_ref().is_none_or(|(held, until)| held == account || at >= *until)
    }

    fn take(&mut self, account: &str, since: Offset) {
        *self = Self { account: Some(account.to_owned()), since, held: None };
    }
}

/// What an account has changed.
#[derive(Default)]
struct Person {
    under_way: Option<RecordId>,
    /// Its handle after the changes that are settled; empty: the first.
    handle: String,
    changes: usize,
}

#[derive(Default)]
struct Read {
    owners: BTreeMap<String, Owner>,
    people: BTreeMap<String, Person>,
    /// Claims and releases that had effect, and changes that won.
    claims: BTreeSet<RecordId>,
    changes: BTreeSet<RecordId>,
    /// The handle that each change that may go on wants, and what came of its claim.
    wanted: BTreeMap<RecordId, String>,
    claimed: BTreeMap<RecordId, (String, bool)>,
    settled: BTreeMap<RecordId, bool>,
    /// Accounts, by handle, that have it by the facts.
    held: BTreeMap<String, BTreeSet<String>>,
    left: BTreeMap<(String, String), Offset>,
}

impl Read {
    fn private(&mut self, event: &Private, fact: &Fact) {
        match event {
            Private::AccountRequested(event) => {
                let owner = self.owners.entry(event.handle_key.clone()).or_default();
                if owner.is_free_for(&event.account_id, fact.at) {
                    owner.take(&event.account_id, 0);
                    self.claims.extend(RecordId::parse(&event.account_id));
                }
            }
            Private::HandleChangeRequested(event) => {
                let person = self.people.entry(event.account_id.clone()).or_default();
                let now = if person.handle.is_empty() { &event.from_handle_key } else { &person.handle };
                if person.under_way.is_some() {
                    return;
                }
                if *now == event.handle_key {
                    self.changes.insert(fact.id);
                } else if person.changes < CHANGES_MAX {
                    person.under_way = Some(fact.id);
                    self.wanted.insert(fact.id, event.handle_key.clone());
                }
            }
            Private::HandleClaimRequested(event) => {
                let Some(change) = RecordId::parse(&event.change_id) else { return };
                let owner = self.owners.entry(event.handle_key.clone()).or_default();
                let own = owner.account.as_ref() == Some(&event.account_id);
                let won = own || owner.is_free_for(&event.account_id, fact.at);
                if won {
                    owner.take(&event.account_id, event.change_offset + 1);
                    self.claims.insert(fact.id);
                }
                self.claimed.insert(change, (event.handle_key.clone(), won));
            }
            Private::HandleChangeSettled(event) => {
                let Some(change) = RecordId::parse(&event.change_id) else { return };
                self.settled.insert(change, event.won);
                let person = self.people.entry(event.account_id.clone()).or_default();
                if person.under_way == Some(change) {
                    person.under_way = None;
                    if let Some(handle) = self.wanted.get(&change).filter(|_| event.won) {
                        person.handle.clone_from(handle);
                        person.changes += 1;
                        self.changes.insert(change);
                    }
                }
            }
            Private::HandleReleased(event) => {
                let owner = self.owners.entry(event.handle_key.clone()).or_default();
                if owner.account.as_ref() == Some(&event.account_id) && owner.since <= event.settle_offset {
                    let until = micros(event.free_time.as_ref());
                    *owner = Owner { held: Some((event.account_id.clone(), until)), ..Owner::default() };
                    self.claims.insert(fact.id);
                }
            }
            _ => {}
        }
    }

    fn hold(&mut self, handle: &str, account: &str, (held, intent): (bool, Offset)) {
        let last = self.left.entry((handle.to_owned(), account.to_owned())).or_default();
        if intent < *last {
            return;
        }
        *last = intent + 1;
        let accounts = self.held.entry(handle.to_owned()).or_default();
        if held {
            accounts.insert(account.to_owned())
        } else {
            accounts.remove(account)
        };
    }
}

impl Noun for Changes {
    fn draws(&self) -> &'static [Draw] {
        const { &[Draw { weight: 4, draw: |scene| Some(op(ChangeHandle { handle: wanted(scene)? })) }] }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Read>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        if !fact.is_new {
            return;
        }
        let read = model.state_mut::<Read>();
        match &fact.event {
            Event::IdentityPrivate(event) => read.private(event, fact),
            Event::Identity(Identity::AccountCreated(event)) => {
                read.held.entry(event.handle_key.clone()).or_default().insert(event.account_id.clone());
            }
            Event::Identity(Identity::HandleChanged(event)) => {
                read.hold(&event.handle_key, &event.account_id, (true, event.intent_offset));
            }
            Event::Identity(Identity::HandleLeft(event)) => {
                read.hold(&event.handle_key, &event.account_id, (false, event.intent_offset));
            }
            _ => {}
        }
    }

    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        let Read { claims, changes, .. } = model.state();
        let won = match table.name {
            CLAIMS => claims,
            CHANGES => changes,
            _ => return Vec::new(),
        };
        let verdicts = all.iter().filter(|(_, row)| row.key.section == 0);
        verdicts.filter_map(|(_, row)| misjudged("a handle", won, row)).collect()
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Read { owners, people, held, wanted, claimed, settled, .. } = model.state();
        let handles: BTreeMap<&String, String> = model.state::<Handles>().last().collect();
        let mut findings = Vec::new();
        for (change, (handle, _)) in claimed.iter().filter(|(change, (handle, _))| wanted.get(*change) != Some(handle))
        {
            findings.push(Finding::new(EFFECTIVE_ONCE, format!("{change} claimed {handle}, and may not go on")));
        }
        for (change, won) in settled {
            let claim = claimed.get(change).map(|(_, won)| won);
            if claim != Some(won) {
                findings.push(Finding::new(EFFECTIVE_ONCE, format!("{change} was settled as {won}, it is {claim:?}")));
            }
        }
        for (handle, accounts) in held.iter().filter(|(_, accounts)| accounts.len() > 1) {
            findings.push(Finding::new(ONE_OWNER, format!("{handle} is {accounts:?}")));
        }
        for (account, has) in &handles {
            let by_claims = owners.get(has).and_then(|owner| owner.account.as_ref());
            if by_claims != Some(account) {
                findings.push(Finding::new(ONE_OWNER, format!("{account} has {has}, which is {by_claims:?}'s")));
            }
            if held.get(has).is_none_or(|accounts| !accounts.contains(*account)) {
                findings.push(Finding::new(EFFECTIVE_ONCE, format!("{account} has {has}, and has left it")));
            }
        }
        for (handle, owner) in owners.iter().filter_map(|(handle, owner)| Some((handle, owner.account.as_ref()?))) {
            if handles.get(owner) != Some(handle) {
                findings.push(Finding::new(ONE_OWNER, format!("{owner} has an orphaned claim on {handle}")));
            }
        }
        for (account, person) in people.iter().filter(|(_, person)| person.under_way.is_some()) {
            findings.push(Finding::new(EFFECTIVE_ONCE, format!("{:?} of {account} never ended", person.under_way)));
        }
        findings
    }
}

/// One that others want too, another's, or a new one.
fn wanted(scene: &Scene<'_>) -> Option<String> {
    match scene.chance.below(4) {
        0 | 1 => scene.chance.pick(&CONTENDED).map(|&handle| handle.to_owned()),
        2 => scene.one(ACCOUNTS).map(|account| account.on.clone()),
        _ => scene.chance.pick(&["comet", "nova"]).map(|&handle| handle.to_owned()),
    }
}

/// Of the account that acts.
#[derive(Debug)]
struct ChangeHandle {
    handle: String,
}

#[async_trait]
impl Operation for ChangeHandle {
    /// The handle that the account has then.
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = ChangeHandleRequest { handle: self.handle.clone(), request_id, at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let changed = accounts.change_handle(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(changed.account.unwrap_or_default().handle, changed.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        let partition = model.partition(topics::IDENTITY, &call.actor);
        let had = |window| model.state::<Handles>().within(&call.actor, window);
        let id = record_id(&call.actor, "kith.identity.v1.AccountService/ChangeHandle", &call.request_id);
        let has_won = || id.is_some_and(|id| model.state::<Read>().changes.contains(&id));
        let what = match told {
            Ok(told) if !had((0, Offset::MAX)).contains(told) => format!("{told}, which it never had"),
            // A copy is answered as the first one, whatever came between.
            Ok(_) if !call.shaken && !call.is_copy && !had(call.meanwhile(partition)).contains(&self.handle) => {
                "what it did not have".to_owned()
            }
            Err(Code::AlreadyExists | Code::Aborted) if !call.is_copy && has_won() => "a no, and has won".to_owned(),
            Ok(_) | Err(_) => return Vec::new(),
        };
        vec![Finding::new(EFFECTIVE_ONCE, format!("{} was told {what}: {}", call.actor, call.op))]
    }

    fn stands(&self, model: &Model, call: &Call, told: &String) -> bool {
        model.state::<Handles>().within(&call.actor, (0, Offset::MAX)).contains(told)
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &String) {
        board.change(ACCOUNTS, actor, |known| known.name.clone_from(told));
    }
}
