//! Changes of handles. Two things are contended, the account (one change at a time, and not too many) and the handle, so a change is
//! judged under the account's key first; the claim of the handle follows from it, and what came of that is told to the account's key.
//! Of a change that won the facts follow from there, and the release of the handle before.
//!
//! ```text
//! account's key   HandleChangeRequested ─┐             ┌─► HandleChangeSettled ─► HandleLeft, HandleChanged (public)
//! handle's key                           └─► HandleClaimRequested          └────► HandleReleased (the former handle's key)
//! ```

mod command;

use kith_fold::{Append, Effect, Fold, Record, Rows, Scope};
use kith_log::{RecordId, topics};
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::private::v1::{
    HandleChangeRequested, HandleChangeSettled, HandleClaimRequested, HandleReleased,
};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{HandleChanged, HandleLeft};
use kith_proto::{Event, time};
use kith_relations::account::{ACCOUNTS, AccountRow, HANDLES, HandleRow};
use kith_relations::revision::intent_after;
use kith_service::ids;
use kith_service::limits::HANDLE_HELD_SECONDS;
use kith_tables::{Key, Table, Value};

use crate::arbiter::{CLAIMS, ClaimRow};
use crate::change_row::{ANOTHER_UNDER_WAY, CHANGES, ChangeRow, ChangesSummary, TAKEN, TOO_OFTEN, UNDER_WAY, WON, us};
use crate::handle::Handle;

impl ChangesSummary {
    /// Judges an intent. Another bound than [`HANDLE_CHANGES`] is another version of the rules.
    fn judge(&mut self, intent: &HandleChangeRequested, record: &Record) -> ChangeRow {
        let now = if self.handle_key.is_empty() { &intent.from_handle_key } else { &self.handle_key };
        let from_handle_key = now.clone();
        let outcome = match () {
            () if !self.under_way.is_empty() => ANOTHER_UNDER_WAY,
            () if from_handle_key == intent.handle_key => WON,
            () if self.times.wait_us(record.time).is_some() => TOO_OFTEN,
            () => UNDER_WAY,
        };
        if outcome == UNDER_WAY {
            self.under_way = record.id.to_string();
        }
        ChangeRow {
            won: outcome == WON,
            outcome,
            handle_key: intent.handle_key.clone(),
            from_handle_key,
            content: intent.content.clone().unwrap_or_default(),
            payload_digest: intent.payload_digest.clone(),
            settle_next: 0,
        }
    }

    /// Ends a change that is under way; any other has ended.
    fn settle(&mut self, change: ChangeRow, settled: &HandleChangeSettled, record: &Record) -> ChangeRow {
        if !change.is_under_way() {
            return change;
        }
        if self.under_way == settled.change_id {
            self.under_way.clear();
        }
        if settled.won {
            self.handle_key.clone_from(&change.handle_key);
            self.times.add(record.time);
        }
        let outcome = if settled.won { WON } else { TAKEN };
        ChangeRow { won: settled.won, outcome, settle_next: intent_after(record.position.offset), ..change }
    }
}

/// Folds changes of handles by account; also the noun of the command.
pub struct Changes;

/// A record about a change.
enum Step<'a> {
    Requested(&'a HandleChangeRequested),
    Settled(&'a HandleChangeSettled),
}

impl<'a> Step<'a> {
    /// `None`: the record is about something else, or its ids can be no keys.
    fn of(record: &'a Record) -> Option<Self> {
        let is_id = |id: &str| RecordId::parse(id).is_some();
        match &record.event {
            Event::IdentityPrivate(Private::HandleChangeRequested(event)) => {
                let are_handles =
                    [&event.handle_key, &event.from_handle_key].map(|key| Handle::normalised(key).is_some());
                (is_id(&event.account_id) && are_handles == [true; 2]).then_some(Self::Requested(event))
            }
            Event::IdentityPrivate(Private::HandleChangeSettled(event)) => {
                (is_id(&event.account_id) && is_id(&event.change_id)).then_some(Self::Settled(event))
            }
            _ => None,
        }
    }

    fn account_id(&self) -> &str {
        match self {
            Self::Requested(event) => &event.account_id,
            Self::Settled(event) => &event.account_id,
        }
    }

    /// The change's row.
    fn place(&self, record: &Record) -> [Value; 1] {
        match self {
            Self::Requested(_) => [record.id.to_string().into()],
            Self::Settled(event) => [event.change_id.as_str().into()],
        }
    }
}

impl Fold for Changes {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CHANGES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let step = Step::of(record)?;
        Some(Scope::new(&CHANGES, Key::text(step.account_id())).with::<ChangeRow>(step.place(record)))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(step) = Step::of(record) else { return };
        let place = step.place(record);
        let mut summary: ChangesSummary = rows.summary();
        let change = match (step, rows.get::<ChangeRow>(place.clone())) {
            (Step::Requested(intent), None) => summary.judge(intent, record),
            (Step::Settled(settled), Some(change)) => summary.settle(change, settled, record),
            (Step::Requested(_), Some(_)) | (Step::Settled(_), None) => return,
        };
        rows.put(place, change);
        rows.set_summary(summary);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(step) = Step::of(record) else { return Vec::new() };
        let place = step.place(record);
        let made_the_row = rows.position::<ChangeRow>(place.clone()) == Some(record.position.offset);
        let Some(change) = rows.get::<ChangeRow>(place).filter(|_| made_the_row) else { return Vec::new() };
        match step {
            Step::Requested(intent) if change.is_under_way() => vec![claims(intent, record)],
            Step::Settled(settled) if change.won => {
                let given = Given { account_id: &settled.account_id, change: &change, record };
                vec![given.left(), given.changed(), given.released()]
            }
            Step::Requested(_) | Step::Settled(_) => Vec::new(),
        }
    }

    fn appends(&self) -> bool {
        true
    }
}

