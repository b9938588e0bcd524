use std::time::Duration;

use bytes::Bytes;
use kith_fold::engine::{self, FoldMetrics, Pace, Ports, Running};
use kith_fold::{Cause, Publisher};
use kith_log::embedded::EmbeddedLog;
use kith_log::{Header, MAX_RECORD_BYTES, NewRecord, Position, Record, Topic, headers, topics};
use kith_proto::deadletters::v1::DeadLetter;
use kith_proto::ops::v1::{DeadLetterState, DeadLetterSummary, LoggedEvent};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_tables::embedded::EmbeddedTables;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;

const PARTITIONS: u16 = 4;
const GARBAGE: &[u8] = b"\xff\xff\xff\xff";
const BEGIN_MS: i64 = 1_700_000_000_000;

struct Desk {
    ports: Ports,
    events: Events,
    _folder: tempfile::TempDir,
}

async fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::simulated(1, BEGIN_MS);
    let log = EmbeddedLog::open(&folder.path().join("log"), PARTITIONS, runtime.clone()).unwrap();
    log.create_topics(&topics::ALL).await.unwrap();
    let tables = EmbeddedTables::open(folder.path().join("tables"), runtime.clone()).unwrap();
    let ports = Ports { runtime, log, tables, metrics: FoldMetrics::default(), pace: Pace::default() };
    let events = events(&ports).await;
    Desk { ports, events, _folder: folder }
}

/// The service of another process, as it were.
async fn events(ports: &Ports) -> Events {
    let operations = Operations::open(Arc::clone(&ports.log), ports.runtime.clone()).await.unwrap();
    let page_tokens = Arc::new(PageTokens::new(&[7; 32]).unwrap());
    let log = Arc::clone(&ports.log);
    let shared = Shared {
        letters: Letters::new(Arc::clone(&log)),
        log,
        operations: Arc::new(operations),
        page_tokens,
        runtime: ports.runtime.clone(),
        shapes: Shapes::default(),
    };
    Events { shared: Arc::new(shared) }
}

impl Desk {
    async fn post(&self, key: &str, id: u128) -> Position {
        let event = Post::PostCreated(PostCreated { post_id: key.to_owned(), ..PostCreated::default() });
        let publisher = Publisher::new(Arc::clone(&self.ports.log), self.ports.runtime.clone(), "posts");
        let id = RecordId(id.to_be_bytes());
        publisher.append(topics::POSTS, key, id, &event.into(), &Cause::default()).await.unwrap()
    }

    async fn raw(&self, topic: Topic, key: &str, headers: &[(&str, &str)], value: &'static [u8]) -> Position {
        let headers = headers.iter().map(|(name, value)| Header::new(name, (*value).to_owned())).collect();
        let record = NewRecord { topic, key: key.to_owned(), headers, value: Bytes::from_static(value) };
        self.ports.log.append(record).await.unwrap()
    }

    /// Folds posts until as many letters stand in the log.
    async fn fold(&self, letters: u64) -> Running {
        let group = kith_posts::group(1);
        engine::create(&self.ports, &group).await.unwrap();
        let running = engine::start(&self.ports, group, true).await.unwrap();
        for _ in 0..10_000 {
            if self.ports.log.heads(topics::DEAD_LETTERS).await.unwrap().iter().sum::<u64>() >= letters {
                return running;
            }
            self.ports.runtime.sleep(Duration::from_millis(10)).await;
        }
        panic!("the letters never came");
    }

    async fn record(&self, topic: &str, partition: u32, offset: u64) -> Record {
        let partition = kith_log::LogPartition { topic: topics::by_name(topic).unwrap(), index: partition as u16 };
        let mut reader = self.ports.log.read(partition, offset).await.unwrap();
        reader.next().await.unwrap().unwrap().remove(0)
    }

    async fn read(&self, request: wire::ReadEventsRequest) -> Result<wire::ReadEventsResponse, Status> {
        self.events.read_events(Request::new(request)).await.map(Response::into_inner)
    }

