//! The mutes of an account: what it may mute, and the RPCs that do it. Their rows are those of [`kith_relations::mute`].

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{GRAPH_EVENTS, Record};
use kith_log::{Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    Mute, MuteRequest, MuteResponse, MuteScopes, Muted, UnmuteRequest, UnmuteResponse, Unmuted, rpc,
};
use kith_proto::time;
use kith_relations::mute::{Change, MUTES, MuteRow, end_column, of_target};
use kith_relations::sight::Viewer;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::{Key, StoreError, Timestamp};

use crate::{IdentityService, read};

/// All that can be muted.
const EVERYTHING: MuteScopes =
    MuteScopes { posts: true, shares: true, replies: true, notifications: true, conversations: true };

/// A command about the actor's mute of another.
#[derive(Debug, Clone)]
pub struct Command {
    pub actor: String,
    pub target: String,
    /// `None`: there is to be none.
    pub wish: Option<Wish>,
}

/// A mute that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub scopes: MuteScopes,
    /// Microseconds since 1970; `None`: until it is taken back.
    pub end_us: Option<i64>,
}

/// What a decision looks at.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub mute: MuteRow,
    /// Whether the target is there, and does not block the actor.
    pub target_is_shown: bool,
    /// Whether the version of the events is open that has mutes.
    pub is_open: bool,
}

/// Why somebody is not muted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this cannot be done to oneself")]
    SelfNotAllowed,
    /// Also for an account that blocks the actor.
    #[error("account was not found")]
    AccountNotFound,
    #[error("operators have not opened the version of the events that has mutes")]
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

/// The commands about mutes.
pub struct Muting;

#[async_trait]
impl Noun for Muting {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Identity;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY;

    fn key(command: &Command) -> &str {
        &command.actor
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, target, key) = (&seen.state, &*command.target, Key::text(&asked.actor));
        let own = state.row::<MuteRow>(&MUTES, &key, of_target(target));
        let viewer = Viewer::new(state, &asked.actor);
        let (own, account, sight) = try_join!(own, read::found(state, target), viewer.meeting(target))?;
        let rests_on = own.as_ref().map(|own| own.position);
        let mute = own.map(|own| own.row).unwrap_or_default();
        let created = account.as_ref().map(|found| found.row.create_time).unwrap_or_default();
        let newest = mute.mute_time.max(created);
        let target_is_shown = account.is_some() && sight.shows_account();
        let is_open = seen.events_open() >= GRAPH_EVENTS;
        Ok(Standing::new(Before { mute, target_is_shown, is_open }, rests_on).after(newest))
    }

    /// `None`: it is muted so already, or not muted, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Identity>, Rejection> {
        let Before { mute, target_is_shown, is_open } = before;
        if mute.applied.contains(asked.id) {
            return Ok(None);
        }
        let (actor_id, target_id) = (command.actor.clone(), command.target.clone());
        let create_time = Some(time::of_us(asked.at.0));
        match command.wish {
            None if !mute.muting => Ok(None),
            Some(_) if actor_id == target_id => Err(Rejection::SelfNotAllowed),
            Some(_) if !target_is_shown => Err(Rejection::AccountNotFound),
            Some(wish) if mute.muting && wish == Wish::of(mute) => Ok(None),
            None | Some(_) if !is_open => Err(Rejection::EventsNotOpen),
            None => Ok(Some(Identity::Unmuted(Unmuted { actor_id, target_id, create_time }))),
            Some(Wish { scopes, end_us }) => {
                let (scopes, end_time) = (Some(scopes), end_us.map(time::of_us));
                Ok(Some(Identity::Muted(Muted { actor_id, target_id, scopes, end_time, create_time })))
            }
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            before.mute.evolve(&change, record);
        }
    }
}

impl Wish {
    /// What the mute that there is was wished as.
    fn of(mute: &MuteRow) -> Self {
        Self { scopes: mute.scopes(), end_us: mute.ends_us() }
    }
}

impl Answers<rpc::Mute> for Muting {
    fn parse(_: &IdentityService, asked: &Asked, request: MuteRequest) -> Result<Command, Failure> {
        let MuteRequest { target_id, scopes, end_time, .. } = request;
        parse_id("target_id", &target_id)?;
        let scopes = scopes.filter(|&scopes| scopes != MuteScopes::default()).unwrap_or(EVERYTHING);
        if let Some(end) = &end_time {
            time::parse_unix_ms(end)
                .map_err(|_| Failure::field_invalid("end_time", "is not a moment between the years 1 and 9999"))?;
        }
        // As its column has it, so that the same wish is the same.
        let end_us = end_time.map(|end| end_column(Some(time::unix_us(Some(&end)))).0);
        Ok(Command { actor: asked.actor.clone(), target: target_id, wish: Some(Wish { scopes, end_us }) })
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<MuteResponse, Failure> {
        let mute = present(&before.mute, &command.target, asked.at);
        Ok(MuteResponse { mute, ..MuteResponse::default() })
    }
}

impl Answers<rpc::Unmute> for Muting {
    fn parse(_: &IdentityService, asked: &Asked, request: UnmuteRequest) -> Result<Command, Failure> {
        parse_id("target_id", &request.target_id)?;
        Ok(Command { actor: asked.actor.clone(), target: request.target_id, wish: None })
    }

    fn answer(_: &Opener, _: &Asked, command: Command, _: Before) -> Result<UnmuteResponse, Failure> {
        Ok(UnmuteResponse { target_id: command.target, ..UnmuteResponse::default() })
    }
}

/// The mute as its owner sees it at that time; `None`: there is none.
pub fn present(row: &MuteRow, target_id: &str, now: Timestamp) -> Option<Mute> {
    row.muting.then(|| Mute {
        target_id: target_id.to_owned(),
        scopes: Some(row.scopes()),
        mute_time: Some(time::of_us(row.mute_time.0)),
        end_time: row.ends_us().map(time::of_us),
        ended: row.has_ended(now),
    })
}

#[cfg(test)]
#[path = "tests/mute.rs"]
mod tests;