/// The claim of the handle.
fn claims(intent: &HandleChangeRequested, record: &Record) -> Effect {
    let handle_key = intent.handle_key.clone();
    let event = HandleClaimRequested {
        account_id: intent.account_id.clone(),
        handle_key: handle_key.clone(),
        change_id: record.id.to_string(),
        change_offset: record.position.offset,
        request_time: Some(time::of_us(record.time.0)),
        rules: intent.rules,
    };
    let id = ids::item_id(record.id, b"HandleClaimRequested");
    let append = Append {
        topic: topics::IDENTITY_PRIVATE,
        key: Handle::normalised(&handle_key).map(|handle| handle.key()).unwrap_or_default(),
        id,
        event: Private::HandleClaimRequested(event).into(),
        cause: record.cause(),
    };
    let is_due = |claim: Option<&ClaimRow>| claim.is_none();
    Effect::append_if::<ClaimRow>(append, (&CLAIMS, Key::text(&handle_key)), [id.to_string().into()], is_due)
}

/// A change that won, with the record that says so.
struct Given<'a> {
    account_id: &'a str,
    change: &'a ChangeRow,
    record: &'a Record,
}

impl Given<'_> {
    fn append(&self, what: &str, key: String, event: impl Into<Event>) -> Append {
        let event = event.into();
        let topic =
            if event.topic_name() == topics::IDENTITY.name { topics::IDENTITY } else { topics::IDENTITY_PRIVATE };
        Append { topic, key, id: ids::item_id(self.record.id, what.as_bytes()), event, cause: self.record.cause() }
    }

    fn changed(&self) -> Effect {
        let offset = self.record.position.offset;
        let fact = HandleChanged {
            account_id: self.account_id.to_owned(),
            handle_key: self.change.handle_key.clone(),
            content: Some(self.change.content.clone()),
            change_time: Some(time::of_us(self.record.time.0)),
            intent_offset: offset,
        };
        let append = self.append("HandleChanged", self.account_id.to_owned(), Identity::HandleChanged(fact));
        // The intent had seen the account: a row that is not there is not there yet.
        let is_due = move |account: Option<&AccountRow>| account.is_none_or(|account| account.takes_handle(offset));
        Effect::append_if::<AccountRow>(append, (&ACCOUNTS, Key::text(self.account_id)), [], is_due)
    }

    fn left(&self) -> Effect {
        let offset = self.record.position.offset;
        let fact = HandleLeft {
            account_id: self.account_id.to_owned(),
            handle_key: self.change.from_handle_key.clone(),
            leave_time: Some(time::of_us(self.record.time.0)),
            intent_offset: offset,
        };
        let append = self.append("HandleLeft", self.account_id.to_owned(), Identity::HandleLeft(fact));
        let is_due = move |row: Option<&HandleRow>| row.is_none_or(|row| row.takes(offset));
        let partition = Key::text(&self.change.from_handle_key);
        Effect::append_if::<HandleRow>(append, (&HANDLES, partition), [self.account_id.into()], is_due)
    }

    fn released(&self) -> Effect {
        let handle_key = &self.change.from_handle_key;
        let at = self.record.time.0;
        let event = HandleReleased {
            account_id: self.account_id.to_owned(),
            handle_key: handle_key.clone(),
            settle_offset: self.record.position.offset,
            release_time: Some(time::of_us(at)),
            free_time: Some(time::of_us(at.saturating_add(us(HANDLE_HELD_SECONDS)))),
        };
        let key = Handle::normalised(handle_key).map(|handle| handle.key()).unwrap_or_default();
        let append = self.append("HandleReleased", key, Private::HandleReleased(event));
        let (partition, place) = (Key::text(handle_key), [append.id.to_string().into()]);
        Effect::append_if::<ClaimRow>(append, (&CLAIMS, partition), place, |release| release.is_none())
    }
}

#[cfg(test)]
mod tests;
