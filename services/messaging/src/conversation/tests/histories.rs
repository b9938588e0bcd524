//! Random histories, and a reader of them that is as naive as can be.

use proptest::prelude::*;

use super::amended::{archived, edited, reacted, unsent};
use super::*;

fn anyone() -> impl Strategy<Value = RecordId> {
    prop_oneof![4 => Just(ADA), 4 => Just(BOB), 1 => Just(EVE)]
}

/// Record ids differ but for messages, whose ids may repeat: a client that repeats itself.
fn any_history() -> impl Strategy<Value = Vec<Happened>> {
    let event = prop_oneof![
        1 => anyone().prop_map(|by| created(0, by)),
        2 => (anyone(), anyone()).prop_map(|(by, asked)| opened(0, by, &[asked])),
        1 => anyone().prop_map(|by| accepted(0, by)),
        1 => anyone().prop_map(|by| declined(0, by)),
        4 => (0..=MESSAGE_IDS, anyone()).prop_map(|(message, by)| sent(message, by)),
        3 => (anyone(), 0..8_u64).prop_map(|(by, number)| read(0, by, number)),
        3 => (0..=MESSAGE_IDS, anyone()).prop_map(|(message, by)| unsent(0, (message, 0), by)),
        2 => (0..=MESSAGE_IDS, anyone(), 0..9_i64).prop_map(|(message, by, at)| edited(0, (message, 0), by, at * 1_000)),
        2 => (0..=MESSAGE_IDS, anyone(), "[a-g]", any::<bool>())
            .prop_map(|(message, by, grapheme, adds)| reacted(0, (message, 0), by, &grapheme, adds)),
        1 => (anyone(), any::<bool>()).prop_map(|(by, away)| archived(0, by, away)),
    ];
    prop::collection::vec(event, 1..40).prop_map(numbered).prop_map(|events| {
        let with_id = |(n, (id, event)): (u8, Happened)| match event {
            MessagingEvent::MessageSent(_) => (id, event),
            _ => (RecordId([100 + n; 16]), event),
        };
        (0..).zip(events).map(with_id).collect()
    })
}

/// With the numbers that the log gives the messages; what is about a message that is not there yet is left out, as by who asks.
fn numbered(events: Vec<Happened>) -> Vec<Happened> {
    let mut naive = Naive::default();
    let first = created(0, ADA);
    naive.take(&first.1);
    let mut kept = vec![first];
    for (id, mut event) in events {
        let named = match &mut event {
            MessagingEvent::MessageUnsent(event) => Some((&event.message_id, &mut event.number)),
            MessagingEvent::MessageEdited(event) => Some((&event.message_id, &mut event.number)),
            MessagingEvent::MessageReactionAdded(event) => Some((&event.message_id, &mut event.number)),
            MessagingEvent::MessageReactionRemoved(event) => Some((&event.message_id, &mut event.number)),
            _ => None,
        };
        if let Some((message_id, number)) = named {
            let Some(at) = naive.ids.iter().position(|known| known == message_id) else { continue };
            *number = at as u64 + 1;
        }
        naive.take(&event);
        kept.push((id, event));
    }
    kept
}

/// The same, written down as naively as can be: messages in a list, markers in a map.
#[derive(Default)]
struct Naive {
    exists: bool,
    /// Who is asked, and has not answered; who has declined.
    asked: BTreeSet<String>,
    declined: BTreeSet<String>,
    /// Also those that count for nothing.
    seen: BTreeSet<String>,
    senders: Vec<String>,
    ids: Vec<String>,
    unsent: BTreeSet<usize>,
    markers: BTreeMap<String, usize>,
}

impl Naive {
    fn of(history: &[Happened]) -> Self {
        let mut naive = Self::default();
        history.iter().for_each(|(_, event)| naive.take(event));
        naive
    }

