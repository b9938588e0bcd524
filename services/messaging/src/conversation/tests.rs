use std::collections::BTreeMap;

use kith_log::{LogPartition, Position};
use kith_proto::messaging::v1::{ConversationCreated, ConversationKind, MessageContent, ReadMarkerMoved};
use kith_proto::time;
use proptest::prelude::*;

use super::*;
use crate::inbox::InboxRow;

const FOLD: Conversations = Conversations { place_us: 3_600_000_000 };
const CONVERSATION: RecordId = RecordId([0xc0; 16]);
const ADA: RecordId = RecordId([1; 16]);
const BOB: RecordId = RecordId([2; 16]);
const EVE: RecordId = RecordId([3; 16]);
const MESSAGE_IDS: u8 = 6;

type Happened = (RecordId, MessagingEvent);

fn created(id: u8, by: RecordId) -> Happened {
    let event = ConversationCreated {
        conversation_id: CONVERSATION.to_string(),
        kind: ConversationKind::Direct.into(),
        member_ids: vec![ADA.to_string(), BOB.to_string()],
        creator_id: by.to_string(),
        create_time: Some(time::of_us(i64::from(id))),
    };
    (RecordId([id; 16]), MessagingEvent::ConversationCreated(event))
}

fn sent(message: u8, by: RecordId) -> Happened {
    let event = MessageSent {
        conversation_id: CONVERSATION.to_string(),
        message_id: RecordId([message; 16]).to_string(),
        sender_id: by.to_string(),
        content: Some(Content::close(&MessageContent { text: format!("message {message}") })),
        create_time: Some(time::of_us(i64::from(message) * 1_000)),
        payload_digest: vec![message].into(),
    };
    (RecordId([message; 16]), MessagingEvent::MessageSent(event))
}

fn read(id: u8, by: RecordId, up_to_number: u64) -> Happened {
    let event = ReadMarkerMoved {
        conversation_id: CONVERSATION.to_string(),
        account_id: by.to_string(),
        up_to_number,
        create_time: None,
    };
    (RecordId([id; 16]), MessagingEvent::ReadMarkerMoved(event))
}

/// Messages, the conversation, its rows in the inboxes.
type Seen = (BTreeMap<i64, (String, u8)>, Summary, Vec<(RecordId, InboxRow)>);

/// What the fold made of a history.
struct Folded {
    rows: Rows,
    inbox: BTreeMap<RecordId, (u64, InboxRow)>,
}

impl Folded {
    fn of(history: &[Happened]) -> Self {
        let mut folded = Self { rows: Rows::new(&CONVERSATIONS, 7_000), inbox: BTreeMap::new() };
        for id in 0..=MESSAGE_IDS {
            folded.rows.load_empty(&FOLD.scope(&record(0, &sent(id, ADA))).unwrap());
        }
        for (offset, happened) in (0..).zip(history) {
            let record = record(offset, happened);
            folded.rows.apply_at(offset, |rows| FOLD.apply(rows, &record));
            folded.spread(&record);
        }
        folded
    }

    /// Also what is emitted on a replay, from rows later than the record.
    fn spread(&mut self, record: &Record) {
        for effect in FOLD.effects(&self.rows, record) {
            let Effect::Put(put) = effect else { panic!("not a put") };
            let Value::Text(account) = &put.partition.0[0] else { panic!("not an account") };
            if put.write.key.section != InboxRow::SECTION {
                continue;
            }
            let position = put.write.position;
            let row = (position, put.write.into_row().unwrap().read::<InboxRow>().unwrap());
            let held = self.inbox.entry(RecordId::parse(account).unwrap()).or_insert(row.clone());
            if held.0 < row.0 {
                *held = row;
            }
        }
    }

    fn summary(&self) -> Summary {
        self.rows.summary()
    }

    /// Who wrote each message and which, by number.
    fn messages(&self) -> BTreeMap<i64, (String, u8)> {
        self.message_rows().map(|(number, id, row)| (number, (row.sender_id, id))).collect()
    }

    /// When each message was written, by number.
    fn times(&self) -> Vec<Timestamp> {
        let times: BTreeMap<i64, Timestamp> =
            self.message_rows().map(|(number, _, row)| (number, row.create_time)).collect();
        times.into_values().collect()
    }

