//! Contests that only one intent may win: a noun declares how an intent is judged and the fact of one that won; the
//! fold is here.

use kith_tables::{Key, RowType, Table, Value};

use super::{Append, Effect, Fold, Record, Rows, Scope};

/// A contest that only one intent may win: intents in a service's private topic, judged in log order.
///
/// A verdict is a function of the intents before it about the same thing, and final. An example, the seats of a group:
///
/// ```text
/// Intent    SeatRequested { group_id, account_id, seats, rules }
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
    /// The sum of the verdicts so far: the summary of [`Self::CLAIMS`]; `()` if nothing is counted.
    type Summary: RowType + Default;
    /// A verdict.
    type Claim: RowType;
    /// What the fact changes.
    type Subject: RowType;

    const CLAIMS: &'static Table;
    /// Its partitions have the facts' keys; each holds the row of the subject, at [`Self::subject`].
    const SUBJECTS: &'static Table;

    /// A well-formed intent. Any other is ignored.
    fn intent(record: &Record) -> Option<&Self::Intent>;

    /// What is contended: the partition of [`Self::CLAIMS`].
    fn contended(intent: &Self::Intent) -> Key;

    /// The row of the verdict: under the intent's id. If the first intent wins for ever, the row has no id in its key,
    /// and every other intent has lost because it did not write the row.
    fn place(record: &Record) -> Vec<Value> {
        vec![record.id.to_string().into()]
    }

    /// The place of the subject's row in its table partition.
    fn subject(_: &Self::Intent) -> Vec<Value> {
        Vec::new()
    }

    /// Judges the intent by the verdicts so far, and updates their sum. Pure. Verdicts are final: a release with other rules
    /// raises [`crate::EVENTS`], and still judges an intent by the rules of the version that the intent names (`rules`).
    fn judge(summary: &mut Self::Summary, intent: &Self::Intent, record: &Record) -> Self::Claim;

    /// The fact of an intent with this verdict; `None`: it lost. A function of the record and its verdict.
    fn fact(intent: &Self::Intent, claim: &Self::Claim, record: &Record) -> Option<Append>;

    /// Whether the fact of the intent at that offset may still be missing in the subject, and can still change it.
    ///
    /// Once false, it stays false however the subject goes on; so it is true for a subject that is older than it was, or
    /// not there (`None`). A server that lost its last rows shows such subjects until they are folded again: then a fact is
    /// appended a second time, under the same id, and changes nothing. One that is not appended would be missing for ever.
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
        let subject = C::subject(intent);
        fact.map(|fact| append_if_due::<C>(fact, subject, record.position.offset)).into_iter().collect()
    }

    fn appends(&self) -> bool {
        true
    }
}

fn append_if_due<C: Contest>(fact: Append, subject: Vec<Value>, intent_offset: u64) -> Effect {
    let partition = Key::text(&fact.key);
    Effect::append_if::<C::Subject>(fact, (C::SUBJECTS, partition), subject, move |found| {
        C::is_due(found, intent_offset)
    })
}

#[cfg(test)]
mod tests;
