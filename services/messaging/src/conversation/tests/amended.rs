//! What becomes of messages that stand, and of members' own views.

use kith_proto::messaging::v1::{
    ConversationArchived, ConversationMarkedUnread, ConversationUnarchived, MessageEdited, MessageReactionAdded,
    MessageReactionRemoved, MessageUnsent,
};

use super::*;

pub fn edited(id: u8, (message, number): (u8, u64), by: RecordId, at_us: i64) -> Happened {
    let text = format!("edit {id}");
    let event = MessageEdited {
        conversation_id: CONVERSATION.to_string(),
        message_id: RecordId([message; 16]).to_string(),
        number,
        sender_id: by.to_string(),
        content: Some(Content::close(&said(&text))),
        preview: Some(preview(&text)),
        edit_time: Some(time::of_us(at_us)),
    };
    (RecordId([id; 16]), MessagingEvent::MessageEdited(event))
}

pub fn unsent(id: u8, (message, number): (u8, u64), by: RecordId) -> Happened {
    let event = MessageUnsent {
        conversation_id: CONVERSATION.to_string(),
        message_id: RecordId([message; 16]).to_string(),
        number,
        sender_id: by.to_string(),
        unsend_time: Some(time::of_us(9_000)),
    };
    (RecordId([id; 16]), MessagingEvent::MessageUnsent(event))
}

pub fn reacted(id: u8, (message, number): (u8, u64), by: RecordId, grapheme: &str, adds: bool) -> Happened {
    let (conversation_id, message_id) = (CONVERSATION.to_string(), RecordId([message; 16]).to_string());
    let (account_id, grapheme, create_time) = (by.to_string(), grapheme.to_owned(), None);
    let event = match adds {
        true => MessagingEvent::MessageReactionAdded(MessageReactionAdded {
            conversation_id,
            message_id,
            number,
            account_id,
            grapheme,
            create_time,
        }),
        false => MessagingEvent::MessageReactionRemoved(MessageReactionRemoved {
            conversation_id,
            message_id,
            number,
            account_id,
            grapheme,
            create_time,
        }),
    };
    (RecordId([id; 16]), event)
}

pub fn archived(id: u8, by: RecordId, archived: bool) -> Happened {
    let (conversation_id, account_id, create_time) = (CONVERSATION.to_string(), by.to_string(), None);
    let event = match archived {
        true => MessagingEvent::ConversationArchived(ConversationArchived { conversation_id, account_id, create_time }),
        false => {
            MessagingEvent::ConversationUnarchived(ConversationUnarchived { conversation_id, account_id, create_time })
        }
    };
    (RecordId([id; 16]), event)
}

#[test]
fn given_an_unread_message_when_it_is_unsent_then_nobody_has_it_unread_and_no_row_says_it() {
    let history = [created(10, ADA), sent(1, ADA), sent(2, ADA), sent(3, BOB)];
    let after = |more: &[Happened]| Folded::of(&[&history[..], more].concat());
    assert_eq!(after(&[]).unread(BOB), 2);
    let one = after(&[unsent(20, (1, 1), ADA), unsent(21, (1, 1), ADA)]);
    assert_eq!([ADA, BOB].map(|account| one.unread(account)), [1, 1]);
    assert_eq!(one.inbox[&BOB].1.last_preview, preview("message 3"));
    let last = after(&[unsent(20, (3, 3), BOB)]);
    for (_, row) in last.inbox.values() {
        assert!(row.last_unsent && row.last_preview.is_empty() && row.last_message_number == 3);
    }
    assert_eq!([ADA, BOB].map(|account| last.unread(account)), [0, 2]);
    for no_reason in [unsent(20, (3, 3), ADA), unsent(20, (3, 2), BOB), unsent(20, (4, 4), ADA)] {
        assert_eq!(after(&[no_reason]).seen(), after(&[]).seen(), "not hers, or no such message");
    }
    let (_, row) = &after(&[unsent(20, (3, 3), BOB), sent(4, ADA)]).inbox[&BOB];
    assert_eq!((row.last_unsent, &row.last_preview), (false, &preview("message 4")));
}

