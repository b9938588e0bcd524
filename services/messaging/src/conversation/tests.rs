mod amended;
mod groups;
mod histories;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use kith_content::Content;
use kith_log::{LogPartition, Position};
use kith_proto::messaging::v1::{
    ConversationAccepted, ConversationCreated, ConversationDeclined, ConversationKind, MessageContent, MessagePreview,
    MessageSent, ReadMarkerMoved,
};
use kith_proto::time;
use kith_tables::Timestamp;

use super::*;
use crate::inbox::InboxRow;
use crate::requests::{OpenedRow, RequestRow};

const FOLD: Conversations = Conversations { place_us: 3_600_000_000, edit_window_us: 2_500 };
const CONVERSATION: RecordId = RecordId([0xc0; 16]);
const ADA: RecordId = RecordId([1; 16]);
const BOB: RecordId = RecordId([2; 16]);
const EVE: RecordId = RecordId([3; 16]);
const MESSAGE_IDS: u8 = 6;

type Happened = (RecordId, MessagingEvent);

fn created(id: u8, by: RecordId) -> Happened {
    opened(id, by, &[])
}

fn opened(id: u8, by: RecordId, asked: &[RecordId]) -> Happened {
    let event = ConversationCreated {
        conversation_id: CONVERSATION.to_string(),
        kind: ConversationKind::Direct.into(),
        member_ids: vec![ADA.to_string(), BOB.to_string()],
        creator_id: by.to_string(),
        create_time: Some(time::of_us(i64::from(id))),
        asked_member_ids: asked.iter().map(RecordId::to_string).collect(),
        seen_identity_offset: 0,
    };
    (RecordId([id; 16]), MessagingEvent::ConversationCreated(event))
}

fn accepted(id: u8, by: RecordId) -> Happened {
    let (conversation_id, account_id) = (CONVERSATION.to_string(), by.to_string());
    let event = ConversationAccepted { conversation_id, account_id, create_time: None, seat: 0 };
    (RecordId([id; 16]), MessagingEvent::ConversationAccepted(event))
}

fn declined(id: u8, by: RecordId) -> Happened {
    let (conversation_id, account_id) = (CONVERSATION.to_string(), by.to_string());
    let event = ConversationDeclined { conversation_id, account_id, create_time: None, seat: 0 };
    (RecordId([id; 16]), MessagingEvent::ConversationDeclined(event))
}

fn sent(message: u8, by: RecordId) -> Happened {
    let event = MessageSent {
        conversation_id: CONVERSATION.to_string(),
        message_id: RecordId([message; 16]).to_string(),
        sender_id: by.to_string(),
        content: Some(Content::close(&said(&format!("message {message}")))),
        create_time: Some(time::of_us(i64::from(message) * 1_000)),
        payload_digest: vec![message].into(),
        preview: Some(preview(&format!("message {message}"))),
        ..MessageSent::default()
    };
    (RecordId([message; 16]), MessagingEvent::MessageSent(event))
}

fn read(id: u8, by: RecordId, up_to_number: u64) -> Happened {
    let event = ReadMarkerMoved {
        conversation_id: CONVERSATION.to_string(),
        account_id: by.to_string(),
        up_to_number,
        ..ReadMarkerMoved::default()
    };
    (RecordId([id; 16]), MessagingEvent::ReadMarkerMoved(event))
}

fn said(text: &str) -> MessageContent {
    MessageContent { text: text.to_owned(), ..MessageContent::default() }
}

fn preview(text: &str) -> Content {
    Content::close(&MessagePreview { text: text.to_owned() })
}

/// Messages, the conversation, its rows in the inboxes and among the requests, and who has a place where to look for it.
type Seen =
    (BTreeMap<i64, (String, u8)>, Summary, Vec<(RecordId, InboxRow)>, Vec<(RecordId, RequestRow)>, BTreeSet<RecordId>);

/// What the fold made of a history.
struct Folded {
    rows: Rows,
    inbox: BTreeMap<RecordId, (u64, InboxRow)>,
    requests: BTreeMap<RecordId, (u64, RequestRow)>,
    /// At which position it was put or, if false, removed.
    opened: BTreeMap<RecordId, (u64, bool)>,
}

/// What is written at a later position stands.
fn newest<T>(held: &mut BTreeMap<RecordId, (u64, T)>, account: RecordId, position: u64, value: T) {
    if held.get(&account).is_none_or(|(before, _)| *before < position) {
        held.insert(account, (position, value));
    }
}

impl Folded {
    fn of(history: &[Happened]) -> Self {
        Self::at((0..).zip(history))
    }