    fn message_rows(&self) -> impl Iterator<Item = (i64, u8, MessageRow)> + '_ {
        (0..=MESSAGE_IDS).filter_map(|id| {
            let key = RecordId([id; 16]).to_string();
            let number = self.rows.get::<MessageIdRow>(under_id(&key))?.message_number;
            Some((number, id, self.rows.get::<MessageRow>([number.into(), key.as_str().into()])?))
        })
    }

    /// All that callers can see.
    fn seen(&self) -> Seen {
        let inbox = self.inbox.iter().map(|(&account, (_, row))| (account, row.clone())).collect();
        (self.messages(), self.summary(), inbox)
    }

    fn unread(&self, account: RecordId) -> i64 {
        self.inbox.get(&account).map_or(0, |(_, row)| row.unread_count)
    }
}

fn record(offset: u64, (id, event): &Happened) -> Record {
    let partition = LogPartition { topic: topics::MESSAGING, index: 0 };
    Record::new(Position { partition, offset }, *id, event.clone())
}

#[test]
fn given_a_conversation_when_it_is_created_again_then_the_first_stands() {
    let folded = Folded::of(&[created(10, ADA), sent(1, BOB), created(11, BOB)]);
    assert_eq!(folded.summary().creator_id, ADA.to_string());
    assert_eq!(folded.summary().create_time, Timestamp(10));
    assert_eq!(folded.messages().len(), 1);
}

#[test]
fn given_messages_when_a_member_writes_then_the_others_count_grows_and_his_own_stays() {
    let folded = Folded::of(&[created(10, ADA), sent(1, ADA), sent(2, ADA), sent(3, BOB), sent(4, ADA)]);
    assert_eq!(
        folded.messages().into_iter().map(|(number, (_, id))| (number, id)).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 3), (4, 4)]
    );
    assert_eq!([ADA, BOB].map(|account| folded.unread(account)), [1, 3]);
    assert_eq!([ADA, BOB].map(|account| folded.inbox[&account].1.read_number), [2, 0]);
    assert_eq!(folded.inbox[&BOB].1.last_message_time, Timestamp(4_000));
}

#[test]
fn given_a_message_of_a_wrong_clock_then_those_behind_it_keep_their_time() {
    let times = |said: &[i64]| {
        let (mut summary, (_, event)) = (Folded::of(&[created(10, ADA)]).summary(), sent(1, ADA));
        let MessagingEvent::MessageSent(event) = event else { unreachable!() };
        let send = |&at: &i64| {
            summary.send(&event, Timestamp(at)).unwrap();
            summary.last_message_time.0
        };
        said.iter().map(send).collect::<Vec<_>>()
    };
    let year_us = 365 * 24 * 3_600 * 1_000_000;
    assert_eq!(times(&[1_000, 900, 950, 2_000]), [1_000, 1_001, 1_002, 2_000]);
    assert_eq!(times(&[1_000, year_us, 2_000, 1_500]), [1_000, year_us, 2_000, 2_001]);
}

#[test]
fn given_two_unread_messages_when_their_reader_sends_one_then_two_are_unread() {
    let history = [created(10, ADA), sent(1, BOB), sent(2, BOB), sent(3, ADA)];
    let folded = Folded::of(&history);
    assert_eq!([ADA, BOB].map(|account| folded.unread(account)), [2, 1]);
    let read_one = Folded::of(&[&history[..], &[read(20, ADA, 1)]].concat());
    assert_eq!((read_one.unread(ADA), read_one.inbox[&ADA].1.read_number), (1, 1));
    let read_both = Folded::of(&[&history[..], &[read(20, ADA, 2)]].concat());
    assert_eq!((read_both.unread(ADA), read_both.inbox[&ADA].1.read_number), (0, 3), "past her own");
}

#[test]
fn given_messages_that_cross_when_both_are_there_then_each_is_unread_by_the_other() {
    let folded = Folded::of(&[created(10, ADA), sent(1, ADA), sent(2, BOB), sent(3, ADA), sent(4, BOB)]);
    assert_eq!([ADA, BOB].map(|account| folded.unread(account)), [2, 2]);
}

#[test]
fn given_a_marker_when_a_smaller_or_too_large_number_comes_then_it_never_goes_back_nor_past_the_end() {
    let history = [created(10, ADA), sent(1, ADA), sent(2, ADA), read(20, BOB, 2), read(21, BOB, 1), sent(3, ADA)];
    assert_eq!(Folded::of(&history).unread(BOB), 1);
    let too_far =
        [&history[..], &[read(22, BOB, u64::MAX), sent(4, ADA), sent(5, ADA), read(22, BOB, u64::MAX)]].concat();
    assert_eq!(Folded::of(&too_far).unread(BOB), 2, "a copy is not clamped at another place");
}

