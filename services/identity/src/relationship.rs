//! What an account may make of what it is to another.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{GRAPH_EVENTS, PRIVACY_EVENTS, Record};
use kith_log::{LogPartition, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{
    Blocked, FollowRequest, FollowRequestAnswered, FollowRequested, FollowResponse, Followed, FollowerRemoved,
    Relationship, UnblockRequest, UnblockResponse, Unblocked, UnfollowRequest, UnfollowResponse, Unfollowed, rpc,
};
use kith_proto::time;
use kith_relations::edge::Change;
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_tables::{StoreError, Timestamp};

use crate::pair::{Pair, pair};
use crate::{IdentityService, read};

/// A command of one account about another.
#[derive(Debug, Clone)]
pub struct Command {
    pub actor: String,
    pub target: String,
    pub wish: Wish,
}

/// What the actor wants to be to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Follow {
        shows_shares: bool,
        notify: bool,
        backfill_window_seconds: u32,
    },
    Unfollow,
    Block,
    Unblock,
    /// That the target follows the actor no longer.
    RemoveFollower,
    /// What the actor answers to the target, which asks to follow it.
    Answer {
        accepts: bool,
    },
}

impl Wish {
    /// Whether the log under the other's key has a say in it: who follows, or asks to, and whether the target of a follow is private.
    fn rests_on_both(self) -> bool {
        matches!(self, Self::Follow { .. } | Self::RemoveFollower | Self::Answer { .. })
    }

    /// The version of the events with what is appended for it.
    fn needs(self, target_is_private: bool) -> Option<u32> {
        match self {
            Self::Follow { .. } if target_is_private => Some(PRIVACY_EVENTS),
            Self::Answer { .. } => Some(PRIVACY_EVENTS),
            Self::RemoveFollower => Some(GRAPH_EVENTS),
            Self::Follow { .. } | Self::Unfollow | Self::Block | Self::Unblock => None,
        }
    }
}

/// What a decision looks at.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub pair: Pair,
    pub target_exists: bool,
    /// It exists, and looks to others as if it did not.
    pub target_away: bool,
    /// Whether who wants to follow the target asks.
    pub target_is_private: bool,
    /// The version of the events that is open.
    pub events_open: u32,
    /// How many records of the target's partition are in `pair`, at least.
    pub seen_target_offset: u64,
}

/// Why an account cannot have what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this cannot be done to oneself")]
    SelfNotAllowed,
    /// Also for an account that blocks the actor.
    #[error("account was not found")]
    AccountNotFound,
    #[error("the account is blocked: take back the block first")]
    Blocked,
    #[error("operators have not opened the version of the events that has removed followers, and private accounts")]
    EventsNotOpen,
    #[error("the account does not ask to follow")]
    NoRequest,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SelfNotAllowed => Self::new(Reason::SelfNotAllowed, rejection.to_string()),
            Rejection::AccountNotFound => Self::not_found(Reason::AccountNotFound, "account"),
            Rejection::Blocked => Self::new(Reason::Blocked, rejection.to_string()),
            Rejection::EventsNotOpen => Self::new(Reason::EventsNotOpen, rejection.to_string()),
            Rejection::NoRequest => Self::not_found(Reason::FollowRequestNotFound, "request to follow"),
        }
    }
}

fn may(before: &Before, command: &Command) -> Result<(), Rejection> {
    let sight = before.pair.sight();
    match command.wish {
        Wish::Unfollow | Wish::Unblock => Ok(()),
        _ if command.actor == command.target => Err(Rejection::SelfNotAllowed),
        // Whoever is not there, or blocks the actor, does not follow it.
        Wish::RemoveFollower | Wish::Answer { accepts: false } => Ok(()),
        // Nor does it ask to.
        Wish::Answer { accepts: true } => match sight.is_clear() && before.target_exists && !before.target_away {
            true => Ok(()),
            false => Err(Rejection::NoRequest),
        },
        Wish::Follow { .. } | Wish::Block if !before.target_exists => Err(Rejection::AccountNotFound),
        Wish::Follow { .. } if before.target_away || !sight.shows_account() => Err(Rejection::AccountNotFound),
        Wish::Follow { .. } if !sight.is_clear() => Err(Rejection::Blocked),
        Wish::Follow { .. } | Wish::Block => Ok(()),
    }
}

fn event(asked: &Asked, command: &Command, before: &Before) -> Identity {
    let (actor, target_id) = (command.actor.clone(), command.target.clone());
    let create_time = Some(time::of_us(asked.at.0));
    let Before { seen_target_offset, .. } = *before;
    match command.wish {
        Wish::Follow { shows_shares, notify, backfill_window_seconds } if before.must_ask() => {
            Identity::FollowRequested(FollowRequested {
                follower_id: actor,
                target_id,
                shows_shares,
                notify,
                create_time,
                seen_target_offset,
                backfill_window_seconds,
            })
        }
        Wish::Follow { shows_shares, notify, backfill_window_seconds } => Identity::Followed(Followed {
            follower_id: actor,
            target_id,
            shows_shares,
            notify,
            create_time,
            seen_target_offset,
            backfill_window_seconds,
            request_offset: None,
        }),
        Wish::Unfollow => Identity::Unfollowed(Unfollowed { follower_id: actor, target_id, create_time }),
        Wish::Block => Identity::Blocked(Blocked { actor_id: actor, target_id, create_time }),
        Wish::Unblock => Identity::Unblocked(Unblocked { actor_id: actor, target_id, create_time }),
        Wish::RemoveFollower => {
            Identity::FollowerRemoved(FollowerRemoved { actor_id: actor, follower_id: target_id, create_time })
        }
        Wish::Answer { accepts: accepted } => Identity::FollowRequestAnswered(FollowRequestAnswered {
            actor_id: actor,
            follower_id: target_id,
            accepted,
            create_time,
        }),
    }
}

