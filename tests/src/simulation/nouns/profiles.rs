//! Profiles, and the verdicts on their updates by a naive reading of the intents: the log's order decides, for ever.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::{Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Account, AccountContent, GetAccountRequest, Profile, UpdateProfileRequest};
use kith_tables::{Key, Row, Table};
use tonic::{Code, Status};

use super::edits::misjudged;
use super::follows::{ever_parted, parted_by};
use super::search::NAMES;
use super::{ACCOUNTS, Draw, Noun};
use crate::simulation::board::Board;
use crate::simulation::callers::Callers;
use crate::simulation::checks::{EFFECTIVE_ONCE, Finding, HIDDEN, TOKEN};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, said};
use crate::simulation::operation::{Ask, Op, Operation, Reply, op, record_id};
use crate::simulation::timeline::Timeline;

const SERVICE: &str = "identity";
/// The table of verdicts.
const CLAIMS: &str = "profile_claims";

pub struct Profiles;

/// A profile; revision 0: there is no account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    revision: u32,
    bio: String,
    private: bool,
    name: String,
    handle: String,
}

/// Whether the account was private at each time that a call could see.
pub fn privacy(model: &Model, call: &Call, account: &str) -> Vec<bool> {
    let window = call.window(model.partition(topics::IDENTITY, account));
    let line = model.state::<Read>().shown.get(account);
    line.map_or_else(|| vec![false], |line| line.within(window).iter().map(|shown| shown.private).collect())
}

/// Whether the account was private after each number of records from this one on.
pub fn private_ever_since(model: &Model, account: &str, records: Offset) -> bool {
    let line = model.state::<Read>().shown.get(account);
    line.is_some_and(|line| line.within((records, Offset::MAX)).iter().all(|shown| shown.private))
}

/// The account's handle and display name at each time that a call could see; `None`: it was not there.
pub fn names(model: &Model, call: &Call, account_id: &str) -> Vec<Option<(String, String)>> {
    let window = call.window(model.partition(topics::IDENTITY, account_id));
    let states = model.state::<Read>().shown.get(account_id).map(|line| line.within(window)).unwrap_or_default();
    states.into_iter().map(|shown| (shown.revision > 0).then_some((shown.handle, shown.name))).collect()
}

/// By account.
#[derive(Default)]
struct Read {
    shown: BTreeMap<String, Timeline<Shown>>,
    /// The intent whose fact was applied last.
    applied: BTreeMap<String, Offset>,
    /// The same of its handle, and 1.
    renamed: BTreeMap<String, Offset>,
    /// The revision after all intents.
    revisions: BTreeMap<String, u32>,
    won: BTreeSet<RecordId>,
    /// The offsets of those that won, and of the intents that facts name.
    due: BTreeMap<String, BTreeSet<Offset>>,
    facts: BTreeMap<String, BTreeSet<Offset>>,
}

impl Noun for Profiles {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw {
                    weight: 3,
                    draw: |scene| {
                        let known = scene.own(ACCOUNTS).map_or(1, |account| account.number.max(1));
                        let expected_revision = if scene.chance.per_mille(700) { known as u32 } else { 0 };
                        let private = scene.chance.per_mille(400);
                        let (name, ..) = *scene.chance.pick(&NAMES)?;
                        Some(op(UpdateProfile { bio: scene.text(), name, private, expected_revision }))
                    },
                },
                Draw { weight: 2, draw: |scene| Some(op(GetAccount { account_id: scene.one(ACCOUNTS)?.id.clone() })) },
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
        let Read { shown, applied, renamed, revisions, won, due, facts } = model.state_mut();
        match &fact.event {
            Event::Identity(Identity::AccountCreated(event)) => {
                let line = shown.entry(event.account_id.clone()).or_default();
                if line.last().revision == 0 {
                    let handle = event.handle_key.clone();
                    line.set(fact.position.offset, Shown { revision: 1, handle, ..Shown::default() });
                }
            }
            Event::IdentityPrivate(Private::ProfileRequested(event)) => {
                let revision = revisions.entry(event.account_id.clone()).or_insert(1);
                if event.expected_revision == 0 || event.expected_revision == *revision {
                    *revision += 1;
                    won.insert(fact.id);
                    due.entry(event.account_id.clone()).or_default().insert(fact.position.offset);
                }
            }
            Event::Identity(Identity::ProfileUpdated(event)) => {
                facts.entry(event.account_id.clone()).or_default().insert(event.intent_offset);
                let applied = applied.entry(event.account_id.clone()).or_default();
                let line = shown.entry(event.account_id.clone()).or_default();
                if line.last().revision > 0 && event.intent_offset >= *applied {
                    *applied = event.intent_offset + 1;
                    let Profile { bio, display_name: name, .. } = said(event.content.as_ref());
                    let (revision, private) = (event.revision, event.private);
                    line.set(fact.position.offset, Shown { revision, bio, name, private, ..line.last() });
                }
            }
            Event::Identity(Identity::HandleChanged(event)) => {
                let line = shown.entry(event.account_id.clone()).or_default();
                let renamed = renamed.entry(event.account_id.clone()).or_default();
                if line.last().revision > 0 && event.intent_offset >= *renamed {
                    *renamed = event.intent_offset + 1;
                    let handle = said::<AccountContent>(event.content.as_ref()).handle;
                    line.set(fact.position.offset, Shown { handle, ..line.last() });
                }
            }
            _ => {}
        }
    }

    fn check_rows(&self, model: &Model, table: &'static Table, all: &[(Key, Row)]) -> Vec<Finding> {
        let verdicts = all.iter().filter(|(_, row)| table.name == CLAIMS && row.key.section == 0);
        verdicts.filter_map(|(_, row)| misjudged("the update", &model.state::<Read>().won, row)).collect()
    }

    fn check(&self, model: &Model) -> Vec<Finding> {
        let Read { due, facts, .. } = model.state();
        let none = BTreeSet::new();
        let lost = facts.iter().flat_map(|(account, named)| {
            let due = due.get(account).unwrap_or(&none);
            named.difference(due).map(move |intent| format!("a fact of {account} names {intent}, which lost"))
        });
        // Of an earlier one the fact may come too late to change anything.
        let missing = due.iter().filter_map(|(account, due)| {
            let last = due.last()?;
            let is_there = facts.get(account).is_some_and(|facts| facts.contains(last));
            (!is_there).then(|| format!("{last} of {account} won, and its fact is not in the log"))
        });
        lost.chain(missing).map(|what| Finding::new(EFFECTIVE_ONCE, what)).collect()
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let own = |id: &String| (id.clone(), op(GetAccount { account_id: id.clone() }));
        model.state::<Read>().shown.keys().map(own).collect()
    }
}