#[test]
fn given_the_last_message_when_it_is_edited_in_time_then_inboxes_say_so() {
    let history = [created(10, ADA), sent(1, ADA), sent(2, ADA)];
    let shown = |more: &[Happened]| Folded::of(&[&history[..], more].concat()).inbox[&BOB].1.last_preview.clone();
    assert_eq!(shown(&[edited(20, (2, 2), ADA, 4_500)]), preview("edit 20"));
    assert_eq!(shown(&[edited(20, (2, 2), ADA, 4_501)]), preview("message 2"), "too late");
    assert_eq!(shown(&[edited(20, (1, 1), ADA, 1_500)]), preview("message 2"), "not the last one");
    assert_eq!(shown(&[unsent(21, (2, 2), ADA), edited(20, (2, 2), ADA, 2_500)]), Content::default());
}

#[test]
fn given_reactions_when_they_are_taken_back_or_the_message_is_unsent_then_they_are_gone() {
    let history =
        [created(10, ADA), sent(1, ADA), reacted(20, (1, 1), BOB, "x", true), reacted(21, (1, 1), ADA, "x", true)];
    let tally = |more: &[Happened]| {
        let folded = Folded::of(&[&history[..], more].concat());
        let (_, _, row) = folded.message_rows().next().unwrap();
        row.reactions.iter().map(|(grapheme, count)| (grapheme.to_owned(), count)).collect::<Vec<_>>()
    };
    assert_eq!(tally(&[]), [("x".to_owned(), 2)]);
    assert_eq!(
        tally(&[reacted(22, (1, 1), BOB, "x", false), reacted(20, (1, 1), BOB, "x", true)]),
        [("x".to_owned(), 1)]
    );
    assert_eq!(tally(&[reacted(22, (1, 1), EVE, "y", true)]), [("x".to_owned(), 2)], "she is not in it");
    assert_eq!(tally(&[unsent(22, (1, 1), ADA), reacted(23, (1, 1), BOB, "y", true)]), []);
    assert_eq!(Folded::of(&history).unread(BOB), 1, "reactions are no messages");
}

#[test]
fn given_a_conversation_that_was_put_away_when_the_record_comes_again_then_it_stays_where_it_was_taken_to() {
    let history = [created(10, ADA), sent(1, ADA), archived(20, BOB, true), archived(21, BOB, false)];
    let view = |more: &[Happened]| Folded::of(&[&history[..], more].concat()).inbox[&BOB].1.own_view;
    assert_eq!(view(&[archived(20, BOB, true)]).archived_at, None, "a copy");
    assert_eq!(view(&[archived(22, BOB, true), sent(2, ADA)]).archived_at, Some(1));
    assert_eq!(Folded::of(&history).inbox[&ADA].1.own_view.archived_at, None, "nobody else's");
}

#[test]
fn given_a_mark_that_was_cleared_when_its_command_comes_again_then_it_stays_cleared() {
    let marked = |id: u8, mark: u64| {
        let (conversation_id, account_id) = (CONVERSATION.to_string(), BOB.to_string());
        let event = ConversationMarkedUnread { conversation_id, account_id, mark, create_time: None };
        (RecordId([id; 16]), MessagingEvent::ConversationMarkedUnread(event))
    };
    let cleared = ReadMarkerMoved {
        conversation_id: CONVERSATION.to_string(),
        account_id: BOB.to_string(),
        clears_mark: 1,
        ..ReadMarkerMoved::default()
    };
    let cleared = (RecordId([21; 16]), MessagingEvent::ReadMarkerMoved(cleared));
    let history = [created(10, ADA), marked(20, 1), cleared];
    let is_marked = |more: &[Happened]| Folded::of(&[&history[..], more].concat()).inbox[&BOB].1.own_view.is_marked();
    assert!(!is_marked(&[]) && !is_marked(&[marked(20, 1)]) && !is_marked(&[marked(20, 2)]));
    assert!(is_marked(&[marked(22, 2)]), "another command");
}
