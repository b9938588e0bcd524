//! Defects of folds: each wraps one fold, and changes its effect of a record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kith_engagement::reaction::{REACTIONS, ReactionCounts, ReactionRow};
use kith_fold::{AppliedIds, Effect, Fold, Put, Record, Rows, Scope};
use kith_identity::arbiter::CLAIMS;
use kith_identity::followers::FOLLOWERS;
use kith_identity::graph::{EDGES, EdgesSummary};
use kith_identity::session::{SESSIONS, SessionRow, of_id};
use kith_log::Position;
use kith_projector::views::author_feed::AUTHOR_FEED;
use kith_projector::views::cards::CARDS;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::identity::private::v1::SessionEnd;
use kith_proto::identity::private::v1::identity_private_event::Event as Private;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::posts::private::v1::post_private_event::Event as Edit;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_relations::account::ACCOUNTS;
use kith_relations::mute::MUTES;
use kith_runtime::Runtime;
use kith_tables::{Row, Table, Value};

use super::consent::{self, Follows};
use super::{Planted, groups, handles, inbox, messages, mutes, privacy};
use crate::next;

/// The table of the contest of edits.
const EDIT_CLAIMS: &str = "edit_claims";

pub(super) fn wrap(defect: Planted, inner: Arc<dyn Fold>, known: &Follows, runtime: &Runtime) -> Arc<dyn Fold> {
    let is_of = |table: &Table| inner.tables().first().is_some_and(|first| first.name == table.name);
    let concerned = match defect {
        Planted::BlindIncrement | Planted::NoAppliedIds => is_of(&REACTIONS),
        Planted::LastClaimWins | Planted::TakenHandleGiven | Planted::HeldHandleGiven => is_of(&CLAIMS),
        Planted::OldHandleStays => is_of(&ACCOUNTS),
        Planted::CutFromOneSide | Planted::CutUncounted | Planted::DeclinedSuggested => is_of(&EDGES),
        Planted::AcceptedTwice => is_of(&EDGES) || is_of(&FOLLOWERS),
        Planted::MuteEndedInFold => is_of(&MUTES),
        Planted::DropsDeletes => is_of(&CARDS),
        Planted::ReuseForgiven | Planted::RotationDoubled | Planted::RevocationUntold | Planted::LeaverStays => {
            is_of(&SESSIONS)
        }
        Planted::LaterRules => inner.tables().first().is_some_and(|first| first.name == EDIT_CLAIMS),
        Planted::SpreadsNotAgain | Planted::BackfillNewest | Planted::UnreadByIncrement => true,
        Planted::PlacesUncompared | Planted::OldPlaceStays => {
            inner.tables().iter().any(|table| table.name == kith_messaging::INBOX.name)
        }
        Planted::AcceptedStillWaits
        | Planted::DeclinedComesBack
        | Planted::UnreadOfRequests
        | Planted::LateEditWins
        | Planted::UnsentUnread
        | Planted::UnsentStaysInInbox
        | Planted::PrivateMarkerTold => inner.tables().iter().any(|table| table.name == kith_messaging::REQUESTS.name),
        Planted::SeatGivenTwice | Planted::MembersOwn => is_of(&kith_messaging::GROUP_CLAIMS),
        Planted::OlderMessagesShown => inner.tables().iter().any(|table| table.name == kith_messaging::INBOX.name),
        Planted::ConsentOfNow => {
            is_of(&kith_relations::follow::FOLLOWS)
                || inner.tables().iter().any(|table| table.name == kith_messaging::REQUESTS.name)
        }
        _ => false,
    };
    if !concerned {
        return inner;
    }
    let (applied, unread, known) = (Mutex::default(), Mutex::default(), known.clone());
    Arc::new(PlantedFold { defect, inner, applied, unread, known, runtime: runtime.clone() })
}

struct PlantedFold {
    defect: Planted,
    inner: Arc<dyn Fold>,
    /// The record that was applied last, as opposed to passed over.
    applied: Mutex<Option<Position>>,
    /// Unread messages by inbox row.
    unread: Mutex<BTreeMap<(kith_tables::Key, kith_tables::RowKey), i64>>,
    /// The follows that the process has folded.
    known: Follows,
    runtime: Runtime,
}