    /// With offsets between which others may come.
    fn at<'h>(history: impl Iterator<Item = (u64, &'h Happened)>) -> Self {
        let rows = Rows::new(&CONVERSATIONS, 7_000);
        let mut folded = Self { rows, inbox: BTreeMap::new(), requests: BTreeMap::new(), opened: BTreeMap::new() };
        for id in 0..=MESSAGE_IDS {
            folded.rows.load_empty(&FOLD.scope(&record(0, &sent(id, ADA))).unwrap());
        }
        for (offset, happened) in history {
            let record = record(offset, happened);
            FOLD.scope(&record).into_iter().for_each(|scope| folded.rows.load_empty(&scope));
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
            let (account, position) = (RecordId::parse(account).unwrap(), put.write.position);
            let (is_request, section) = (put.table.name == requests::REQUESTS.name, put.write.key.section);
            let row = put.write.into_row();
            match (is_request, section) {
                (false, InboxRow::SECTION) => {
                    newest(&mut self.inbox, account, position, row.unwrap().read::<InboxRow>().unwrap());
                }
                (true, RequestRow::SECTION) => {
                    newest(&mut self.requests, account, position, row.unwrap().read::<RequestRow>().unwrap());
                }
                (true, OpenedRow::SECTION) => newest(&mut self.opened, account, position, row.is_some()),
                _ => {}
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
        let requests = self.requests.iter().map(|(&account, (_, row))| (account, row.clone())).collect();
        let opened = self.opened.iter().filter(|(_, (_, stands))| *stands).map(|(&account, _)| account).collect();
        (self.messages(), self.summary(), inbox, requests, opened)
    }

    /// Whether it waits among the account's requests, by the place and by the row.
    fn waits(&self, account: RecordId) -> [bool; 2] {
        let (.., requests, opened) = self.seen();
        [opened.contains(&account), requests.iter().any(|(who, row)| *who == account && row.waits)]
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
            summary.send(&event, Timestamp(at), 1).unwrap();
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
    let full = [opened(10, ADA, &[BOB]), sent(1, ADA), sent(2, ADA), sent(3, ADA)];
    let taken = Folded::of(&[&full[..], &[sent(4, EVE), accepted(20, BOB), sent(4, ADA)]].concat());
    assert_eq!(taken.messages().len(), 4, "nor does she take an id");
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

#[test]
fn given_a_request_when_it_is_accepted_or_answered_then_it_is_in_the_inbox_once() {
    let history = [opened(10, ADA, &[BOB]), sent(1, ADA), sent(2, ADA)];
    let asked = Folded::of(&history);
    assert_eq!((asked.waits(BOB), asked.inbox.contains_key(&BOB)), ([true; 2], false));
    assert_eq!(asked.requests[&BOB].1.unread_count, 2);
    assert!(
        asked.inbox.contains_key(&ADA) && asked.waits(ADA) == [false; 2],
        "for who opened it, it is a conversation"
    );
    for (acceptance, unread) in [(accepted(20, BOB), 2), (sent(3, BOB), 2)] {
        let once = [&history[..], std::slice::from_ref(&acceptance)].concat();
        let folded = Folded::of(&once);
        assert_eq!((folded.waits(BOB), folded.unread(BOB)), ([false; 2], unread));
        let twice = [&once[..], &[accepted(21, BOB), declined(22, BOB)]].concat();
        assert_eq!(Folded::of(&twice).seen(), folded.seen());
        assert_eq!(folded.inbox[&BOB].1.places.standing()[0].entered, 3, "since it was accepted");
    }
}

#[test]
fn given_a_request_that_was_declined_when_its_sender_writes_on_then_it_stays_away() {
    let history = [opened(10, ADA, &[BOB]), sent(1, ADA), declined(20, BOB)];
    let folded = Folded::of(&[&history[..], &[sent(2, ADA), opened(11, ADA, &[BOB]), declined(21, BOB)]].concat());
    assert_eq!((folded.waits(BOB), folded.inbox.contains_key(&BOB)), ([false; 2], false));
    assert_eq!(folded.summary().last_number, 2, "whose sender has it as ever");
    let accepted = Folded::of(&[&history[..], &[sent(2, ADA), accepted(30, BOB)]].concat());
    assert_eq!(accepted.unread(BOB), 2);
}

#[test]
fn given_a_request_when_more_messages_come_than_may_wait_then_they_are_none_for_ever() {
    let full = [opened(10, ADA, &[BOB]), sent(1, ADA), sent(2, ADA), sent(3, ADA), sent(4, ADA)];
    assert_eq!(Folded::of(&full).messages().len(), 3);
    let later = [&full[..], &[accepted(20, BOB), sent(4, ADA), sent(5, ADA)]].concat();
    assert_eq!(Folded::of(&later).messages().into_values().map(|(_, id)| id).collect::<Vec<_>>(), [1, 2, 3, 5]);
}
