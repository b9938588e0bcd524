//! What becomes of a message that stands: it is edited, unsent, reacted to. Pure.
//!
//! The event names the message's number, which the log's order gave it before: so its row is loaded with the record. An event with
//! another number, or of somebody who is not in the conversation, changes nothing.

use kith_fold::{AppliedIds, Record, Rows, Scope};
use kith_log::RecordId;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_service::limits::REACTIONS_PER_MEMBER;
use kith_tables::{Value, row};

use crate::kept::MessageRow;
use crate::summary::{Summary, signed};
use crate::tally::Tally;

row! {
    /// The reactions of one member to one message.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ReactionRow in 4 {
        /// A line each, in order.
        pub graphemes: String,
        pub applied: AppliedIds,
        /// Those of the records that came when there were as many as there may be: they count for nothing, for ever.
        pub refused: AppliedIds,
    }
}

impl ReactionRow {
    pub fn graphemes(&self) -> impl Iterator<Item = &str> {
        self.graphemes.split_terminator('\n')
    }

    pub fn has(&self, grapheme: &str) -> bool {
        self.graphemes().any(|held| held == grapheme)
    }

    /// Whether the member may have one more beside those of a message with that tally.
    pub fn takes(&self, tally: &Tally, grapheme: &str) -> bool {
        self.graphemes().count() < REACTIONS_PER_MEMBER && tally.takes(grapheme)
    }

    fn add(&mut self, tally: &mut Tally, grapheme: &str, id: RecordId) {
        if self.has(grapheme) {
            return;
        }
        if !self.takes(tally, grapheme) {
            let _ = self.refused.insert(id);
            return;
        }
        let mut all: Vec<&str> = self.graphemes().chain([grapheme]).collect();
        all.sort_unstable();
        self.graphemes = lines(&all);
        tally.add(grapheme);
    }

    fn remove(&mut self, tally: &mut Tally, grapheme: &str) {
        if self.has(grapheme) {
            self.graphemes = lines(&self.graphemes().filter(|held| *held != grapheme).collect::<Vec<_>>());
            tally.remove(grapheme);
        }
    }
}

fn lines(all: &[&str]) -> String {
    all.iter().map(|grapheme| format!("{grapheme}\n")).collect()
}

/// The clustering of a [`ReactionRow`].
pub fn reaction_of(account_id: &str, number: i64, message_id: &str) -> [Value; 2] {
    [number.into(), format!("{message_id} {account_id}").into()]
}

/// The message that an event is about, if it is about one that stands.
struct Target<'a> {
    message_id: &'a str,
    number: i64,
    /// Whose reaction it is; empty: it is about no reaction.
    reacts: &'a str,
}

fn target(event: &MessagingEvent) -> Option<Target<'_>> {
    let (message_id, number, reacts) = match event {
        MessagingEvent::MessageEdited(event) => (&event.message_id, event.number, ""),
        MessagingEvent::MessageUnsent(event) => (&event.message_id, event.number, ""),
        MessagingEvent::MessageReactionAdded(event) => (&event.message_id, event.number, event.account_id.as_str()),
        MessagingEvent::MessageReactionRemoved(event) => (&event.message_id, event.number, event.account_id.as_str()),
        _ => return None,
    };
    RecordId::parse(message_id)?;
    (reacts.is_empty() || RecordId::parse(reacts).is_some()).then(|| Target {
        message_id,
        number: signed(number),
        reacts,
    })
}

/// The message that such an event is about, with its number; `None`: it is another event, or its ids can be in no key.
pub fn message_of(event: &MessagingEvent) -> Option<(&str, i64)> {
    target(event).map(|target| (target.message_id, target.number))
}

/// With the rows that the event changes; `None`: its ids can be in no key.
pub fn scope(scope: Scope, event: &MessagingEvent) -> Option<Scope> {
    let Target { message_id, number, reacts } = target(event)?;
    let scope = scope.with::<MessageRow>([number.into(), message_id.into()]);
    match reacts {
        "" => Some(scope),
        account_id => Some(scope.with::<ReactionRow>(reaction_of(account_id, number, message_id))),
    }
}

/// What the record makes of the message, and of the conversation; false: nothing.
pub fn apply(
    rows: &mut Rows,
    summary: &mut Summary,
    record: &Record,
    event: &MessagingEvent,
    edit_window_us: i64,
) -> bool {
    let Some(Target { message_id, number, reacts }) = target(event) else { return false };
    let key = || [number.into(), message_id.into()];
    let Some(mut message) = rows.get::<MessageRow>(key()) else { return false };
    let changed = match event {
        // Who has left a group takes back what it said, and says nothing else.
        MessagingEvent::MessageEdited(event) if summary.is_left_by(&event.sender_id) => false,
        MessagingEvent::MessageEdited(event) => {
            let edited = message.edit(event, record, edit_window_us);
            if edited {
                summary.edit(message_id, event.preview.clone().unwrap_or_default());
            }
            edited
        }
        MessagingEvent::MessageUnsent(event) => {
            let unsent = message.unsend(&event.sender_id, record.time);
            if unsent {
                summary.unsend(message_id, number);
            }
            unsent
        }
        MessagingEvent::MessageReactionAdded(_) | MessagingEvent::MessageReactionRemoved(_) => {
            if summary.members.get(reacts).is_none() || message.is_unsent() {
                return false;
            }
            react(rows, &mut message, reaction_of(reacts, number, message_id), (record, event))
        }
        _ => false,
    };
    if changed {
        rows.put(key(), message);
    }
    changed
}

/// Each record counts once, whatever came of it.
fn react(
    rows: &mut Rows,
    message: &mut MessageRow,
    key: [Value; 2],
    (record, event): (&Record, &MessagingEvent),
) -> bool {
    let mut row: ReactionRow = rows.get(key.clone()).unwrap_or_default();
    if !row.applied.insert(record.id) {
        return false;
    }
    match event {
        MessagingEvent::MessageReactionAdded(event) => row.add(&mut message.reactions, &event.grapheme, record.id),
        MessagingEvent::MessageReactionRemoved(event) => row.remove(&mut message.reactions, &event.grapheme),
        _ => {}
    }
    rows.put(key, row);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_five_reactions_and_one_that_was_too_many_never_counts() {
        let (mut row, mut tally) = (ReactionRow::default(), Tally::default());
        for (id, grapheme) in (1..).zip(["e", "d", "c", "b", "a"]) {
            row.add(&mut tally, grapheme, RecordId([id; 16]));
        }
        row.add(&mut tally, "f", RecordId([9; 16]));
        row.add(&mut tally, "a", RecordId([10; 16]));
        assert_eq!(row.graphemes().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        assert!(row.refused.contains(RecordId([9; 16])) && !row.refused.contains(RecordId([10; 16])));
        row.remove(&mut tally, "c");
        row.remove(&mut tally, "c");
        row.add(&mut tally, "f", RecordId([11; 16]));
        assert_eq!(tally.iter().map(|(grapheme, _)| grapheme).collect::<Vec<_>>(), ["a", "b", "d", "e", "f"]);
    }
}
