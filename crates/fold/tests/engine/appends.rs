use std::collections::BTreeMap;
use std::time::Duration;

use kith_fold::Cause;
use kith_log::{RecordId, headers, topics};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_tables::Key;

use crate::stage::{Stage, one_key_each};
use crate::toy::{ECHOES, EchoRow};

async fn echoed(stage: &Stage, post: &str) -> bool {
    stage.state().row::<EchoRow>(&ECHOES, &Key::text(post), []).await.unwrap().is_some()
}

/// Once a post of every partition is echoed, every worker has looked for what was not made before.
async fn wait_for_every_worker(stage: &mut Stage, name: &str) -> Vec<String> {
    let posts = one_key_each(topics::POSTS, name);
    for post in &posts {
        stage.post(post).await;
    }
    for post in &posts {
        stage.until(async || echoed(stage, post).await).await;
    }
    posts
}

/// Shares by post.
pub async fn shares(stage: &Stage) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for record in stage.records(topics::ENGAGEMENT).await {
        *shares.entry(String::from_utf8(record.key.to_vec()).unwrap()).or_default() += 1;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn appends_are_made_once_wherever_the_process_was_killed() {
    let mut stage = Stage::set(Duration::ZERO).await;
    let mut posts = Vec::new();
    for round in 0..12 {
        stage.start().await;
        stage.turns(round * 3).await;
        for n in 0..5 {
            let post = format!("post-{round}-{n}");
            stage.post(&post).await;
            posts.push(post);
            stage.turns(round * n).await;
        }
        stage.kill().await;
    }
    stage.start().await;
    posts.extend(wait_for_every_worker(&mut stage, "last").await);
    let expected: BTreeMap<String, usize> = posts.into_iter().map(|post| (post, 1)).collect();
    assert_eq!(shares(&stage).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_record_causes_names_it_and_carries_its_trace_on() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let cause = Cause { trace_parent: Some(TRACE.to_owned()), ..Cause::default() };
    let (id, event) = (RecordId([7; 16]), Post::PostCreated(PostCreated { post_id: "p".into(), ..Default::default() }));
    stage.publisher.append(topics::POSTS, "p", id, &event.into(), &cause).await.unwrap();
    stage.until(async || echoed(&stage, "p").await).await;
    let share = &stage.records(topics::ENGAGEMENT).await[0];
    assert_eq!(share.header(headers::CAUSATION_ID), Some(&*id.to_string()));
    assert_eq!(share.header(headers::TRACE_PARENT), Some(TRACE));
}

#[tokio::test(start_paused = true)]
async fn tables_folded_again_append_nothing_that_was_made() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let mut posts = wait_for_every_worker(&mut stage, "first").await;
    for name in ["second", "third"] {
        stage.drop_tables().await;
        stage.start().await;
        posts.extend(wait_for_every_worker(&mut stage, name).await);
    }
    let expected: BTreeMap<String, usize> = posts.into_iter().map(|post| (post, 1)).collect();
    assert_eq!(shares(&stage).await, expected);
}
