use kith_proto::identity::v1::{FollowTagRequest, ListFollowedTagsRequest, UnfollowTagRequest};
use kith_service::limits;

use super::*;

async fn follow(suite: &Suite, who: RecordId, tag: &str, request_id: &str) -> Result<String, String> {
    let request = FollowTagRequest { tag: tag.to_owned(), request_id: request_id.to_owned(), ..Default::default() };
    let answer = suite.service.follow_tag(by(who, request)).await.map_err(|status| reason(&status))?.into_inner();
    assert!(answer.followed_tag.is_none_or(|followed| followed.follow_time.is_some()));
    Ok(answer.consistency_token)
}

async fn unfollow(suite: &Suite, who: RecordId, tag: &str) -> String {
    let request = UnfollowTagRequest { tag: tag.to_owned(), ..Default::default() };
    suite.service.unfollow_tag(by(who, request)).await.unwrap().into_inner().consistency_token
}

/// All pages, each of so many, and the number that each says.
async fn listed(suite: &Suite, who: RecordId, page_size: i32, at_least: &str) -> Vec<String> {
    let at_least: Vec<String> = Some(at_least.to_owned()).filter(|token| !token.is_empty()).into_iter().collect();
    let (mut tags, mut counts, mut page_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = ListFollowedTagsRequest { page_size, page_token, at_least: at_least.clone() };
        let page = suite.service.list_followed_tags(by(who, request)).await.unwrap().into_inner();
        tags.extend(page.followed_tags.into_iter().map(|followed| followed.tag));
        counts.push(page.total_count);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            assert!(counts.iter().all(|count| *count as usize == tags.len()), "{counts:?} of {tags:?}");
            return tags;
        }
    }
}

#[tokio::test]
async fn tags_are_followed_as_posts_have_them_and_listed_to_their_follower() {
    let suite = Suite::new().await;
    let (ada, bob) = (suite.account("ada").await, suite.account("bob").await);
    for tag in ["Straße", "STRASSE", "日本", "rust", "Rust"] {
        follow(&suite, ada, tag, "").await.unwrap();
    }
    let token = follow(&suite, bob, "rust", "").await.unwrap();
    assert_eq!(listed(&suite, ada, 1, &token).await, ["rust", "strasse", "日本"]);
    let token = unfollow(&suite, ada, "RUST").await;
    assert_eq!(listed(&suite, ada, 50, &token).await, ["strasse", "日本"]);
    assert_eq!(listed(&suite, bob, 50, "").await, ["rust"]);
    for none in ["", "#rust", "two words", "123"] {
        assert_eq!(follow(&suite, ada, none, "").await, Err("FIELD_INVALID".to_owned()), "{none}");
    }
}

#[tokio::test]
async fn a_repeat_writes_nothing_and_what_is_over_does_not_come_back() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    follow(&suite, ada, "rust", "f-1").await.unwrap();
    unfollow(&suite, ada, "rust").await;
    let heads = suite.settled().await;
    follow(&suite, ada, "rust", "f-1").await.unwrap();
    unfollow(&suite, ada, "rust").await;
    assert_eq!(suite.settled().await, heads);
    assert_eq!(follow(&suite, ada, "go", "f-1").await, Err("REQUEST_ID_REUSED".to_owned()));
    assert!(listed(&suite, ada, 50, "").await.is_empty());
}

/// Also of those that race for the last place.
#[tokio::test]
async fn no_more_tags_are_followed_than_may_be() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    for n in 1..limits::FOLLOWED_TAGS {
        follow(&suite, ada, &format!("tag{n}"), "").await.unwrap();
    }
    let racing = (0..6).map(|n| {
        let suite = &suite;
        async move { follow(suite, ada, &format!("last{n}"), "").await }
    });
    let answers = futures::future::join_all(racing).await;
    let refused = answers.iter().filter(|answer| **answer == Err("FOLLOWED_TAGS_FULL".to_owned())).count();
    suite.settled().await;
    assert_eq!((refused, listed(&suite, ada, 100, "").await.len()), (5, limits::FOLLOWED_TAGS));
    unfollow(&suite, ada, "tag1").await;
    suite.settled().await;
    follow(&suite, ada, "last", "").await.unwrap();
    suite.settled().await;
    assert_eq!(listed(&suite, ada, 100, "").await.len(), limits::FOLLOWED_TAGS);
}
