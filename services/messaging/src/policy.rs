//! Who may open a conversation with an account: the table of policies, and the command that sets one.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{AppliedIds, CONSENT_EVENTS, Fold, Found, Record, Rows, Scope, State};
use kith_log::{RecordId, Topic, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{
    MessagingPolicy, MessagingPolicySet, SetMessagingPolicyRequest, SetMessagingPolicyResponse, rpc,
};
use kith_proto::time;
use kith_relations::follow::{Following, following};
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

use crate::{MessagingService, Rejection};

pub static POLICIES: Table = Table {
    name: "messaging_policies",
    partition: &[Column::text("account_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<PolicyRow>("policy")],
    summary: &[],
};

row! {
    /// The policy that an account set last.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PolicyRow in 0 {
        /// A `MessagingPolicy`.
        pub policy: i64,
        pub set_time: Timestamp,
        pub applied: AppliedIds,
    }
}

impl PolicyRow {
    /// Everyone, unless the account said something else. A value that this build does not know lets nobody in.
    pub fn policy(&self) -> MessagingPolicy {
        let known = i32::try_from(self.policy).ok().and_then(|policy| MessagingPolicy::try_from(policy).ok());
        match known {
            None => MessagingPolicy::Nobody,
            Some(MessagingPolicy::Unspecified) => MessagingPolicy::Everyone,
            Some(policy) => policy,
        }
    }

    /// A later one replaces it; a late copy changes nothing.
    fn evolve(&mut self, event: &MessagingPolicySet, record: &Record) {
        if self.applied.insert(record.id) {
            self.policy = event.policy.into();
            self.set_time = record.time;
        }
    }
}

/// How an account stands to one who would write to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Door {
    /// Unspecified: everyone.
    pub policy: MessagingPolicy,
    /// Whether the account follows who would write.
    pub follows: Following,
}

impl Door {
    /// Of `account_id` for `writer_id`.
    pub async fn of(state: &State, account_id: &str, writer_id: &str) -> Result<Self, StoreError> {
        let (policy, follows) = try_join!(policy(state, account_id), following(state, account_id, writer_id))?;
        Ok(Self { policy: policy.map(|found| found.row).unwrap_or_default().policy(), follows })
    }

    /// Whether who would write may.
    pub fn admits(&self) -> bool {
        match self.policy {
            MessagingPolicy::Unspecified | MessagingPolicy::Everyone => true,
            MessagingPolicy::Followed => self.follows.stands,
            MessagingPolicy::Nobody => false,
        }
    }
}

async fn policy(state: &State, account_id: &str) -> Result<Option<Found<PolicyRow>>, StoreError> {
    state.row(&POLICIES, &Key::text(account_id), []).await
}

/// Folds policies.
pub struct PolicyFold;

impl Fold for PolicyFold {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&POLICIES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = set(record)?;
        Some(Scope::new(&POLICIES, Key::text(&event.account_id)).with::<PolicyRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = set(record) else { return };
        let mut row: PolicyRow = rows.get([]).unwrap_or_default();
        row.evolve(event, record);
        rows.put([], row);
    }
}

/// An account whose id can be no key has no policy.
fn set(record: &Record) -> Option<&MessagingPolicySet> {
    match &record.event {
        Event::Messaging(MessagingEvent::MessagingPolicySet(event)) => {
            RecordId::parse(&event.account_id).is_some().then_some(event)
        }
        _ => None,
    }
}

/// Says who may write to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub account_id: String,
    pub policy: MessagingPolicy,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub row: PolicyRow,
    /// Whether operators opened the events that it makes.
    pub is_open: bool,
}

/// Policies of accounts.
pub struct Policies;

