//! An account's sessions and its password, as the log has them: what begins a session, keeps it up, and ends it.

pub mod change_password;
pub mod command;
pub mod create;
pub mod end;
pub mod fold;
pub mod keys;
pub mod list;
mod noted;
pub mod refresh;
mod refresh_token;
pub mod reset_password;
pub mod revoked;
pub mod tokens;

use kith_fold::{AppliedIds, Record};
use kith_proto::Event;
use kith_proto::identity::private::v1::SessionEnd;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_service::limits::SESSION_IDLE_SECONDS;
use kith_tables::{Column, Order, RowType, Section, Table, Timestamp, Value, row};

/// The password of a session that never began was changed while it was compared, or its account was away.
const NEVER_BEGAN: i64 = -1;
pub const STANDS: i64 = SessionEnd::Unspecified as i64;
const IDLE_US: i64 = SESSION_IDLE_SECONDS as i64 * 1_000_000;

pub static SESSIONS: Table = Table {
    name: "sessions",
    partition: &[Column::text("account_id")],
    clustering: &[Column::timestamp("at"), Column::text("id")],
    order: Order::Descending,
    sections: &[
        Section::of::<PlaceRow>("session_by_time"),
        Section::of::<SessionRow>("session"),
        Section::of::<StateAskedRow>("state_asked"),
    ],
    summary: Account::COLUMNS,
};

row! {
    /// What is the same for all sessions of an account.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct Account in 0 {
        /// Sessions whose record has a lower offset are over; 0: none.
        pub ended_before: i64,
        /// But for this one.
        pub kept_session_id: String,
        /// Empty: the account has the hash that it was created with.
        pub password_hash: String,
        /// The number of records up to the one that set the password; 0: the account has its first.
        pub password_set_at: i64,
        pub applied: AppliedIds,
        /// No session begins while the account is away.
        pub away: bool,
    }
}
row! {
    /// A session under the time it began, also one that is over.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PlaceRow in 0 { pub made_at: i64 }
}
row! {
    /// A session under time 0 and its id.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct SessionRow in 1 {
        /// The offset of the record that began it.
        pub made_at: i64,
        /// A `ClientClass`.
        pub client: i64,
        pub create_time: Timestamp,
        /// The highest refresh token that was used, and when that was first.
        pub used: i64,
        pub use_time: Timestamp,
        /// A `SessionEnd`; 0: it was not ended by itself.
        pub end: i64,
        pub end_time: Timestamp,
        /// The service that began it; empty: none.
        pub principal: String,
    }
}

row! {
    /// That the account be away, or there, was asked for by the record of this id; under time 0. Kept for ever, as the verdicts of
    /// presences are: both folds pass over the same copies, however late, and so never differ in whether the account is away.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct StateAskedRow in 2 { pub deactivates: bool }
}

impl SessionRow {
    pub fn newest(&self) -> Timestamp {
        self.create_time.max(self.use_time).max(self.end_time)
    }

    /// Whether it was not refreshed for so long that it is over.
    pub fn is_idle(&self, at: Timestamp) -> bool {
        at.0.saturating_sub(self.use_time.0) > IDLE_US
    }
}

impl Account {
    /// Whether nothing has ended that session.
    pub fn has(&self, id: &str, session: &SessionRow) -> bool {
        session.end == STANDS && (session.made_at >= self.ended_before || id == self.kept_session_id)
    }
}

/// What a record about sessions finds, and what it makes of that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub account: Account,
    /// The session that the record names, if it names one that is there.
    pub session: Option<SessionRow>,
    /// Whether the record asks once more for a change of the account's state.
    pub is_asked_again: bool,
}

impl Before {
    pub fn stands(&self, session_id: &str) -> bool {
        self.session.as_ref().is_some_and(|session| self.account.has(session_id, session))
    }

    /// Whether it began at all.
    pub fn began(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.end != NEVER_BEGAN)
    }

    /// Total; a record that does not fit changes nothing, nor does a repeat.
    pub fn evolve(&mut self, record: &Record) {
        let Event::IdentityPrivate(event) = &record.event else { return };
        let next = number(record.position.offset + 1);
        match event {
            Private::AccountRequested(_)
            | Private::ProfileRequested(_)
            | Private::IdentityRequested(_)
            | Private::ExchangeRequested(_)
            | Private::HandleChangeRequested(_)
            | Private::HandleClaimRequested(_)
            | Private::HandleChangeSettled(_)
            | Private::HandleReleased(_) => {}
            Private::SessionCreated(event) if self.session.is_none() => {
                let is_proven = event.by_identity || number(event.password_set_at) == self.account.password_set_at;
                let is_of_now = is_proven && !self.account.away;
                self.session = Some(SessionRow {
                    made_at: number(record.position.offset),
                    client: event.client.into(),
                    create_time: record.time,
                    used: 1,
                    use_time: record.time,
                    end: if is_of_now { STANDS } else { NEVER_BEGAN },
                    end_time: Timestamp::default(),
                    principal: event.principal.clone(),
                });
                if is_of_now && !event.password_hash.is_empty() {
                    self.account.password_hash.clone_from(&event.password_hash);
                }
            }
            Private::RefreshTokenUsed(event) if self.stands(&event.session_id) => {
                let used = i64::from(event.number);
                if let Some(session) = self.session.as_mut().filter(|session| session.used + 1 == used) {
                    (session.used, session.use_time) = (used, record.time);
                }
            }
            Private::SessionEnded(event) if self.stands(&event.session_id) => {
                if let Some(session) = &mut self.session {
                    (session.end, session.end_time) = (event.reason.into(), record.time);
                }
            }
            Private::SessionsEnded(event) => {
                if self.account.applied.insert(record.id) {
                    self.end_all_but(&event.kept_session_id, next);
                }
            }
            Private::AccountStateRequested(event) => {
                if !self.is_asked_again && self.account.away != event.deactivates {
                    self.account.away = event.deactivates;
                    if event.deactivates {
                        self.end_all_but("", next);
                    }
                }
            }
            Private::PasswordChanged(event) => {
                let is_by_session = event.session_id.is_empty() || self.stands(&event.session_id);
                let is_of_now = event.is_reset || number(event.password_set_at) == self.account.password_set_at;
                if is_by_session && is_of_now && self.account.applied.insert(record.id) {
                    self.end_all_but(&event.session_id, next);
                    self.account.password_hash.clone_from(&event.password_hash);
                    self.account.password_set_at = next;
                }
            }
            Private::SessionCreated(_) | Private::RefreshTokenUsed(_) | Private::SessionEnded(_) => {}
        }
    }

    fn end_all_but(&mut self, kept: &str, before: i64) {
        // One that is over is not brought back.
        let kept = if self.stands(kept) { kept.to_owned() } else { String::new() };
        (self.account.ended_before, self.account.kept_session_id) = (before, kept);
    }
}

/// The place of [`SessionRow`].
pub fn of_id(session_id: &str) -> [Value; 2] {
    [Timestamp::default().into(), session_id.into()]
}

/// Offsets and counts as columns hold them.
pub fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
