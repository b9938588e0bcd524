use kith_log::{RecordId, topics};
use kith_tables::TableStore;
use kith_tables::embedded::EmbeddedTables;

use super::*;
use crate::cache::CacheCounts;

const HERE: LogPartition = LogPartition { topic: topics::POSTS, index: 1 };

struct Store {
    tables: Arc<EmbeddedTables>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

async fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::simulated(1, 0);
    let tables = EmbeddedTables::open(folder.path(), runtime.clone()).unwrap();
    tables.create("kith_posts_g1", &[&WATERMARKS]).await.unwrap();
    Store { tables, runtime, _folder: folder }
}

impl Store {
    /// As one process of several sees it.
    async fn process(&self) -> Arc<Watermarks> {
        self.process_that_remembers().await.0
    }

    async fn process_that_remembers(&self) -> (Arc<Watermarks>, Arc<SoleWriter>) {
        let keyspace = self.tables.open("kith_posts_g1", &[&WATERMARKS]).await.unwrap();
        let sole_writer = Arc::new(SoleWriter::new(Arc::clone(&keyspace), CacheCounts::default()));
        let (runtime, topics, known) = (self.runtime.clone(), [topics::POSTS], Some(Arc::clone(&sole_writer)));
        (Arc::new(Watermarks::new(runtime, keyspace, &topics, 4, known)), sole_writer)
    }
}

fn reached(offset: u64) -> Reached {
    Reached { position: at(offset), id: RecordId([offset as u8; 16]), newest: Timestamp(7) }
}

