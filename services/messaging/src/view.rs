//! A member's own view of a conversation: muted, put away, marked as unread. Pure.
//!
//! No fold looks at a clock: that a mute ends, and what a message brings back, is a function of the row and of the time at which it is
//! read.

use std::fmt;

use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::time;
use kith_tables::{Cell, Kind, Value};

/// In [`View::muted_until_us`]: until it is unmuted.
pub const FOR_EVER: i64 = i64::MAX;

/// Shown as `muted,archived,marks,cleared`, or as nothing if there is nothing to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Microseconds since 1970; 0: it is not muted.
    pub muted_until_us: i64,
    /// The number of the last message when it was put away.
    pub archived_at: Option<i64>,
    /// How often it was marked as unread, and up to which of these marks that is over: both only rise, so no late copy of a record sets
    /// or clears a mark again. A repeated command that comes to another mark is known by its id, as all changes of a view are.
    pub marks: i64,
    pub cleared: i64,
}

impl View {
    pub fn is_muted(&self, at_us: i64) -> bool {
        self.muted_until_us > at_us
    }

    /// A message behind the one at which it was put away brings it back, once it is not muted.
    pub fn is_archived(&self, last_number: i64, at_us: i64) -> bool {
        self.archived_at.is_some_and(|archived_at| last_number <= archived_at || self.is_muted(at_us))
    }

    pub fn is_marked(&self) -> bool {
        self.marks > self.cleared
    }

    /// The member says to have read, having seen these marks.
    pub fn clear(&mut self, marks: i64) {
        self.cleared = self.cleared.max(marks.min(self.marks));
    }

    /// What an event of the member's makes of it, where the last message has that number, and marks are numbered from there on.
    pub fn change(&mut self, event: &MessagingEvent, last_number: i64, marks_from: i64) {
        match event {
            MessagingEvent::ConversationMuted(muted) => {
                self.muted_until_us = muted.until.as_ref().map_or(FOR_EVER, |until| time::unix_us(Some(until)).max(0));
            }
            MessagingEvent::ConversationUnmuted(_) => self.muted_until_us = 0,
            MessagingEvent::ConversationArchived(_) => self.archived_at = Some(last_number),
            MessagingEvent::ConversationUnarchived(_) => self.archived_at = None,
            MessagingEvent::ConversationMarkedUnread(marked) => {
                let mark = i64::try_from(marked.mark).unwrap_or(i64::MAX);
                self.marks = self.marks.max(mark.saturating_sub(marks_from));
            }
            _ => {}
        }
    }

    /// Reads what [`fmt::Display`] shows; `None`: it is not of this form.
    pub fn parse(shown: &str) -> Option<Self> {
        if shown.is_empty() {
            return Some(Self::default());
        }
        let mut parts = shown.split(',');
        let mut next = || parts.next();
        let (muted, archived, marks, cleared) = (next()?, next()?, next()?, next()?);
        let archived_at = if archived.is_empty() { None } else { Some(archived.parse().ok()?) };
        let (marks, cleared) = (marks.parse().ok()?, cleared.parse().ok()?);
        let view = Self { muted_until_us: muted.parse().ok()?, archived_at, marks, cleared };
        (parts.next().is_none() && view != Self::default()).then_some(view)
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        let archived = self.archived_at.map(|number| number.to_string()).unwrap_or_default();
        write!(f, "{},{archived},{},{}", self.muted_until_us, self.marks, self.cleared)
    }
}

impl Cell for View {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        Value::Text(self.to_string())
    }

    fn from_value(value: Value) -> Option<Self> {
        Self::parse(&String::from_value(value)?)
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::messaging::v1::{
        ConversationArchived, ConversationMarkedUnread, ConversationMuted, ConversationUnarchived, ConversationUnmuted,
    };

    use super::*;

    fn muted(until_us: Option<i64>) -> MessagingEvent {
        let until = until_us.map(time::of_us);
        MessagingEvent::ConversationMuted(ConversationMuted { until, ..ConversationMuted::default() })
    }

    fn marked(mark: u64) -> MessagingEvent {
        MessagingEvent::ConversationMarkedUnread(ConversationMarkedUnread {
            mark,
            ..ConversationMarkedUnread::default()
        })
    }

    #[test]
    fn a_mute_ends_at_its_time_and_not_in_a_fold() {
        let mut view = View::default();
        view.change(&muted(Some(50)), 0, 0);
        assert_eq!([49, 50, 51].map(|at| view.is_muted(at)), [true, false, false]);
        view.change(&muted(None), 0, 0);
        assert!(view.is_muted(i64::MAX - 1));
        view.change(&MessagingEvent::ConversationUnmuted(ConversationUnmuted::default()), 0, 0);
        assert!(!view.is_muted(0));
    }

    #[test]
    fn a_message_brings_back_what_was_put_away_unless_it_is_muted() {
        let mut view = View::default();
        view.change(&MessagingEvent::ConversationArchived(ConversationArchived::default()), 3, 0);
        assert_eq!([3, 4].map(|last| view.is_archived(last, 10)), [true, false]);
        view.change(&muted(Some(50)), 4, 0);
        assert_eq!([10, 50].map(|at| view.is_archived(4, at)), [true, false], "it comes back when the mute ends");
        view.change(&MessagingEvent::ConversationUnarchived(ConversationUnarchived::default()), 4, 0);
        assert!(!view.is_archived(4, 10));
    }

    #[test]
    fn a_mark_is_cleared_by_who_has_seen_it_and_by_no_copy() {
        let mut view = View::default();
        view.change(&marked(1), 0, 0);
        assert!(view.is_marked());
        view.clear(0);
        assert!(view.is_marked(), "that had not seen it");
        view.clear(1);
        view.change(&marked(1), 0, 0);
        assert!(!view.is_marked(), "a copy");
        view.change(&marked(2), 0, 0);
        view.clear(1);
        assert!(view.is_marked(), "a copy");
        view.clear(99);
        assert_eq!((view.is_marked(), view.cleared), (false, 2), "never more than there are");
        let mut joined_again = View::default();
        joined_again.change(&marked(2), 0, 40);
        assert!(!joined_again.is_marked(), "a copy of a mark of the membership before");
        joined_again.change(&marked(41), 0, 40);
        assert!(joined_again.is_marked());
    }

    #[test]
    fn a_view_reads_back() {
        for view in [
            View::default(),
            View { muted_until_us: FOR_EVER, archived_at: Some(0), marks: 2, cleared: 1 },
            View { marks: 1, ..View::default() },
        ] {
            assert_eq!(View::parse(&view.to_string()), Some(view));
        }
        for damaged in ["x", "0,,0,0", "1", "1,,1", "1,x,1,0", "1,,1,0,5"] {
            assert_eq!(View::parse(damaged), None, "{damaged}");
        }
    }
}
