//! What an account may do about its sessions.

use async_trait::async_trait;
use futures::try_join;
use kith_fold::{Record, State};
use kith_log::{RecordId, Topic, topics};
use kith_proto::errors::v1::Reason;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::private::v1::{
    PasswordChanged, RefreshTokenUsed, SessionCreated, SessionEnd, SessionEnded, SessionsEnded,
};
use kith_proto::time;
use kith_service::command::{Asked, Noun, Standing};
use kith_service::kit::Seen;
use kith_service::{Failure, ids};
use kith_tables::{Key, StoreError, Timestamp};

use super::fold::Sessions;
use super::{Account, Before, SESSIONS, SessionRow, of_id};
use crate::IdentityService;

/// A command of an account about its sessions.
#[derive(Clone)]
pub struct Command {
    pub account_id: String,
    /// The one that it is about; of a command about all, the one that asks and stays. Empty: none.
    pub session_id: String,
    pub wish: Wish,
}

/// What it asks for.
#[derive(Clone)]
pub enum Wish {
    Begin {
        client: i32,
        by: Proof,
        /// The service that begins it; empty: none.
        principal: String,
    },
    /// By the refresh token of that number. One is followed by the next after so many microseconds.
    Refresh {
        number: u32,
        rotates_us: i64,
    },
    End,
    EndOthers,
    /// No hash: it was changed by this command before. `password_set_at`: which one was compared; `None`: none, it is reset.
    ChangePassword {
        password_hash: Option<String>,
        password_set_at: Option<u64>,
    },
}

/// What proved the account.
#[derive(Clone)]
pub enum Proof {
    /// `rehashed`: the same password hashed anew; empty: the stored hash stays.
    Password { set_at: u64, rehashed: String },
    /// An identity of a trusted issuer.
    Identity,
}

/// What the use of a refresh token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is the current one, and stays.
    Stays,
    /// It is the current one, and old enough to be followed by the next.
    Next,
    /// It is the one that follows, used for the first time.
    First,
    /// It is older than the current one.
    Reused,
    /// None was ever given out with such a number.
    Unknown,
}

/// A function of the token's number and the session, so a repeat comes to the same.
pub fn turn(session: &SessionRow, number: u32, rotates_us: i64, at: Timestamp) -> Turn {
    match i64::from(number) - session.used {
        0 if at.0.saturating_sub(session.use_time.0) >= rotates_us => Turn::Next,
        0 => Turn::Stays,
        1 => Turn::First,
        ..0 => Turn::Reused,
        _ => Turn::Unknown,
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("session was not found")]
    SessionNotFound,
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SessionNotFound => Self::not_found(Reason::SessionNotFound, "session"),
        }
    }
}

impl Proof {
    /// What the record of a new session says of it.
    fn recorded(self) -> SessionCreated {
        match self {
            Self::Password { set_at, rehashed } => {
                SessionCreated { password_set_at: set_at, password_hash: rehashed, ..SessionCreated::default() }
            }
            Self::Identity => SessionCreated { by_identity: true, ..SessionCreated::default() },
        }
    }
}