#[async_trait]
impl Noun for Policies {
    type Service = MessagingService;
    type Command = Command;
    type State = Before;
    type Event = MessagingEvent;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::MESSAGING;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let found = policy(&seen.state, &command.account_id).await?;
        let rests_on = found.as_ref().map(|found| found.position);
        let row = found.map(|found| found.row).unwrap_or_default();
        let newest = row.set_time;
        Ok(Standing::new(Before { row, is_open: seen.events_open() >= CONSENT_EVENTS }, rests_on).after(newest))
    }

    /// `None`: it stands, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<MessagingEvent>, Rejection> {
        if before.row.applied.contains(asked.id) || before.row.policy() == command.policy {
            return Ok(None);
        }
        if !before.is_open {
            return Err(Rejection::EventsNotOpen);
        }
        let (account_id, policy) = (command.account_id.clone(), command.policy.into());
        let create_time = Some(time::of_us(asked.at.0));
        Ok(Some(MessagingEvent::MessagingPolicySet(MessagingPolicySet { account_id, policy, create_time })))
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(event) = set(record) {
            before.row.evolve(event, record);
        }
    }
}

impl Answers<rpc::SetMessagingPolicy> for Policies {
    fn parse(_: &MessagingService, asked: &Asked, request: SetMessagingPolicyRequest) -> Result<Command, Failure> {
        match MessagingPolicy::try_from(request.policy) {
            Ok(MessagingPolicy::Unspecified) | Err(_) => Err(Failure::field_invalid("policy", "is no policy")),
            Ok(policy) => Ok(Command { account_id: asked.actor.clone(), policy }),
        }
    }

    fn answer(_: &Opener, _: &Asked, _: Command, before: Before) -> Result<SetMessagingPolicyResponse, Failure> {
        let policy = before.row.policy().into();
        Ok(SetMessagingPolicyResponse { policy, ..SetMessagingPolicyResponse::default() })
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position};

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);

    fn asked(id: u8) -> Asked {
        Asked { id: RecordId([id; 16]), actor: ADA.to_string(), digest: [1; 32], at: Timestamp(7) }
    }

    fn decide(before: &Before, id: u8, policy: MessagingPolicy) -> Result<Option<MessagingEvent>, Rejection> {
        Policies::decide(before, &asked(id), &Command { account_id: ADA.to_string(), policy })
    }

    fn apply(before: &mut Before, id: u8, event: MessagingEvent) {
        let partition = LogPartition { topic: topics::MESSAGING, index: 0 };
        Policies::evolve(before, &Record::new(Position { partition, offset: id.into() }, RecordId([id; 16]), event));
    }

    #[test]
    fn the_last_policy_stands_and_late_copies_change_nothing() {
        let mut before = Before { is_open: true, ..Before::default() };
        assert_eq!(decide(&before, 1, MessagingPolicy::Everyone), Ok(None), "so it is from the beginning");
        let nobody = decide(&before, 1, MessagingPolicy::Nobody).unwrap().unwrap();
        apply(&mut before, 1, nobody.clone());
        assert_eq!(decide(&before, 2, MessagingPolicy::Nobody), Ok(None));
        let followed = decide(&before, 3, MessagingPolicy::Followed).unwrap().unwrap();
        apply(&mut before, 3, followed);
        apply(&mut before, 1, nobody);
        assert_eq!(before.row.policy(), MessagingPolicy::Followed);
        assert_eq!(decide(&before, 1, MessagingPolicy::Nobody), Ok(None), "a copy is no news");
        let shut = Before { is_open: false, ..before };
        assert_eq!(decide(&shut, 4, MessagingPolicy::Nobody), Err(Rejection::EventsNotOpen));
    }

    #[test]
    fn a_door_admits_whom_the_policy_names() {
        let admits = |policy, stands| Door { policy, follows: Following { stands, seen_offset: 0 } }.admits();
        let by = |policy| [true, false].map(|follows| admits(policy, follows));
        assert_eq!(by(MessagingPolicy::Everyone), [true, true]);
        assert_eq!(by(MessagingPolicy::Followed), [true, false]);
        assert_eq!(by(MessagingPolicy::Nobody), [false, false]);
        let unknown = PolicyRow { policy: 77, ..PolicyRow::default() };
        assert_eq!(unknown.policy(), MessagingPolicy::Nobody);
    }
}
