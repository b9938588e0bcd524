//! Identities of a trusted issuer: each proves one account at a time, and a token is exchanged once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::{LogPartition, Offset, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::identity_event::Event as Public;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{
    CreateAccountRequest, ExchangeTokenRequest, ExchangeTokenResponse, LinkIdentityRequest, UnlinkIdentityRequest,
};
use kith_relations::origin::{ORIGINS, OriginRow};
use kith_service::auth::Accounts;
use kith_tables::{Key, Row, Table, Value};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use super::{Draw, Noun, SERVICES};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, ONE_OWNER};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Ask, Operation, Reply, op};
use crate::simulation::people::{CLIENT, ISSUER, token};
use crate::simulation::timeline::Timeline;

const SERVICE: &str = "identity";
/// On the board: identities that are, or were, linked.
const LINKS: &str = "links";
/// People whom more than one account wants to be.
const SUBJECTS: [&str; 3] = ["ada", "grace", "mary"];

pub struct Identities;

/// What the intents about each identity say, in the order of the log.
#[derive(Default)]
struct Owners {
    /// Which account an identity proves; empty: none.
    owners: BTreeMap<String, Timeline<String>>,
    /// By identity and place of the intent.
    won: BTreeMap<(String, Offset), bool>,
    /// Identity and place of the intent of each fact.
    facts: Vec<(String, Offset)>,
}

/// As the log has it: of issuer and subject.
fn key_of(subject: &str) -> String {
    let mut hasher = Sha256::new();
    for part in ["kith.identity.v1", ISSUER, subject] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subject(scene: &Scene<'_>) -> Option<String> {
    scene.one(SERVICES)?;
    scene.chance.pick(&SUBJECTS).map(|subject| (*subject).to_owned())
}

/// One that was linked, mostly.
fn linked(scene: &Scene<'_>, known: Option<&Thing>) -> Option<String> {
    let known = known.filter(|_| scene.chance.per_mille(800));
    known.map(|thing| thing.name.clone()).or_else(|| subject(scene))
}

/// What clients tell each other of an identity that was linked to an account.
fn tell(board: &mut Board, account: &str, subject: &str) {
    let (id, by, name) = (format!("{account} {subject}"), vec![account.to_owned()], subject.to_owned());
    board.add(LINKS, Thing { id, by, name, ..Thing::default() });
}

impl Noun for Identities {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 3, draw: |scene| Some(op(Link { subject: subject(scene)? })) },
                Draw { weight: 3, draw: |scene| Some(op(Unlink { subject: linked(scene, scene.own(LINKS))? })) },
                Draw { weight: 2, draw: |scene| Some(op(ExchangeTwice { subject: linked(scene, scene.one(LINKS))? })) },
                Draw {
                    weight: 1,
                    draw: |scene| {
                        let handle = format!("s_{}", scene.step.replace(' ', "_"));
                        Some(op(SignUp { subject: subject(scene)?, handle }))
                    },
                },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Owners>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let offset = fact.position.offset;
        let owners = model.state_mut::<Owners>();
        match &fact.event {
            Event::IdentityPrivate(Private::IdentityRequested(event)) if fact.is_new => {
                let line = owners.owners.entry(event.identity_key.clone()).or_default();
                let owner = line.last();
                let won = owner == event.account_id || (!event.unlinks && owner.is_empty());
                if won {
                    line.set(offset, if event.unlinks { String::new() } else { event.account_id.clone() });
                }
                owners.won.insert((event.identity_key.clone(), offset), won);
            }
            Event::Identity(Public::IdentityLinked(event)) => {
                owners.facts.push((event.identity_key.clone(), event.intent_offset));
            }
            Event::Identity(Public::IdentityUnlinked(event)) => {
                owners.facts.push((event.identity_key.clone(), event.intent_offset));
            }
            _ => {}
        }
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Owners { won, facts, .. } = model.state();
        let lost = facts.iter().filter(|fact| won.get(fact) != Some(&true));
        lost.map(|fact| Finding::new(ONE_OWNER, format!("a link without an intent that won: {fact:?}"))).collect()
    }

    /// At the end the accounts' rows say what the intents do.
    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        if table.name != ORIGINS.name {
            return Vec::new();
        }
        let owners = &model.state::<Owners>().owners;
        let mut findings = Vec::new();
        for (key, row) in all {
            let [Value::Text(issuer), Value::Text(identity)] = &row.key.clustering[..] else { continue };
            let [Value::Text(account)] = &key.0[..] else { continue };
            let Some(found) = row.read::<OriginRow>().filter(|_| !issuer.is_empty()) else { continue };
            let owner = owners.get(identity).map(Timeline::last).unwrap_or_default();
            if found.stands != (owner == *account) {
                let what = format!("{identity} proves {owner}, and the row of {account} says {}", found.stands);
                findings.push(Finding::new(ONE_OWNER, what));
            }
        }
        findings
    }
}

