//! Declining a suggestion: the account is suggested no more, until it is followed.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{Record, SUGGESTION_EVENTS};
use kith_log::{Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{DismissSuggestionRequest, DismissSuggestionResponse, SuggestionDismissed, rpc};
use kith_proto::time;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::StoreError;

use crate::edge::{EdgeRow, declines};
use crate::pair::pairs;
use crate::{IdentityService, read};

/// Asks that an account is suggested no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    account_id: String,
    target_id: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default)]
pub struct Before {
    own: EdgeRow,
    /// Whether the account sees the other: it is there, and does not block it.
    is_seen: bool,
    /// Whether operators opened the events that it makes.
    is_open: bool,
}

/// Why a suggestion cannot be declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this cannot be done to oneself")]
    SelfNotAllowed,
    #[error("account was not found")]
    AccountNotFound,
    #[error("operators have not opened the events that this makes")]
    EventsNotOpen,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SelfNotAllowed => Self::new(Reason::SelfNotAllowed, rejection.to_string()),
            Rejection::AccountNotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
        }
    }
}

/// The RPC that declines a suggestion.
pub struct Dismissals;

#[async_trait]
impl Noun for Dismissals {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Identity;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let Command { account_id, target_id } = command;
        let others = [target_id.as_str()];
        let (mut found, account) =
            try_join!(pairs(&seen.state, account_id, &others), read::found(&seen.state, target_id))?;
        let pair = found.pop().unwrap_or_default();
        let is_seen = pair.sight().shows_account() && account.is_some_and(|found| !found.row.away);
        let (newest, rests_on) = (pair.mine.newest(), pair.mine_position);
        let before = Before { own: pair.mine, is_seen, is_open: seen.events_open() >= SUGGESTION_EVENTS };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// `None`: it was declined already, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Identity>, Rejection> {
        let Command { account_id, target_id } = command.clone();
        let create_time = Some(time::of_us(asked.at.0));
        match before {
            Before { own, .. } if own.applied.contains(asked.id) => Ok(None),
            _ if account_id == target_id => Err(Rejection::SelfNotAllowed),
            Before { is_seen: false, .. } => Err(Rejection::AccountNotFound),
            Before { own, .. } if own.dismissed => Ok(None),
            Before { is_open: false, .. } => Err(Rejection::EventsNotOpen),
            _ => Ok(Some(Identity::SuggestionDismissed(SuggestionDismissed { account_id, target_id, create_time }))),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if declines(record).is_some() {
            before.own.dismiss(record);
        }
    }
}

impl Answers<rpc::DismissSuggestion> for Dismissals {
    fn parse(_: &IdentityService, asked: &Asked, request: DismissSuggestionRequest) -> Result<Command, Failure> {
        parse_id("target_id", &request.target_id)?;
        Ok(Command { account_id: asked.actor.clone(), target_id: request.target_id })
    }

    fn answer(_: &Opener, _: &Asked, _: Command, _: Before) -> Result<DismissSuggestionResponse, Failure> {
        Ok(DismissSuggestionResponse::default())
    }
}