    /// All pages, and how many there were.
    async fn read_all(&self, mut request: wire::ReadEventsRequest) -> (Vec<LoggedEvent>, usize) {
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let page = self.read(request.clone()).await.unwrap();
            all.extend(page.events);
            pages += 1;
            if page.next_page_token.is_empty() {
                return (all, pages);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn list(&self, request: wire::ListDeadLettersRequest) -> Vec<DeadLetterSummary> {
        let (mut all, mut request) = (Vec::new(), request);
        loop {
            let page = self.events.list_dead_letters(Request::new(request.clone())).await.unwrap().into_inner();
            all.extend(page.letters);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn get(&self, letter_id: &str) -> Result<wire::GetDeadLetterResponse, Status> {
        let request = wire::GetDeadLetterRequest { letter_id: letter_id.to_owned() };
        self.events.get_dead_letter(Request::new(request)).await.map(Response::into_inner)
    }

    async fn retry(&self, letter_id: &str) -> Result<wire::RetryDeadLetterResponse, Status> {
        let request = wire::RetryDeadLetterRequest { letter_id: letter_id.to_owned() };
        self.events.retry_dead_letter(Request::new(request)).await.map(Response::into_inner)
    }

    async fn discard(&self, letter_id: &str, note: &str) -> Result<(), Status> {
        let (letter_id, note) = (letter_id.to_owned(), note.to_owned());
        let request = wire::DiscardDeadLetterRequest { letter_id, note };
        self.events.discard_dead_letter(Request::new(request)).await.map(drop)
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn of(topic: Topic) -> wire::ReadEventsRequest {
    wire::ReadEventsRequest { topic: topic.name.to_owned(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn events_are_json_and_say_what_they_are() {
    let desk = desk().await;
    let at = desk.post("p", 1).await;
    let (events, _) = desk.read_all(of(topics::POSTS)).await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.partition, event.offset, &*event.key), (u32::from(at.partition.index), 0, "p"));
    assert_eq!(event.event_json, r#"{"postCreated":{"postId":"p"}}"#);
    assert_eq!((&*event.r#type, event.record_id.len()), ("kith.posts.v1.PostCreated", 32));
    assert_eq!((&*event.correlation_id, &*event.causation_id), (&*event.record_id, ""));
    assert_eq!((&*event.record_time, &*event.undecoded_reason), ("2023-11-14T22:13:20Z", ""));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_says_why_and_secrets_are_not_shown() {
    let desk = desk().await;
    desk.raw(topics::POSTS, "a", &[("ce_time", "\u{7}not a time")], GARBAGE).await;
    desk.raw(topics::POSTS, "a", &[], b"\xa2\x06\x00").await;
    desk.raw(topics::IDENTITY_PRIVATE, "a", &[], b"\x0a\x02\x0a\x00").await;
    desk.raw(topics::FEEDS, "a", &[], b"x").await;
    let why = async |topic| {
        let (events, _) = desk.read_all(of(topic)).await;
        assert!(events.iter().all(|event| event.event_json.is_empty()), "{events:?}");
        events.into_iter().map(|event| event.undecoded_reason).collect::<Vec<_>>()
    };
    let posts = why(topics::POSTS).await;
    assert!(posts[0].starts_with("malformed") && posts[1].contains("newer"), "{posts:?}");
    assert_eq!(why(topics::IDENTITY_PRIVATE).await, ["values of private topics are not shown"]);
    assert_eq!(why(topics::FEEDS).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_are_found_by_key_partition_offset_and_time() {
    let desk = desk().await;
    for n in 0..40 {
        desk.post(&format!("p{}", n % 8), n).await;
        desk.ports.runtime.sleep(Duration::from_secs(1)).await;
    }
    let all = desk.read_all(of(topics::POSTS)).await.0;
    assert_eq!(all.len(), 40);
    let places: Vec<_> = all.iter().map(|event| (event.partition, event.offset)).collect();
    assert!(places.is_sorted(), "{places:?}");
    let of_key = desk.read_all(wire::ReadEventsRequest { key: "p3".into(), ..of(topics::POSTS) }).await.0;
    assert!(of_key.len() == 5 && of_key.iter().all(|event| event.key == "p3"));
    let partition = of_key[0].partition;
    let one = wire::ReadEventsRequest { partition: Some(partition), from_offset: 2, ..of(topics::POSTS) };
    let one = desk.read_all(one).await.0;
    assert!(one.iter().all(|event| event.partition == partition && event.offset >= 2));
    assert_eq!(one.len(), places.iter().filter(|(p, offset)| *p == partition && *offset >= 2).count());
    let moment = |seconds: i64| Some(kith_proto::time::timestamp(BEGIN_MS + 1_000 * seconds));
    let timed = wire::ReadEventsRequest { from_time: moment(10), to_time: moment(13), ..of(topics::POSTS) };
    assert_eq!(desk.read_all(timed).await.0.len(), 3);
    let beyond = wire::ReadEventsRequest { from_offset: u64::MAX, ..of(topics::POSTS) };
    assert_eq!(desk.read_all(beyond).await, (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn pages_are_walked_without_gap_and_a_token_is_bound_to_its_filter() {
    let desk = desk().await;
    for n in 0..25 {
        desk.post(&format!("p{n}"), n).await;
    }
    let whole = desk.read_all(of(topics::POSTS)).await;
    let paged = desk.read_all(wire::ReadEventsRequest { page_size: 3, ..of(topics::POSTS) }).await;
    assert_eq!((&whole.0, whole.1), (&paged.0, 1));
    assert!((9..=10).contains(&paged.1), "{}", paged.1);
    let page_token =
        desk.read(wire::ReadEventsRequest { page_size: 3, ..of(topics::POSTS) }).await.unwrap().next_page_token;
    let other = wire::ReadEventsRequest { key: "p".into(), page_token, ..of(topics::POSTS) };
    assert_eq!(reason(&desk.read(other).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test(start_paused = true)]
async fn a_look_is_bounded_and_says_where_it_stopped() {
    let desk = desk().await;
    for _ in 0..scan::SEARCHED_RECORDS + 5 {
        desk.raw(topics::POSTS, "p", &[], GARBAGE).await;
    }
    let request = wire::ReadEventsRequest { key: "p".into(), ..of(topics::POSTS) };
    // Of the same partition, so that all of its records are looked at.
    let other = (0..).map(|n| format!("q{n}")).find(|key| {
        let of = |key| kith_log::LogPartition::of_key(topics::POSTS, key, PARTITIONS);
        of(key) == of("p")
    });
    let page = desk.read(wire::ReadEventsRequest { key: other.unwrap(), ..request }).await.unwrap();
    assert_eq!((page.events.len(), page.records_searched), (0, scan::SEARCHED_RECORDS));
    assert!(!page.next_page_token.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_page_fits_into_an_answer() {
    let desk = desk().await;
    // A NUL is one byte in the log and six characters of JSON.
    let text = "\0".repeat(MAX_RECORD_BYTES - 2_000);
    for n in 0..20 {
        let event = Post::PostCreated(PostCreated { author_id: text.clone(), ..PostCreated::default() });
        let publisher = Publisher::new(Arc::clone(&desk.ports.log), desk.ports.runtime.clone(), "posts");
        let id = RecordId([n; 16]);
        publisher.append(topics::POSTS, "p", id, &event.into(), &Cause::default()).await.unwrap();
    }
    let page = desk.read(of(topics::POSTS)).await.unwrap();
    assert!(prost::Message::encoded_len(&page) < kith_service::limits::RESPONSE_BYTES);
    assert_eq!(desk.read_all(of(topics::POSTS)).await.0.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn hostile_requests_are_refused() {
    let desk = desk().await;
    for (request, field) in [
        (wire::ReadEventsRequest { topic: "kith.nothing.v1".into(), ..Default::default() }, "topic"),
        (wire::ReadEventsRequest { partition: Some(u32::from(PARTITIONS)), ..of(topics::POSTS) }, "partition"),
        (wire::ReadEventsRequest { partition: Some(65_536), ..of(topics::POSTS) }, "partition"),
        (wire::ReadEventsRequest { page_size: -1, ..of(topics::POSTS) }, "page_size"),
        (wire::ReadEventsRequest { page_token: "x".into(), ..of(topics::POSTS) }, "page_token"),
        (
            wire::ReadEventsRequest {
                from_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
                ..of(topics::POSTS)
            },
            "from_time",
        ),
    ] {
        let refused = desk.read(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let of_nothing = wire::ListDeadLettersRequest { origin_topic: "kith.nothing.v1".into(), ..Default::default() };
    let refused = desk.events.list_dead_letters(Request::new(of_nothing)).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "origin_topic");
    for id in ["", "abc", &"g".repeat(32)] {
        assert_eq!(reason(&desk.get(id).await.unwrap_err()), "ID_MALFORMED");
    }
    let nobody = "0".repeat(32);
    assert_eq!(reason(&desk.get(&nobody).await.unwrap_err()), "DEAD_LETTER_NOT_FOUND");
    assert_eq!(reason(&desk.retry(&nobody).await.unwrap_err()), "DEAD_LETTER_NOT_FOUND");
    assert_eq!(reason(&desk.discard(&nobody, "note").await.unwrap_err()), "DEAD_LETTER_NOT_FOUND");
    assert_eq!(reason(&desk.discard(&nobody, " ").await.unwrap_err()), "TEXT_EMPTY");
    assert_eq!(reason(&desk.discard(&nobody, &"x".repeat(501)).await.unwrap_err()), "TEXT_TOO_LONG");
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_listed_shown_and_retried_once() {
    let desk = desk().await;
    let headers = [("ce_id", "00000000000000000000000000000abc"), ("ce_source", "/elsewhere")];
    let at = desk.raw(topics::POSTS, "p", &headers, GARBAGE).await;
    let _running = desk.fold(1).await;
    let listed = desk.list(Default::default()).await;
    let [letter] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((&*letter.origin_topic, letter.origin_offset), (topics::POSTS.name, at.offset));
    assert_eq!(letter.state(), DeadLetterState::Open);
    assert!(letter.set_aside_time.is_some() && !letter.reason.is_empty());
    let shown = desk.get(&letter.letter_id).await.unwrap();
    assert_eq!((&shown.key[..], &shown.value[..], shown.headers.len()), (&b"p"[..], GARBAGE, 2));

    let retried = desk.retry(&letter.letter_id).await.unwrap();
    let record = desk.record(&retried.topic, retried.partition, retried.offset).await;
    assert_eq!((&record.key[..], &record.value[..]), (&b"p"[..], GARBAGE));
    assert_eq!(record.header(headers::ID), Some(&*retried.record_id));
    assert_eq!(record.header(headers::SOURCE), Some("/elsewhere"));
    assert_eq!(record.header(headers::RETRY_OF), Some(&*letter.letter_id));
    let known = desk.get(&letter.letter_id).await.unwrap().letter.unwrap();
    assert_eq!((known.state(), &known.retried_as_record_id), (DeadLetterState::Retried, &retried.record_id));
    for refused in [desk.retry(&letter.letter_id).await.map(drop), desk.discard(&letter.letter_id, "n").await] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "DEAD_LETTER_STATE"));
    }
    // It still does not decode: the new record is a letter of its own.
    let _again = desk.fold(2).await;
    let open = desk.list(wire::ListDeadLettersRequest { open_only: true, ..Default::default() }).await;
    let [open] = &open[..] else { panic!("{open:?}") };
    assert_eq!((open.origin_offset, open.letter_id == letter.letter_id), (retried.offset, false));
}

#[tokio::test(start_paused = true)]
async fn a_discarded_letter_keeps_its_note_in_every_process() {
    let desk = desk().await;
    desk.raw(topics::POSTS, "p", &[], GARBAGE).await;
    let _running = desk.fold(1).await;
    let id = desk.list(Default::default()).await[0].letter_id.clone();
    desk.discard(&id, "a test of ours").await.unwrap();
    assert_eq!(reason(&desk.retry(&id).await.unwrap_err()), "DEAD_LETTER_STATE");
    let other =
        Desk { events: events(&desk.ports).await, ports: desk.ports.clone(), _folder: tempfile::tempdir().unwrap() };
    let letter = other.get(&id).await.unwrap().letter.unwrap();
    assert_eq!((letter.state(), &*letter.discard_note), (DeadLetterState::Discarded, "a test of ours"));
    assert!(other.list(wire::ListDeadLettersRequest { open_only: true, ..Default::default() }).await.is_empty());
}

/// A letter as a fold makes it, appended by hand.
async fn letter(desk: &Desk, id: u8, letter: DeadLetter) -> String {
    let publisher = Publisher::new(Arc::clone(&desk.ports.log), desk.ports.runtime.clone(), "posts");
    let (id, event) = (RecordId([id; 16]), letter.into());
    publisher.append(topics::DEAD_LETTERS, "k", id, &event, &Cause::default()).await.unwrap();
    id.to_string()
}

#[tokio::test(start_paused = true)]
async fn copies_and_what_is_no_letter_are_not_listed() {
    let desk = desk().await;
    let of =
        |offset| DeadLetter { origin_topic: topics::POSTS.name.into(), origin_offset: offset, ..Default::default() };
    for (id, offset) in [(1, 5), (2, 6), (1, 5), (3, 7), (2, 6)] {
        letter(&desk, id, of(offset)).await;
    }
    desk.raw(topics::DEAD_LETTERS, "k", &[], b"\x0a\x01x").await;
    desk.raw(topics::DEAD_LETTERS, "k", &[("ce_id", &"9".repeat(32))], GARBAGE).await;
    let listed = desk.list(wire::ListDeadLettersRequest { page_size: 1, ..Default::default() }).await;
    assert_eq!(listed.iter().map(|letter| letter.origin_offset).collect::<Vec<_>>(), [5, 6, 7]);
    let of_others = wire::ListDeadLettersRequest { origin_topic: topics::IDENTITY.name.into(), ..Default::default() };
    assert!(desk.list(of_others).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_letter_does_not_hold_is_read_where_it_stands() {
    let desk = desk().await;
    let mut letters = Vec::new();
    for (id, topic) in [(1, topics::IDENTITY_PRIVATE), (2, topics::POSTS)] {
        let at = desk.raw(topic, "key", &[("ce_type", "t")], GARBAGE).await;
        let origin = DeadLetter {
            origin_topic: topic.name.into(),
            origin_partition: at.partition.index.into(),
            origin_offset: at.offset,
            ..Default::default()
        };
        letters.push(letter(&desk, id, origin).await);
    }
    let secret = desk.get(&letters[0]).await.unwrap();
    assert!(secret.key.is_empty() && secret.value.is_empty() && secret.headers.is_empty());
    assert_eq!(&desk.get(&letters[1]).await.unwrap().value[..], GARBAGE, "too large for a letter, and no secret");
    for id in letters {
        let retried = desk.retry(&id).await.unwrap();
        let record = desk.record(&retried.topic, retried.partition, retried.offset).await;
        assert_eq!((&record.key[..], &record.value[..], record.header("ce_type")), (&b"key"[..], GARBAGE, Some("t")));
    }
}

#[tokio::test(start_paused = true)]
async fn letters_that_lead_nowhere_fail_politely() {
    let desk = desk().await;
    for (n, (topic, partition, offset)) in
        [("nothing", 0, 0), (topics::POSTS.name, 0, 99), (topics::POSTS.name, u32::MAX, 0), (topics::POSTS.name, 7, 0)]
            .into_iter()
            .enumerate()
    {
        let origin = DeadLetter {
            origin_topic: topic.into(),
            origin_partition: partition,
            origin_offset: offset,
            ..Default::default()
        };
        let id = letter(&desk, n as u8 + 1, origin).await;
        assert_eq!(reason(&desk.retry(&id).await.unwrap_err()), "DEAD_LETTER_STATE", "{topic} {partition} {offset}");
    }
}