/// Links an identity to the actor.
#[derive(Debug)]
struct Link {
    subject: String,
}

/// Ends the link of an identity to the actor.
#[derive(Debug)]
struct Unlink {
    subject: String,
}

/// Exchanges one token under two request ids.
#[derive(Debug)]
struct ExchangeTwice {
    subject: String,
}

/// A service makes an account without a password for a person.
#[derive(Debug)]
struct SignUp {
    subject: String,
    handle: String,
}

fn partition(model: &Model, subject: &str) -> LogPartition {
    model.partition(topics::IDENTITY_PRIVATE, &key_of(subject))
}

/// Whether the identity ever proved such an account, up to when the call was answered.
fn ever(model: &Model, call: &Call, subject: &str, holds: impl Fn(&String) -> bool) -> bool {
    let (_, end) = call.window(partition(model, subject));
    let line = model.state::<Owners>().owners.get(&key_of(subject)).cloned().unwrap_or_default();
    line.ever((0, end), holds)
}

/// That the identity proved the account that was answered.
fn proves(model: &Model, call: &Call, subject: &str, account: &str) -> Vec<Finding> {
    if call.shaken || ever(model, call, subject, |owner| owner == account) {
        return Vec::new();
    }
    vec![Finding::new(ONE_OWNER, format!("{subject} never proved {account}: {}", call.op))]
}

#[async_trait]
impl Operation for Link {
    /// The identity.
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = LinkIdentityRequest { subject_token: token(&self.subject, "link")?, request_id, at_least };
        let mut sessions = SessionServiceClient::new(to.way(SERVICE));
        let linked = sessions.link_identity(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(linked.identity, linked.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        if told.is_ok() { proves(model, call, &self.subject, &call.actor) } else { Vec::new() }
    }

    fn learn(&self, board: &mut Board, actor: &str, _: &String) {
        tell(board, actor, &self.subject);
    }
}

#[async_trait]
impl Operation for Unlink {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = UnlinkIdentityRequest { identity: key_of(&self.subject), request_id, at_least };
        let mut sessions = SessionServiceClient::new(to.way(SERVICE));
        let unlinked = sessions.unlink_identity(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), unlinked.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(), Code>) -> Vec<Finding> {
        // A copy is answered as the first one, whatever came between.
        if told.is_err() || call.shaken || call.is_copy {
            return Vec::new();
        }
        let line = model.state::<Owners>().owners.get(&key_of(&self.subject)).cloned().unwrap_or_default();
        if line.ever(call.meanwhile(partition(model, &self.subject)), |owner| *owner != call.actor) {
            return Vec::new();
        }
        vec![Finding::new(EFFECTIVE_ONCE, format!("{} still proves {}: {}", self.subject, call.actor, call.op))]
    }
}

impl ExchangeTwice {
    /// One token per command, whatever the request id.
    async fn exchange(&self, to: &Callers, ask: &Ask, request_id: String) -> Result<ExchangeTokenResponse, Status> {
        let subject_token = token(&self.subject, &ask.request_id)?;
        let request = ExchangeTokenRequest { subject_token, request_id, at_least: ask.at_least.clone() };
        let request = to.acting((CLIENT, Accounts::Any), "", request)?;
        Ok(SessionServiceClient::new(to.way(SERVICE)).exchange_token(request).await?.into_inner())
    }
}

#[async_trait]
impl Operation for ExchangeTwice {
    /// The account, and whether the second request got a token too.
    type Answer = (String, bool);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(String, bool)>, Status> {
        let first = self.exchange(to, &ask, ask.request_id.clone()).await?;
        let second = match self.exchange(to, &ask, format!("{} again", ask.request_id)).await {
            Ok(_) => true,
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::NotFound) => false,
            Err(status) => return Err(status),
        };
        Ok(Reply::new((first.account_id, second), first.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&(String, bool), Code>) -> Vec<Finding> {
        match told {
            Ok((_, true)) => vec![Finding::new(EFFECTIVE_ONCE, format!("one token was exchanged twice: {}", call.op))],
            Ok((account, false)) => proves(model, call, &self.subject, account),
            Err(_) => Vec::new(),
        }
    }
}

#[async_trait]
impl Operation for SignUp {
    type Answer = String;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<String>, Status> {
        let request = CreateAccountRequest {
            handle: self.handle.clone(),
            subject_token: token(&self.subject, "sign-up")?,
            request_id: ask.request_id,
            at_least: ask.at_least,
            ..Default::default()
        };
        let request = to.acting((CLIENT, Accounts::Any), "", request)?;
        let created = AccountServiceClient::new(to.way(SERVICE)).create_account(request).await?.into_inner();
        Ok(Reply::new(created.account.unwrap_or_default().account_id, created.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&String, Code>) -> Vec<Finding> {
        told.map(|account| proves(model, call, &self.subject, account)).unwrap_or_default()
    }

    fn learn(&self, board: &mut Board, _: &str, account: &String) {
        tell(board, account, &self.subject);
    }
}
