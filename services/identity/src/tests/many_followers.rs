//! Paging through the followers of an account that has very many: the rows are made by the fold, in tables of their own log
//! partitions, without a call for each.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kith_fold::{Fold, Rows};
use kith_proto::identity::v1::{Followed, Unfollowed};
use kith_proto::time;
use kith_service::auth::Asker;
use kith_service::call::Handlers;
use kith_service::query::PageAsk;
use kith_tables::{Key, Row, RowKey, RowType, Timestamp, Value, Write};

use super::*;
use crate::counts::counted;
use crate::edge::{EdgeRow, FollowedRow, of_other};
use crate::followers::{FOLLOWERS, Followers, FollowersSummary};
use crate::lists::{SLICES_PER_PAGE, followed, places};

const MADE: u32 = 200_000;
/// So many in a row came and went, beside every tenth.
const GONE: std::ops::Range<u32> = 100_000..102_000;
/// Two rows each, and the summary: no more than one write may have.
const PER_WRITE: usize = 400;
const PAGE: usize = 100;

fn id(n: u32) -> RecordId {
    let mut id = RecordId([0xf; 16]);
    id.0[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn leaves(n: u32) -> bool {
    n.is_multiple_of(10) || GONE.contains(&n)
}

/// Since when a follower follows: the later the greater its number.
fn since(n: u32) -> i64 {
    1_000 + i64::from(n)
}

fn events(star: RecordId, n: u32) -> Vec<Identity> {
    let (follower_id, target_id, create_time) = (id(n).to_string(), star.to_string(), Some(time::of_us(since(n))));
    let left = Unfollowed { follower_id: follower_id.clone(), target_id: target_id.clone(), create_time };
    let followed = Followed { follower_id, target_id, create_time, ..Followed::default() };
    let left = leaves(n).then_some(Identity::Unfollowed(left));
    [Identity::Followed(followed)].into_iter().chain(left).collect()
}

/// What the fold makes of some followers, of one log partition: as it goes on from `count` followers behind record `offset`.
fn folded(
    star: RecordId,
    some: &[u32],
    partition: LogPartition,
    (mut offset, count): (u64, i64),
) -> (Vec<Write>, u64, i64) {
    let mut rows = Rows::new(&FOLLOWERS, partition.source());
    rows.apply_at(offset, |rows| rows.set_summary(FollowersSummary { follower_count: count }));
    let mut writes = Vec::new();
    for &n in some {
        for event in events(star, n) {
            offset += 1;
            let mut record_id = id(n);
            record_id.0[15] = u8::from(matches!(event, Identity::Unfollowed(_)));
            let record = Record::new(Position { partition, offset }, record_id, event);
            rows.load_empty(&Followers.scope(&record).unwrap());
            rows.apply_at(offset, |rows| Followers.apply(rows, &record));
        }
        let follower = id(n).to_string();
        let listed = [Value::from(Timestamp(since(n))), follower.as_str().into()];
        let edge = rows.get::<EdgeRow>(of_other(&follower)).unwrap().into_columns();
        let place = rows.get::<FollowedRow>(listed.clone()).unwrap().into_columns();
        let both = [(RowKey::of::<EdgeRow>(of_other(&follower)), edge), (RowKey::of::<FollowedRow>(listed), place)];
        writes.extend(both.map(|(key, columns)| Write::from(Row { key, columns, position: offset })));
    }
    let FollowersSummary { follower_count } = rows.summary();
    let mark = Value::BigInt(offset as i64);
    let columns = vec![mark, follower_count.into()];
    let key = FOLLOWERS.summary_key(partition.source());
    writes.push(Row { key, columns, position: offset }.into());
    (writes, offset, follower_count)
}

async fn fill(suite: &Suite, star: RecordId) {
    let mut by_partition: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for n in 0..MADE {
        by_partition.entry(suite.partition_of(id(n)).index).or_default().push(n);
    }
    let (state, key) = (suite.state(), Key::text(&star.to_string()));
    for (index, followers) in by_partition {
        let partition = LogPartition { topic: topics::IDENTITY, index };
        let mut so_far = (1_000, 0);
        for some in followers.chunks(PER_WRITE) {
            let (writes, offset, count) = folded(star, some, partition, so_far);
            state.keyspace().apply(&FOLLOWERS, &key, &writes).await.unwrap();
            so_far = (offset, count);
        }
    }
}

#[tokio::test]
async fn two_hundred_thousand_followers_are_listed_once_each_with_bounded_reads() {
    let suite = Suite::new().await;
    let star = suite.account("star").await;
    suite.settled().await;
    fill(&suite, star).await;
    let request = by(star, ());
    let (asker, deadline) = (Asker::with_account(&request).unwrap(), Deadline::after(PATIENCE));
    let (kit, star_id) = (suite.service.kit(), star.to_string());
    let seen = kit.see_for(&asker, &Token::default(), deadline).await.unwrap();
    let mut expected = (0..MADE).rev().filter(|&n| !leaves(n));
    let (mut page, mut listed, mut most) = (PageAsk { size: PAGE, after: None }, 0, 0);
    loop {
        suite.world.slices.store(0, Ordering::Relaxed);
        let found = places(&seen, &FOLLOWERS, &star_id, &page, followed);
        let (found, next) = found.await.unwrap();
        let slices = suite.world.slices.load(Ordering::Relaxed);
        assert!(found.len() <= PAGE && slices <= SLICES_PER_PAGE, "{} rows by {slices} reads", found.len());
        most = most.max(slices);
        for place in found {
            let wanted = expected.next().map(|n| (id(n).to_string(), Timestamp(since(n))));
            assert_eq!(Some((place.account_id, place.since)), wanted, "the {listed}th");
            listed += 1;
        }
        page.after = next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(expected.next(), None);
    // Those who came and went in a row were looked past, some at a time.
    assert_eq!(most, SLICES_PER_PAGE);
    let star = kith_proto::identity::v1::Account { account_id: star_id, ..Default::default() };
    let counts = counted(&seen.state, star).await.unwrap().counts.unwrap();
    assert_eq!(counts.follower_count, listed);
}