#[test]
fn given_someone_who_is_no_member_when_he_writes_or_reads_then_nothing_changes() {
    let folded = Folded::of(&[created(10, ADA), sent(1, EVE), read(20, EVE, 1), sent(2, ADA)]);
    assert_eq!(folded.messages().into_keys().collect::<Vec<_>>(), [1]);
    assert_eq!(folded.inbox.keys().copied().collect::<Vec<_>>(), [ADA, BOB]);
    assert_eq!(Folded::of(&[sent(1, ADA), read(20, ADA, 1)]).summary(), Summary::default());
}

#[test]
fn events_without_ids_concern_no_conversation() {
    let events = [
        MessagingEvent::ConversationCreated(ConversationCreated::default()),
        MessagingEvent::ReadMarkerMoved(ReadMarkerMoved::default()),
        MessagingEvent::MessageSent(MessageSent {
            conversation_id: CONVERSATION.to_string(),
            ..MessageSent::default()
        }),
    ];
    for event in events {
        assert!(FOLD.scope(&record(0, &(ADA, event))).is_none());
    }
    let nobody = ConversationCreated { conversation_id: CONVERSATION.to_string(), ..ConversationCreated::default() };
    let folded = Folded::of(&[(ADA, MessagingEvent::ConversationCreated(nobody)), created(10, ADA)]);
    assert!(folded.summary().exists(), "one without members is none");
}

fn anyone() -> impl Strategy<Value = RecordId> {
    prop_oneof![4 => Just(ADA), 4 => Just(BOB), 1 => Just(EVE)]
}

/// Record ids differ but for messages, whose ids may repeat: a client that repeats itself.
fn any_history() -> impl Strategy<Value = Vec<Happened>> {
    let event = prop_oneof![
        1 => anyone().prop_map(|by| created(0, by)),
        4 => (0..=MESSAGE_IDS, anyone()).prop_map(|(message, by)| sent(message, by)),
        3 => (anyone(), 0..8_u64).prop_map(|(by, number)| read(0, by, number)),
    ];
    prop::collection::vec(event, 1..30).prop_map(|events| {
        let with_id = |(n, (id, event)): (u8, Happened)| match event {
            MessagingEvent::MessageSent(_) => (id, event),
            _ => (RecordId([100 + n; 16]), event),
        };
        (0..).zip(events).map(with_id).collect()
    })
}

/// The same, written down as naively as can be: messages in a list, markers in a map.
fn naive_unread(history: &[Happened], account: RecordId) -> usize {
    let (mut exists, mut messages, mut markers) = (false, Vec::<&MessageSent>::new(), BTreeMap::<String, usize>::new());
    for (_, event) in history {
        match event {
            MessagingEvent::ConversationCreated(_) => exists = true,
            MessagingEvent::MessageSent(message) => {
                let is_member = exists && message.sender_id != EVE.to_string();
                if is_member && messages.iter().all(|known| known.message_id != message.message_id) {
                    messages.push(message);
                }
            }
            MessagingEvent::ReadMarkerMoved(moved) => {
                let marker = markers.entry(moved.account_id.clone()).or_insert(0);
                *marker = (*marker).max((moved.up_to_number as usize).min(messages.len()));
            }
        }
    }
    let account = account.to_string();
    let marker = markers.get(&account).copied().unwrap_or(0);
    messages.iter().skip(marker).filter(|message| message.sender_id != account).count()
}

proptest! {
    #[test]
    fn unread_counts_are_what_messages_and_markers_give(history in any_history()) {
        let folded = Folded::of(&history);
        for account in [ADA, BOB] {
            prop_assert_eq!(folded.unread(account), naive_unread(&history, account) as i64);
        }
        let numbers: Vec<i64> = folded.messages().into_keys().collect();
        prop_assert_eq!(&numbers, &(1..=folded.summary().last_number).collect::<Vec<_>>(), "dense, from 1");
        prop_assert!(folded.times().windows(2).all(|pair| pair[0] < pair[1]), "later messages have later times");
        prop_assert!(!folded.inbox.contains_key(&EVE));
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
        let mut with_copy = history.clone();
        with_copy.insert(place, history[copied].clone());
        prop_assert_eq!(Folded::of(&with_copy).seen(), Folded::of(&history).seen());
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
        folded.inbox.clear();
        for (offset, happened) in (0..).zip(&history) {
            folded.spread(&record(offset, happened));
        }
        prop_assert_eq!(folded.seen(), before);
    }
}