fn at(offset: Offset) -> Position {
    Position { partition: HERE, offset }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_fold_has_passed() {
    let here = store().await.process().await;
    here.folds_here(&[HERE]);
    let waiting = Arc::clone(&here);
    let waiter = here.runtime.spawn(async move { waiting.wait([at(4)], soon()).await });
    for next in 1..=5 {
        assert!(!waiter.is_finished());
        here.advance(HERE, next, Timestamp(0));
        tokio::task::yield_now().await;
    }
    waiter.await.unwrap().unwrap();
    here.advance(HERE, 2, Timestamp(0));
    assert_eq!(here.next_offset(HERE), 5, "it never goes back");
    assert_eq!(here.known().collect::<Vec<_>>(), [at(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_as_late_as_what_it_stands_for() {
    let here = store().await.process().await;
    here.advance(HERE, 3, Timestamp(70));
    here.advance(HERE, 5, Timestamp(60));
    assert!(here.runtime.tick() > 70, "what is seen is before what is dated next");
    assert_eq!(here.latest_of(&at(4).into()), 70);
    assert_eq!(here.latest_of(&at(5).into()), 70, "the next one, by its maker");
    assert_eq!(here.latest_of(&at(6).into()), here.latest(), "another is between");
    assert_eq!(here.latest_of(&Token::default()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_lasts_too_long_says_how_far_the_tables_are() {
    let here = store().await.process().await;
    here.folds_here(&[HERE]);
    here.advance(HERE, 3, Timestamp(0));
    let Err(WaitError::Behind { wanted, next }) = here.wait([at(2), at(8)], soon()).await else { panic!("not behind") };
    assert_eq!((wanted, next), (at(8), 3));
}

#[tokio::test(start_paused = true)]
async fn another_process_is_seen_through_the_store() {
    let store = store().await;
    let (here, there) = (store.process().await, store.process().await);
    let waiter = store.runtime.spawn(async move { here.wait([at(6)], soon()).await });
    there.store(reached(6), StoredMarks::default()).await.unwrap();
    waiter.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_partition_is_said_at_once_and_others_go_on() {
    let here = store().await.process().await;
    let other = LogPartition { index: 2, ..HERE };
    here.folds_here(&[HERE, other]);
    let waiting = Arc::clone(&here);
    let waiter = here.runtime.spawn(async move { waiting.wait([at(0)], soon()).await });
    tokio::task::yield_now().await;
    here.stop(HERE, 0, "newer").await.unwrap();
    assert!(matches!(waiter.await.unwrap(), Err(WaitError::Stopped { partition: HERE, .. })));
    here.advance(other, 1, Timestamp(0));
    here.wait([Position { partition: other, offset: 0 }], soon()).await.unwrap();
    here.folds_here(&[HERE]);
    assert_eq!(here.stopped(HERE), None, "a new word of the group starts anew");
}

#[tokio::test(start_paused = true)]
async fn a_partition_stopped_elsewhere_is_said_until_someone_goes_on() {
    let store = store().await;
    let (here, there, upgraded) = (store.process().await, store.process().await, store.process().await);
    there.folds_here(&[HERE]);
    there.advance(HERE, 4, Timestamp(0));
    there.stop(HERE, 4, "newer").await.unwrap();
    here.refresh_all().await.unwrap();
    let waited = here.wait([at(4)], soon()).await;
    assert!(matches!(waited, Err(WaitError::Stopped { partition: HERE, reason }) if reason == "newer"));
    upgraded.store(reached(4), StoredMarks::default()).await.unwrap();
    here.refresh(HERE).await.unwrap();
    assert_eq!(here.stopped(HERE), None);
    here.wait([at(4)], soon()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn offsets_that_a_log_without_its_tail_gives_out_again_are_not_in_the_tables() {
    let store = store().await;
    let (here, there) = (store.process().await, store.process().await);
    there.store(reached(9), StoredMarks::default()).await.unwrap();
    there.folds_here(&[HERE]);
    there.advance(HERE, 10, Timestamp(0));
    there.stop(HERE, 6, "lost").await.unwrap();
    here.refresh_all().await.unwrap();
    for process in [&here, &there] {
        assert!(process.lost_tail(HERE));
        process.wait([at(5)], soon()).await.unwrap();
        for given_again in [6, 9, 10] {
            let waited = process.wait([at(given_again)], soon()).await;
            assert!(matches!(waited, Err(WaitError::Stopped { .. })), "{given_again}: {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn topics_that_the_group_does_not_read_are_not_waited_for() {
    let here = store().await.process().await;
    let foreign = LogPartition { topic: topics::MESSAGING, index: 0 };
    here.wait([Position { partition: foreign, offset: 99 }], Instant::now()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_read_back_and_never_goes_back() {
    let store = store().await;
    let there = store.process().await;
    let marks = || StoredMarks { appended: Some(9), restart: Some((3, RecordId([3; 16]))) };
    there.store(reached(9), marks()).await.unwrap();
    there.store(reached(5), StoredMarks::default()).await.unwrap();
    let here = store.process().await;
    here.refresh_all().await.unwrap();
    assert_eq!(here.next_offset(HERE), 10);
    let reached = here.stored::<ReachedRow>(HERE).await.unwrap().unwrap();
    assert_eq!((reached.position, reached.read::<ReachedRow>().unwrap().record_id), (9, RecordId([9; 16]).to_string()));
    assert_eq!(here.stored::<AppendedRow>(HERE).await.unwrap().unwrap().position, 9);
    assert_eq!(here.stored::<RestartRow>(HERE).await.unwrap().unwrap().position, 3);
    assert!(here.stored::<ReachedRow>(LogPartition { index: 3, ..HERE }).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn it_is_the_sole_writer_while_it_folds_all_and_nobody_else_is_seen_to() {
    let store = store().await;
    let ((here, sole_writer), there) = (store.process_that_remembers().await, store.process().await);
    let all: Vec<LogPartition> = here.partitions().collect();
    let remembers = || sole_writer.version(&WATERMARKS, &Key::text("any")).is_some();
    here.folds_here(&all[1..]);
    here.all_resumed();
    assert!(!remembers(), "another one folds the first");
    here.folds_here(&all);
    assert!(!remembers(), "not all have found their places");
    here.all_resumed();
    assert!(remembers());
    here.advance(HERE, 7, Timestamp(0));
    here.store(reached(6), StoredMarks::default()).await.unwrap();
    here.refresh_all().await.unwrap();
    assert!(remembers(), "what is stored is its own");
    there.store(reached(7), StoredMarks::default()).await.unwrap();
    here.refresh_all().await.unwrap();
    assert!(!remembers() && here.next_offset(HERE) == 8);
}