impl Fold for PlantedFold {
    fn tables(&self) -> Vec<&'static Table> {
        self.inner.tables()
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        self.inner.scope(record)
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.position);
        match (self.defect, &record.event) {
            (Planted::BlindIncrement, Event::Engagement(Engagement::Reacted(_))) => {
                let mut counts = rows.summary::<ReactionCounts>();
                self.inner.apply(rows, record);
                counts.like_count += 1;
                rows.set_summary(counts);
            }
            (Planted::NoAppliedIds, Event::Engagement(event)) => {
                self.inner.apply(rows, record);
                let actor = match event {
                    Engagement::Reacted(event) => &event.actor_id,
                    Engagement::Unreacted(event) => &event.actor_id,
                    _ => return,
                };
                if let Some(row) = rows.get::<ReactionRow>([actor.as_str().into()]) {
                    rows.put([actor.as_str().into()], ReactionRow { applied: AppliedIds::default(), ..row });
                }
            }
            (
                Planted::LastClaimWins | Planted::TakenHandleGiven | Planted::HeldHandleGiven,
                Event::IdentityPrivate(event),
            ) => handles::judge(self.defect, (rows, record, event), &*self.inner),
            (Planted::OldHandleStays, Event::Identity(Identity::HandleChanged(_))) => {}
            (Planted::ReuseForgiven, Event::IdentityPrivate(Private::SessionEnded(event)))
                if event.reason() == SessionEnd::TokenReused => {}
            (Planted::DeclinedSuggested, Event::Identity(Identity::SuggestionDismissed(_))) => {}
            (Planted::LeaverStays, Event::IdentityPrivate(Private::AccountStateRequested(_))) => {}
            (Planted::RotationDoubled, Event::IdentityPrivate(Private::RefreshTokenUsed(event))) => {
                self.inner.apply(rows, record);
                if let Some(session) = rows.get::<SessionRow>(of_id(&event.session_id)) {
                    let used = session.used + 1;
                    rows.put(of_id(&event.session_id), SessionRow { used, ..session });
                }
            }
            (defect @ (Planted::SeatGivenTwice | Planted::OlderMessagesShown | Planted::MembersOwn), _) => {
                groups::apply(defect, &*self.inner, rows, record);
            }
            (Planted::ConsentOfNow, Event::Identity(_)) => {
                self.known.take(record);
                self.inner.apply(rows, record);
            }
            (Planted::ConsentOfNow, Event::Messaging(Messaging::ConversationCreated(event))) => {
                self.inner.apply(rows, &self.known.judge(record, event));
            }
            (Planted::DeclinedComesBack, Event::Messaging(Messaging::MessageSent(event))) => {
                consent::ask_again(rows, &event.sender_id);
                self.inner.apply(rows, record);
            }
            (defect, Event::Messaging(event)) if messages::is_one(defect) => {
                messages::apply(defect, &*self.inner, rows, (record, event));
            }
            (Planted::DropsDeletes, Event::Posts(Posts::PostDeleted(_))) => {}
            (_, Event::Identity(event)) => self.apply_identity(rows, record, event),
            (Planted::LaterRules, Event::PostsPrivate(Edit::EditRequested(event))) if event.expected_revision == 0 => {
                self.inner.apply(rows, &next::lost(record, event));
            }
            _ => self.inner.apply(rows, record),
        }
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let effects = self.inner.effects(rows, record);
        match (self.defect, &record.event) {
            (Planted::SpreadsNotAgain, _) => {
                let applied = *self.applied.lock().unwrap_or_else(PoisonError::into_inner);
                if applied == Some(record.position) { effects } else { Vec::new() }
            }
            (Planted::RevocationUntold, _) => Vec::new(),
            (Planted::CutFromOneSide, Event::Identity(Identity::Blocked(_))) => Vec::new(),
            (Planted::BackfillNewest, _) => effects.into_iter().map(only_newest).collect(),
            (Planted::UnreadByIncrement, Event::Messaging(Messaging::MessageSent(_))) => {
                effects.into_iter().map(|effect| self.counted_up(effect)).collect()
            }
            (defect, Event::Messaging(_)) => consent::effects(defect, rows, inbox::effects(defect, effects)),
            _ => effects,
        }
    }

    fn appends(&self) -> bool {
        self.inner.appends()
    }
}

/// A walk through an author's feed ends after its first row.
fn only_newest(effect: Effect) -> Effect {
    match effect {
        Effect::Read { table, partition, rows, then } => {
            let then = move |found: &[Option<Row>]| then(found).into_iter().map(only_newest).collect();
            Effect::Read { table, partition, rows, then: Arc::new(then) }
        }
        Effect::ForEach(mut walk) if walk.table.name == AUTHOR_FEED.name => {
            let (step, walked) = (walk.then, AtomicUsize::new(0));
            let first = move |row: &Row| (walked.fetch_add(1, Ordering::Relaxed) == 0).then(|| step(row)).flatten();
            walk.then = Arc::new(first);
            Effect::ForEach(walk)
        }
        effect => effect,
    }
}

impl PlantedFold {
    fn apply_identity(&self, rows: &mut Rows, record: &Record, event: &Identity) {
        match (self.defect, event) {
            (Planted::CutUncounted, Identity::FollowCut(_)) => {
                let counts = rows.summary::<EdgesSummary>();
                self.inner.apply(rows, record);
                rows.set_summary(counts);
            }
            (Planted::AcceptedTwice, Identity::FollowRequested(event)) => {
                self.inner.apply(rows, &privacy::unseeing(record, event));
            }
            (Planted::MuteEndedInFold, Identity::Muted(event)) if mutes::has_ended(event, &self.runtime) => {}
            _ => self.inner.apply(rows, record),
        }
    }

    fn counted_up(&self, effect: Effect) -> Effect {
        let Effect::Put(put) = effect else { return effect };
        let Put { table, partition, mut write } = put;
        let at = table.columns(write.key.section).and_then(|mut all| all.position(|of| of.name == "unread_count"));
        let cell = at.zip(write.columns.as_mut()).and_then(|(at, columns)| columns.get_mut(at));
        if let Some(Value::BigInt(unread)) = cell.filter(|now| **now != 0.into()) {
            let mut known = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = known.entry((partition.clone(), write.key.clone())).or_default();
            *counted += 1;
            *unread = *counted;
        }
        Effect::Put(Put { table, partition, write })
    }
}