/// Of the account that acts.
#[derive(Debug)]
struct UpdateProfile {
    bio: String,
    private: bool,
    name: &'static str,
    expected_revision: u32,
}

#[derive(Debug)]
struct GetAccount {
    account_id: String,
}

/// What an answer shows.
fn shown(account: Option<Account>) -> Shown {
    let account = account.unwrap_or_default();
    let Profile { bio, display_name: name, private, .. } = account.profile.unwrap_or_default();
    Shown { revision: account.profile_revision, bio, name, private, handle: account.handle }
}

/// Whether the profile was ever so.
fn was(model: &Model, account_id: &str, holds: impl Fn(&Shown) -> bool) -> bool {
    model.state::<Read>().shown.get(account_id).is_some_and(|line| line.ever((0, Offset::MAX), holds))
}

impl UpdateProfile {
    /// The id of its intent.
    fn intent(call: &Call) -> Option<RecordId> {
        record_id(&call.actor, "kith.identity.v1.AccountService/UpdateProfile", &call.request_id)
    }
}

#[async_trait]
impl Operation for UpdateProfile {
    type Answer = Shown;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Shown>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let (bio, display_name, private) = (self.bio.clone(), self.name.to_owned(), self.private);
        let profile = Some(Profile { bio, display_name, private, ..Profile::default() });
        let expected_revision = self.expected_revision;
        let request = UpdateProfileRequest { profile, expected_revision, request_id, at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let updated = accounts.update_profile(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(shown(updated.account), updated.consistency_token))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Shown, Code>) -> Vec<Finding> {
        let what = match told {
            Ok(_) if !was(model, &call.actor, |shown| shown.bio == self.bio) => "is not in the log",
            // Stale, it was told.
            Err(Code::Aborted) if Self::intent(call).is_some_and(|id| model.state::<Read>().won.contains(&id)) => {
                "has won, and was refused"
            }
            _ => return Vec::new(),
        };
        vec![Finding::new(EFFECTIVE_ONCE, format!("an update of a profile {what}: {}", call.op))]
    }

    fn stands(&self, model: &Model, call: &Call, told: &Shown) -> bool {
        was(model, &call.actor, |shown| shown == told)
    }

    fn learn(&self, board: &mut Board, actor: &str, told: &Shown) {
        board.change(ACCOUNTS, actor, |known| known.number = told.revision.into());
    }
}

#[async_trait]
impl Operation for GetAccount {
    type Answer = Shown;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = true;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Shown>, Status> {
        let request = GetAccountRequest { account_id: self.account_id.clone(), at_least: ask.at_least };
        let mut accounts = AccountServiceClient::new(to.way(SERVICE));
        let found = accounts.get_account(to.from(&ask.actor, request)).await?.into_inner();
        Ok(Reply::new(shown(found.account), found.as_of))
    }

    fn check(&self, model: &Model, call: &Call, told: Result<&Shown, Code>) -> Vec<Finding> {
        let (Self { account_id }, Call { actor, .. }) = (self, call);
        let window = call.window(model.partition(topics::IDENTITY, account_id));
        let states = model.state::<Read>().shown.get(account_id).map(|line| line.within(window)).unwrap_or_default();
        let finding = match told {
            Ok(_) if parted_by(model, call, account_id, actor) => {
                Some(Finding::new(HIDDEN, format!("{account_id} is shown to {actor}, whom it blocks")))
            }
            Ok(told) if states.contains(told) => None,
            Ok(told) => Some(Finding::new(TOKEN, format!("{account_id} is {told:?}, not one of {states:?}"))),
            Err(Code::NotFound) => {
                let is_there = !states.is_empty() && states.iter().all(|shown| shown.revision > 0);
                let is_missed = is_there && !ever_parted(model, call, actor, account_id);
                is_missed.then(|| Finding::new(TOKEN, format!("{account_id} was not found")))
            }
            Err(_) => None,
        };
        finding.into_iter().collect()
    }
}