/// The RPCs about two accounts.
pub struct Relationships;

#[async_trait]
impl Noun for Relationships {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Identity;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY;

    fn key(command: &Command) -> &str {
        &command.actor
    }

    /// Whether there is a follow to end, or a request to answer, says the log under the follower's key; whether one must ask, that
    /// under the target's.
    fn rests_also_on(command: &Command) -> Option<&str> {
        command.wish.rests_on_both().then_some(&command.target)
    }

    /// The target's watermark comes first: what is read after it includes at least that much.
    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, target) = (&seen.state, &*command.target);
        let partition = LogPartition::of_key(topics::IDENTITY, target, state.partition_count());
        let watermark = state.watermarks().next_offset(partition);
        let (pair, account) = try_join!(pair(state, &command.actor, target), read::found(state, target))?;
        // All that the target's partition says of the two up to their row's position is in the row.
        let seen_target_offset = watermark.max(pair.theirs_position.map_or(0, |offset| offset + 1));
        let created = account.as_ref().map(|found| found.row.create_time).unwrap_or_default();
        let newest = pair.mine.newest().max(pair.theirs.newest()).max(created);
        let rests_on = pair.mine_position;
        let events_open = seen.events_open();
        let target_is_private = account.as_ref().is_some_and(|found| found.row.private);
        let (target_exists, target_away) = account.map_or((false, false), |found| (true, found.row.away));
        let before = Before { pair, target_exists, target_away, target_is_private, events_open, seen_target_offset };
        Ok(Standing::new(before, rests_on).after(newest))
    }

    /// The event that the command makes; `None` when there is nothing to change, or the command was applied before: a copy
    /// is no news, whatever stands between the two by now.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Identity>, Rejection> {
        let Pair { mine, theirs, .. } = &before.pair;
        if mine.applied.contains(asked.id) {
            return Ok(None);
        }
        may(before, command)?;
        let in_effect = match command.wish {
            Wish::Follow { shows_shares, notify, .. } => {
                // A follow that is about to be cut is none: its actor now knows of the block, and that it is over.
                let stands = if before.must_ask() { mine.waits(theirs) } else { mine.follows(theirs) };
                stands && (mine.shows_shares, mine.notify) == (shows_shares, notify)
            }
            Wish::Unfollow => !mine.following && !mine.requested,
            Wish::Block => mine.blocking,
            Wish::Unblock => !mine.blocking,
            Wish::RemoveFollower => !theirs.follows(mine),
            Wish::Answer { .. } if theirs.waits(mine) => false,
            // A yes that was said before, on another device; its follow may be on its way.
            Wish::Answer { accepts: true } => match theirs.follows(mine) || theirs.is_answered_by(mine) && mine.accepts
            {
                true => true,
                false => return Err(Rejection::NoRequest),
            },
            Wish::Answer { accepts: false } => true,
        };
        let needs = command.wish.needs(before.must_ask());
        match in_effect {
            true => Ok(None),
            false if needs.is_some_and(|version| before.events_open < version) => Err(Rejection::EventsNotOpen),
            false => Ok(Some(event(asked, command, before))),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            before.pair.mine.evolve(&change, record);
        }
    }
}

impl Command {
    pub fn parse(asked: &Asked, target_id: String, wish: Wish) -> Result<Self, Failure> {
        parse_id("target_id", &target_id)?;
        Ok(Self { actor: asked.actor.clone(), target: target_id, wish })
    }
}

impl Answers<rpc::Follow> for Relationships {
    fn parse(service: &IdentityService, asked: &Asked, request: FollowRequest) -> Result<Command, Failure> {
        let FollowRequest { target_id, shows_shares, notify, .. } = request;
        let backfill_window_seconds = service.shared.backfill_window_seconds;
        Command::parse(asked, target_id, Wish::Follow { shows_shares, notify, backfill_window_seconds })
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<FollowResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(FollowResponse { relationship, ..FollowResponse::default() })
    }
}

impl Answers<rpc::Unfollow> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: UnfollowRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Unfollow)
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<UnfollowResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(UnfollowResponse { relationship, ..UnfollowResponse::default() })
    }
}

impl Answers<rpc::Unblock> for Relationships {
    fn parse(_: &IdentityService, asked: &Asked, request: UnblockRequest) -> Result<Command, Failure> {
        Command::parse(asked, request.target_id, Wish::Unblock)
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<UnblockResponse, Failure> {
        let relationship = Some(before.present(command.target, asked.at));
        Ok(UnblockResponse { relationship, ..UnblockResponse::default() })
    }
}

impl Before {
    /// Whether who wants to follow the target must ask: it is private, and not followed already.
    fn must_ask(&self) -> bool {
        self.target_is_private && !self.pair.mine.follows(&self.pair.theirs)
    }

    /// As callers see it: nothing of an account that is not there.
    fn present(&self, target_id: String, now: Timestamp) -> Relationship {
        self.pair.shown(!self.target_exists || self.target_away, target_id, now)
    }
}

#[cfg(test)]
#[path = "tests/relationship.rs"]
mod tests;
