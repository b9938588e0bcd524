//! What only one may have: a noun says how an intent is judged and what follows from one that won; the fold is here.

use std::sync::Arc;

use kith_tables::{Key, Row, RowKey, RowType, Table, Value};

use super::{Append, Effect, Fold, Record, Rows, Scope};

/// A contest for what only one may have: intents in a service's private topic, judged in the order of the log.
///
/// A verdict is a function of the intents before it about the same thing, and stands for ever. The seats of a group, as
/// an example of the shape:
///
/// ```text
/// Intent    SeatRequested { group_id, account_id, seats }
/// Summary   Seats { taken }                       what the verdicts so far come to, beside their rows
/// Claim     SeatClaim { won }                     a row of CLAIMS, under (group_id, the intent's id)
/// judge     won = taken < seats; taken += 1 if won
/// fact      MemberAdded, with the intent's offset, if won
/// Subject   GroupRow { seat_intent_next, … }      the row of SUBJECTS that the fact changes
/// is_due    seat_intent_next <= the intent's offset
/// ```
///
/// [`Arbiter`] folds it.
pub trait Contest: Send + Sync + 'static {
    /// Asks for it.
    type Intent;
    /// What the verdicts so far come to: the summary of [`Self::CLAIMS`]; `()` where nothing is counted.
    type Summary: RowType + Default;
    /// A verdict.
    type Claim: RowType;
    /// What the fact changes.
    type Subject: RowType;

    const CLAIMS: &'static Table;
    /// Its partitions have the keys that facts have, and in each stands the one row of the subject.
    const SUBJECTS: &'static Table;

    /// An intent that is well formed. Another one is as if it had not been made.
    fn intent(record: &Record) -> Option<&Self::Intent>;

    /// What is contended: the partition of [`Self::CLAIMS`].
    fn contended(intent: &Self::Intent) -> Key;

    /// Where the verdict stands: under the intent's id. Where the first intent wins for ever it stands under nothing, and
    /// every other intent has lost by not having made the row.
    fn place(record: &Record) -> Vec<Value> {
        vec![record.id.to_string().into()]
    }

    /// What the verdicts so far make of the intent, and what it makes of them. Pure.
    fn judge(summary: &mut Self::Summary, intent: &Self::Intent, record: &Record) -> Self::Claim;

    /// What has happened, now that the intent has this verdict; `None`: it lost. A function of the record and its verdict.
    fn fact(intent: &Self::Intent, claim: &Self::Claim, record: &Record) -> Option<Append>;

    /// Whether the fact of the intent at that offset is still missing in the subject, and can still change it.
    fn is_due(subject: Option<&Self::Subject>, intent_offset: u64) -> bool;
}

/// Folds a contest: the first record at a place makes the verdict, and has the fact appended unless it is applied.
pub struct Arbiter<C: Contest>(pub C);

impl<C: Contest> Fold for Arbiter<C> {
    fn tables(&self) -> Vec<&'static Table> {
        vec![C::CLAIMS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let intent = C::intent(record)?;
        Some(Scope::new(C::CLAIMS, C::contended(intent)).with::<C::Claim>(C::place(record)))
    }

    /// A late copy finds the verdict of the first.
    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(intent) = C::intent(record) else { return };
        let place = C::place(record);
        if rows.get::<C::Claim>(place.clone()).is_some() {
            return;
        }
        let mut summary = rows.summary();
        let claim = C::judge(&mut summary, intent, record);
        rows.put(place, claim);
        rows.set_summary(summary);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(intent) = C::intent(record) else { return Vec::new() };
        let place = C::place(record);
        let made_the_row = rows.position::<C::Claim>(place.clone()) == Some(record.position.offset);
        let claim = rows.get::<C::Claim>(place).filter(|_| made_the_row);
        let fact = claim.and_then(|claim| C::fact(intent, &claim, record));
        fact.map(|fact| append_if_due::<C>(fact, record.position.offset)).into_iter().collect()
    }

    fn appends(&self) -> bool {
        true
    }
}

fn append_if_due<C: Contest>(fact: Append, intent_offset: u64) -> Effect {
    let partition = Key::text(&fact.key);
    let then = move |found: &[Option<Row>]| {
        let subject = found.first().and_then(Option::as_ref).map(Row::read::<C::Subject>);
        let is_due = match subject {
            None => C::is_due(None, intent_offset),
            Some(Some(subject)) => C::is_due(Some(&subject), intent_offset),
            // What cannot be read is no reason to say it again.
            Some(None) => false,
        };
        if is_due { vec![Effect::append(fact.clone())] } else { Vec::new() }
    };
    Effect::Read { table: C::SUBJECTS, partition, rows: vec![RowKey::of::<C::Subject>([])], then: Arc::new(then) }
}

#[cfg(test)]
mod tests;
