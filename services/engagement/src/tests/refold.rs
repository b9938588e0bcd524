//! Tables are disposable: dropped and folded again they are the same, byte for byte.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use kith_content::Content;
use kith_log::{Header, NewRecord, headers, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{CommentContent, CommentCreated, Reacted, Shared, Unreacted, Unshared};
use kith_proto::time;
use kith_tables::{Key, RowRange};

use super::suite::{ADA, Suite, hex, on_post};
use crate::discussion::{self, COMMENTS, CommentRow};
use crate::reaction::{self, REACTIONS, ReactionRow};
use crate::share;
use crate::share::{SHARES, ShareRow};

const POSTS: u8 = 3;
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/fixtures");

/// The same every time: a mix of everything, with copies.
fn steps() -> impl Iterator<Item = (u8, Event)> {
    let mut state = 7_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as u8
    };
    (0..200).map(move |_| {
        let (post, actor, n) = (1 + draw(u64::from(POSTS)), draw(5), 10 + draw(200));
        (n, event(draw(6), post, actor, n, draw(4)))
    })
}

fn event(what: u8, post: u8, actor: u8, n: u8, other: u8) -> Event {
    let (post_id, actor_id) = (hex(post), hex(actor));
    let create_time = Some(time::timestamp(i64::from(n)));
    match what {
        0 | 1 => Event::Reacted(Reacted {
            actor_id,
            subject: Some(on_post(post)),
            kind: 1 + i32::from(other),
            create_time,
            ..Reacted::default()
        }),
        2 => Event::Unreacted(Unreacted { actor_id, subject: Some(on_post(post)), create_time }),
        3 => Event::CommentCreated(CommentCreated {
            comment_id: hex(n),
            post_id,
            author_id: actor_id,
            content: Some(Content::close(&CommentContent { text: format!("c{n}") })),
            create_time,
            ..CommentCreated::default()
        }),
        4 => Event::Shared(Shared { share_id: hex(other), post_id, actor_id, create_time, ..Shared::default() }),
        _ => Event::Unshared(Unshared { share_id: hex(other), post_id, actor_id, create_time }),
    }
}

/// Every event of the topic as the protos' fixture has it: no noun's table stays empty.
fn one_of_each() -> impl Iterator<Item = kith_proto::Event> {
    let topic = topics::ENGAGEMENT.name;
    let all = fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path());
    let is_event = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(&format!("{topic}.")) && name.ends_with(".bin")
    };
    let mut paths: Vec<PathBuf> = all.filter(is_event).collect();
    paths.sort();
    assert!(paths.len() > 4, "the fixtures are not where they were");
    paths.into_iter().map(move |path| kith_proto::Event::decode(topic, &fs::read(path).unwrap()).unwrap())
}

async fn publish_history(suite: &Suite) {
    suite.account(ADA).await;
    for n in 1..=POSTS {
        suite.post(n, ADA).await;
    }
    for (n, event) in steps() {
        suite.publish(n, event).await;
    }
    // Behind the ids of the steps.
    for (n, event) in (210..).zip(one_of_each()) {
        suite.publish(n, event).await;
    }
    suite.block(ADA, 1).await;
    suite.leave(1).await;
    let header =
        |name: &str, value: &str| Header { name: name.into(), value: Bytes::copy_from_slice(value.as_bytes()) };
    let hostile = [
        (Bytes::from_static(b"\xff\xff\xff"), vec![header(headers::ID, &hex(1))]),
        (Bytes::from_static(b"\x0a\x00"), vec![header(headers::ID, &hex(2))]),
        (Bytes::from_static(b"\x0a\x00"), Vec::new()),
    ];
    for (value, headers) in hostile {
        let record = NewRecord { topic: topics::ENGAGEMENT, key: hex(1), headers, value };
        suite.ports.log.append(record).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_folded_again_are_the_same() {
    let suite = Suite::start().await;
    publish_history(&suite).await;
    suite.settle().await;
    let digest = suite.digest().await;
    assert!(digest.tables.iter().all(|table| table.rows > 0), "{digest:?}");
    let suite = suite.restart(false).await;
    suite.settle().await;
    assert_eq!(suite.digest().await, digest, "nothing is folded twice");
    let suite = suite.restart(true).await;
    suite.settle().await;
    assert_eq!(suite.digest().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_equal_the_lengths_of_the_lists() {
    let suite = Suite::start().await;
    publish_history(&suite).await;
    suite.settle().await;
    let state = &suite.state();
    for n in 1..=POSTS {
        let key = Key(vec![hex(n).as_str().into(), "".into()]);
        let rows = state.slice::<ReactionRow>(&REACTIONS, &key, RowRange::all::<ReactionRow>(), 1_000).await.unwrap();
        let standing = rows.iter().filter(|found| found.row.kind().is_some()).count() as u64;
        let mut counts = reaction::counts(state, &on_post(n)).await.unwrap();
        assert_eq!(counts.by_kind().iter().map(|count| **count).sum::<i64>(), standing as i64);
        let range = RowRange { prefix: vec!["".into()], ..RowRange::all::<CommentRow>() };
        let listed = state.slice::<CommentRow>(&COMMENTS, &Key::text(&hex(n)), range, 1_000).await.unwrap().len();
        assert_eq!(discussion::count(state, &hex(n)).await.unwrap(), listed as i64);
        let range = RowRange::all::<ShareRow>();
        let rows = state.slice::<ShareRow>(&SHARES, &Key::text(&hex(n)), range, 1_000).await.unwrap();
        let shared = rows.iter().filter(|found| found.row.shared).count();
        assert_eq!(share::count(state, &hex(n)).await.unwrap(), shared as i64);
        assert!(standing > 0 && listed > 0 && shared > 0, "{n}: {standing} {listed} {shared}");
    }
}