#[async_trait]
impl Noun for Sessions {
    type Service = IdentityService;
    type Command = Command;
    type State = Before;
    type Event = Private;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::IDENTITY_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.account_id
    }

    /// A token is used once and may be used again: two records.
    fn record_id(asked: &Asked, event: &Private) -> RecordId {
        match event {
            Private::SessionEnded(event) if event.reason() == SessionEnd::TokenReused => {
                ids::item_id(RecordId::parse(&event.session_id).unwrap_or_default(), b"TokenReused")
            }
            _ => asked.id,
        }
    }

    async fn load(seen: &Seen<'_>, _: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let Loaded { before, position } = load(&seen.state, &command.account_id, &command.session_id).await?;
        let newest = before.session.as_ref().map(SessionRow::newest).unwrap_or_default();
        Ok(Standing::new(before, position).after(newest))
    }

    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Private>, Rejection> {
        let (account_id, session_id) = (command.account_id.clone(), command.session_id.clone());
        let at = Some(time::of_us(asked.at.0));
        let ended = |reason: SessionEnd| {
            let (account_id, session_id) = (account_id.clone(), session_id.clone());
            Private::SessionEnded(SessionEnded { session_id, account_id, reason: reason.into(), end_time: at })
        };
        Ok(match (&command.wish, &before.session) {
            (Wish::Begin { .. }, Some(_)) => None,
            (Wish::Begin { client, by, principal }, None) => {
                let (client, create_time, principal) = (*client, at, principal.clone());
                let proved = by.clone().recorded();
                let begun = SessionCreated { session_id, account_id, client, create_time, principal, ..proved };
                Some(Private::SessionCreated(begun))
            }
            // The answer says what is wrong, once that is certain.
            (Wish::Refresh { .. }, None) => None,
            (Wish::Refresh { .. }, Some(row)) if !before.stands(&session_id) || row.is_idle(asked.at) => None,
            (Wish::Refresh { number, rotates_us }, Some(row)) => match turn(row, *number, *rotates_us, asked.at) {
                Turn::Stays | Turn::Next | Turn::Unknown => None,
                Turn::Reused => Some(ended(SessionEnd::TokenReused)),
                Turn::First => {
                    let (number, use_time) = (*number, at);
                    Some(Private::RefreshTokenUsed(RefreshTokenUsed { session_id, account_id, number, use_time }))
                }
            },
            (Wish::End, None) => return Err(Rejection::SessionNotFound),
            (Wish::End, Some(_)) if !before.began() => return Err(Rejection::SessionNotFound),
            (Wish::End, Some(_)) => before.stands(&session_id).then(|| ended(SessionEnd::Revoked)),
            (Wish::EndOthers | Wish::ChangePassword { .. }, _) if before.account.applied.contains(asked.id) => None,
            (Wish::EndOthers, _) => {
                let (kept_session_id, end_time) = (session_id, at);
                Some(Private::SessionsEnded(SessionsEnded { account_id, kept_session_id, end_time }))
            }
            (Wish::ChangePassword { password_hash, password_set_at }, _) => password_hash.clone().map(|hash| {
                Private::PasswordChanged(PasswordChanged {
                    account_id,
                    session_id,
                    password_hash: hash,
                    password_set_at: password_set_at.unwrap_or_default(),
                    change_time: at,
                    is_reset: password_set_at.is_none(),
                })
            }),
        })
    }

    fn evolve(before: &mut Before, record: &Record) {
        before.evolve(record);
    }
}

/// An account's sessions as the tables have them.
pub struct Loaded {
    pub before: Before,
    /// The last record behind it.
    pub position: Option<u64>,
}

pub async fn load(state: &State, account_id: &str, session_id: &str) -> Result<Loaded, StoreError> {
    let key = Key::text(account_id);
    let account = state.summary::<Account>(&SESSIONS, &key, (topics::IDENTITY_PRIVATE, account_id));
    let session = state.row::<SessionRow>(&SESSIONS, &key, of_id(session_id));
    let (account, session) = try_join!(account, session)?;
    let position = account.as_ref().map(|found| found.position);
    let account = account.map(|found| found.row).unwrap_or_default();
    let before = Before { account, session: session.map(|found| found.row), ..Before::default() };
    Ok(Loaded { before, position })
}

impl Account {
    /// As records say which password was given.
    pub fn password_set_at(&self) -> u64 {
        u64::try_from(self.password_set_at).unwrap_or(0)
    }
}

/// Waits until the tables have everything that the log has of an account: for what must not be decided on old ones.
pub async fn all_of(seen: &Seen<'_>, account_id: &str) -> Result<(), Failure> {
    if let Some(last) = seen.last(topics::IDENTITY_PRIVATE, account_id, seen.deadline).await? {
        seen.state.at_least(&last.into(), seen.deadline.at()).await?;
    }
    Ok(())
}

/// The session's row as tokens name it.
pub fn made_at(row: &SessionRow) -> u64 {
    u64::try_from(row.made_at).unwrap_or(0)
}
