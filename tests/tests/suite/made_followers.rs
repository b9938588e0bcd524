//! What followers that somebody made for it cost an author's posts: docs/security.md has the figures.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kith_log::RecordId;
use kith_projector::Settings;
use kith_projector::views::audience::FOLLOWERS;
use kith_projector::views::home::HOME;
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{Followed, Unfollowed};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::time;
use kith_runtime::Runtime;
use kith_stage::{PARTITIONS, Stage};
use kith_tables::TableStore;
use kith_tables::embedded::EmbeddedTables;

use crate::large_inbox::counted::Counted;

const PUSH_THRESHOLD: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(300);
const APPENDS_IN_FLIGHT: usize = 256;

fn id(kind: u8, n: u32) -> RecordId {
    let mut id = RecordId([kind; 16]);
    id.0[..4].copy_from_slice(&n.to_be_bytes());
    id
}

struct Author {
    stage: Stage,
    home: Arc<Counted>,
    followers: Arc<Counted>,
    posts: u32,
}

impl Author {
    async fn new() -> Self {
        let (mut home, mut followers) = (None, None);
        let group = kith_projector::group(1, Settings { push_threshold: PUSH_THRESHOLD, partition_count: PARTITIONS });
        let stage = Stage::over(group, |folder| {
            let tables: Arc<dyn TableStore> = EmbeddedTables::open(folder, Runtime::system()).unwrap();
            let home = Arc::clone(home.insert(Counted::new(tables, &HOME)));
            Arc::clone(followers.insert(Counted::new(home, &FOLLOWERS))) as Arc<dyn TableStore>
        })
        .await;
        Self { stage, home: home.unwrap(), followers: followers.unwrap(), posts: 0 }
    }

    async fn publish(&self, events: impl Iterator<Item = (RecordId, Event)>) {
        let appends: Vec<_> = events.map(|(id, event)| self.stage.publish(id, event)).collect();
        stream::iter(appends).buffer_unordered(APPENDS_IN_FLIGHT).collect::<Vec<_>>().await;
        self.folded().await;
    }

    async fn folded(&self) {
        let all = self.stage.everything().await;
        self.stage.state().at_least(&all, tokio::time::Instant::now() + PATIENCE).await.unwrap();
    }

    async fn is_followed_by(&self, from: u32, to: u32) {
        let followed = |n: u32| {
            let (follower_id, target_id) = (id(1, n).to_string(), id(2, 0).to_string());
            let create_time = Some(time::of_us(1_000));
            let event = Followed { follower_id, target_id, create_time, ..Followed::default() };
            (id(3, n), Identity::Followed(event).into())
        };
        self.publish((from..to).map(followed)).await;
    }

    async fn is_left_by(&self, from: u32, to: u32) {
        let unfollowed = |n: u32| {
            let (follower_id, target_id) = (id(1, n).to_string(), id(2, 0).to_string());
            let event = Unfollowed { follower_id, target_id, create_time: Some(time::of_us(2_000)) };
            (id(4, n), Identity::Unfollowed(event).into())
        };
        self.publish((from..to).map(unfollowed)).await;
    }

    /// Rows that a post writes to home feeds, and how often it reads the author's followers.
    async fn post(&mut self) -> (usize, usize) {
        self.posts += 1;
        let (post_id, author_id) = (id(5, self.posts).to_string(), id(2, 0).to_string());
        let create_time = Some(time::of_us(3_000 + i64::from(self.posts)));
        let event = PostCreated { post_id, author_id, create_time, ..PostCreated::default() };
        self.home.take_rows();
        self.followers.take();
        self.stage.publish(id(6, self.posts), Posts::PostCreated(event)).await;
        self.folded().await;
        (self.home.take_rows(), self.followers.take())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_is_pushed_to_so_many_at_most_and_then_to_nobody() {
    let mut author = Author::new().await;
    author.is_followed_by(0, 50).await;
    assert_eq!(author.post().await, (50, 2));
    author.is_followed_by(50, 3_000).await;
    assert_eq!(author.post().await, (0, 2), "the rows of home feeds, and the reads of followers");
}

/// Not bounded: those who came and went are read past, a thousand at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_reads_past_those_who_came_and_went() {
    let mut author = Author::new().await;
    for from in (0..2_400).step_by(8) {
        author.is_followed_by(from, from + 8).await;
        author.is_left_by(from, from + 8).await;
    }
    let (rows, reads) = author.post().await;
    println!("2,400 who came and went cost a post {reads} reads and {rows} rows");
    assert_eq!((rows, reads), (0, 4));
}
