//! A tail whose records cannot be told: its listeners are told that, and it goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kith_fold::{State, Token};
use kith_log::{Offset, Topic, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_service::call::Call;
use kith_service::tail::{Ended, Listener, Says, Tail, Told};
use kith_tables::StoreError;
use tokio::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Says messages to ADA, where they are.
#[derive(Default)]
struct Brittle {
    /// So many times the tables are damaged.
    fails: AtomicUsize,
    panics: AtomicBool,
}

#[async_trait]
impl Says for Brittle {
    type Item = Offset;

    const TOPIC: Topic = topics::MESSAGING;

    async fn says(&self, _: &State, told: Told<'_>) -> Result<Option<(Offset, Vec<RecordId>)>, StoreError> {
        if !matches!(told.event, Event::Messaging(Messaging::MessageSent(_))) {
            return Ok(None);
        }
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a bug");
        let fails = |left: usize| left.checked_sub(1);
        if self.fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return Err(StoreError::Damaged("for a test".into()));
        }
        Ok(Some((told.position.offset, vec![ADA])))
    }
}

async fn listen(world: &World, tail: &Tail<Brittle>) -> Listener<Offset> {
    let call = Call::<rpc::StreamUpdates>::of(by(ADA, StreamUpdatesRequest::default())).unwrap();
    let seen = world.kit.see_for(&call.asker, &Token::default(), call.deadline).await.unwrap();
    tail.listen(&seen, ADA, None).await.unwrap().0
}

async fn next(listener: &mut Listener<Offset>) -> Result<usize, Ended> {
    let until = Instant::now() + PATIENCE;
    loop {
        let heard = listener.next(10, until).await?;
        if !heard.is_empty() || Instant::now() >= until {
            return Ok(heard.len());
        }
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_panics_ends_those_who_listen() {
    let world = World::start().await;
    friends(&world).await;
    let (conversation, token) = direct(&world, ADA, BOB).await.unwrap();
    let id = conversation.conversation_id.as_str();
    world.settle().await;
    let brittle = Brittle { fails: AtomicUsize::new(3), panics: AtomicBool::new(false) };
    let tail = Tail::new(world.kit.clone(), brittle);
    let mut listener = listen(&world, &tail).await;
    let (_, token) = send(&world, ADA, writing(id, "1", "", &token)).await.unwrap();
    assert_eq!(next(&mut listener).await, Ok(1), "behind three attempts");
    tail.says().panics.store(true, Ordering::Relaxed);
    let (_, token) = send(&world, ADA, writing(id, "2", "", &token)).await.unwrap();
    assert_eq!(next(&mut listener).await, Err(Ended::Failed));
    let mut listener = listen(&world, &tail).await;
    send(&world, ADA, writing(id, "3", "", &token)).await.unwrap();
    assert_eq!(next(&mut listener).await, Ok(1), "it goes on");
}