    fn take(&mut self, event: &MessagingEvent) {
        match event {
            MessagingEvent::ConversationCreated(created) => {
                if !self.exists {
                    let members = [ADA.to_string(), BOB.to_string()];
                    let asked = created.asked_member_ids.iter().filter(|asked| **asked != created.creator_id);
                    self.asked = asked.filter(|asked| members.contains(asked)).cloned().collect();
                }
                self.exists = true;
            }
            MessagingEvent::MessageSent(message) => {
                let is_member = self.exists && message.sender_id != EVE.to_string();
                if !is_member || !self.seen.insert(message.message_id.clone()) {
                    return;
                }
                let mut waiting = self.asked.union(&self.declined);
                if waiting.any(|other| *other != message.sender_id) && self.senders.len() >= 3 {
                    return;
                }
                self.senders.push(message.sender_id.clone());
                self.ids.push(message.message_id.clone());
                self.accept(&message.sender_id);
            }
            MessagingEvent::ReadMarkerMoved(moved) => {
                let marker = self.markers.entry(moved.account_id.clone()).or_insert(0);
                *marker = (*marker).max((moved.up_to_number as usize).min(self.senders.len()));
            }
            MessagingEvent::ConversationAccepted(accepted) => self.accept(&accepted.account_id),
            MessagingEvent::ConversationDeclined(declined) => {
                self.declined.extend(self.asked.take(&declined.account_id));
            }
            MessagingEvent::MessageUnsent(event) => {
                let at = self.ids.iter().position(|known| *known == event.message_id);
                self.unsent.extend(at.filter(|at| self.senders[*at] == event.sender_id));
            }
            // Not of a conversation of two.
            _ => {}
        }
    }

    fn accept(&mut self, account: &str) {
        self.asked.remove(account);
        self.declined.remove(account);
    }

    fn unread(&self, account: RecordId) -> usize {
        let account = account.to_string();
        if self.asked.contains(&account) || self.declined.contains(&account) {
            return 0;
        }
        let marker = self.markers.get(&account).copied().unwrap_or(0);
        let above = self.senders.iter().enumerate().skip(marker);
        above.filter(|(at, sender)| **sender != account && !self.unsent.contains(at)).count()
    }
}

proptest! {
    #[test]
    fn unread_counts_are_what_messages_and_markers_give(history in any_history()) {
        let folded = Folded::of(&history);
        let naive = Naive::of(&history);
        for account in [ADA, BOB] {
            prop_assert_eq!(folded.unread(account), naive.unread(account) as i64);
            prop_assert_eq!(folded.waits(account), [naive.asked.contains(&account.to_string()); 2]);
        }
        prop_assert_eq!(folded.summary().last_number, naive.senders.len() as i64);
        let numbers: Vec<i64> = folded.messages().into_keys().collect();
        prop_assert_eq!(&numbers, &(1..=folded.summary().last_number).collect::<Vec<_>>(), "dense, from 1");
        prop_assert!(folded.times().windows(2).all(|pair| pair[0] < pair[1]), "later messages have later times");
        prop_assert!(!folded.inbox.contains_key(&EVE));
        for (number, _, row) in folded.message_rows() {
            let is_gone = naive.unsent.contains(&(number as usize - 1));
            prop_assert_eq!((row.is_unsent(), row.content.is_empty()), (is_gone, is_gone));
        }
        let last_is_gone = naive.senders.len().checked_sub(1).is_some_and(|last| naive.unsent.contains(&last));
        for (_, row) in folded.inbox.values() {
            prop_assert_eq!(row.last_preview.is_empty(), last_is_gone || naive.senders.is_empty());
        }
    }

    #[test]
    fn a_copy_of_any_record_at_any_later_place_changes_nothing(
        history in any_history(),
        copied in any::<prop::sample::Index>(),
        later in any::<prop::sample::Index>(),
    ) {
        let copied = copied.index(history.len());
        let place = copied + 1 + later.index(history.len() - copied);
        // Of somebody not yet in it the first copy counts for nothing, so a later one is no copy.
        let exists = history[..copied].iter().any(|(_, event)| matches!(event, MessagingEvent::ConversationCreated(_)));
        prop_assume!(exists);
        let alone: Vec<(u64, &Happened)> = (1..).step_by(2).zip(&history).collect();
        let mut with_copy = alone.clone();
        with_copy.insert(place, (2 * place as u64, &history[copied]));
        prop_assert_eq!(Folded::at(with_copy.into_iter()).seen(), Folded::at(alone.into_iter()).seen());
    }

    #[test]
    fn spreads_emitted_again_from_the_rows_as_they_stand_leave_the_same(history in any_history()) {
        let mut folded = Folded::of(&history);
        let before = folded.seen();
        for (offset, happened) in (0..).zip(&history) {
            folded.spread(&record(offset, happened));
        }
        prop_assert_eq!(folded.seen(), before.clone());
        // A process that died before any of them was written.
        (folded.inbox, folded.requests, folded.opened) = Default::default();
        for (offset, happened) in (0..).zip(&history) {
            folded.spread(&record(offset, happened));
        }
        prop_assert_eq!(folded.seen(), before);
    }
}
