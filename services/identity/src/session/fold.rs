//! Sessions by account. What ends some is told to all processes.

use kith_fold::{Effect, Fold, Record, Rows, Scope};
use kith_proto::Event;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_tables::{Key, Table};

use super::revoked::{tell_account, tell_session};
use super::{Before, PlaceRow, SESSIONS, STANDS, SessionRow, StateAskedRow, of_id};

/// Folds sessions by account; also the noun of their commands.
pub struct Sessions;

impl Fold for Sessions {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SESSIONS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let (account_id, session_id) = about(record)?;
        let scope = Scope::new(&SESSIONS, Key::text(account_id)).with::<SessionRow>(of_id(session_id));
        Some(match asks_for_state(record) {
            Some(_) => scope.with::<StateAskedRow>(of_id(&record.id.to_string())),
            None => scope,
        })
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some((_, session_id)) = about(record) else { return };
        let asked = asks_for_state(record).map(|asked| (of_id(&record.id.to_string()), asked));
        let before = Before {
            account: rows.summary(),
            session: rows.get::<SessionRow>(of_id(session_id)),
            is_asked_again: asked.as_ref().is_some_and(|(id, _)| rows.get::<StateAskedRow>(id.clone()).is_some()),
        };
        if let Some((id, asked)) = asked.filter(|_| !before.is_asked_again) {
            rows.put(id, asked);
        }
        let mut after = before.clone();
        after.evolve(record);
        if after.account != before.account {
            rows.set_summary(after.account);
        }
        let Some(session) = after.session.filter(|session| before.session.as_ref() != Some(session)) else { return };
        if before.session.is_none() {
            let place = [session.create_time.into(), session_id.into()];
            rows.put(place, PlaceRow { made_at: session.made_at });
        }
        rows.put(of_id(session_id), session);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some((account_id, session_id)) = about(record) else { return Vec::new() };
        match &record.event {
            Event::IdentityPrivate(Private::SessionEnded(_)) => {
                let session = rows.get::<SessionRow>(of_id(session_id)).filter(|session| session.end > STANDS);
                let tell = |session: SessionRow| tell_session(account_id, session_id, session.end_time, record);
                session.map(tell).into_iter().collect()
            }
            Event::IdentityPrivate(
                Private::SessionsEnded(_) | Private::PasswordChanged(_) | Private::AccountStateRequested(_),
            ) => tell_account(account_id, &rows.summary(), record).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn appends(&self) -> bool {
        true
    }
}

/// What a record that asks for a change of the account's state leaves.
fn asks_for_state(record: &Record) -> Option<StateAskedRow> {
    match &record.event {
        Event::IdentityPrivate(Private::AccountStateRequested(event)) => {
            Some(StateAskedRow { deactivates: event.deactivates })
        }
        _ => None,
    }
}

/// The account and the session that a record is about; the session is empty where it names none.
fn about(record: &Record) -> Option<(&str, &str)> {
    let Event::IdentityPrivate(event) = &record.event else { return None };
    match event {
        Private::AccountRequested(_)
        | Private::ProfileRequested(_)
        | Private::IdentityRequested(_)
        | Private::ExchangeRequested(_)
        | Private::HandleChangeRequested(_)
        | Private::HandleClaimRequested(_)
        | Private::HandleChangeSettled(_)
        | Private::HandleReleased(_) => None,
        Private::SessionCreated(event) => Some((&event.account_id, &event.session_id)),
        Private::RefreshTokenUsed(event) => Some((&event.account_id, &event.session_id)),
        Private::SessionEnded(event) => Some((&event.account_id, &event.session_id)),
        Private::SessionsEnded(event) => Some((&event.account_id, &event.kept_session_id)),
        Private::PasswordChanged(event) => Some((&event.account_id, &event.session_id)),
        Private::AccountStateRequested(event) => Some((&event.account_id, "")),
    }
}
