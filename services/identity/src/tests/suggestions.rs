use kith_proto::identity::v1::{
    AcceptFollowRequest, DismissSuggestionRequest, SuggestAccountsRequest, Suggestion, SuggestionReason,
    UpdateProfileRequest,
};
use kith_service::limits;

use super::*;

impl Suite {
    async fn suggestions(&self, who: RecordId, page_size: i32) -> Vec<Suggestion> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = SuggestAccountsRequest { page_size, page_token, at_least: Vec::new() };
            let page = self.service.suggest_accounts(by(who, request)).await.unwrap().into_inner();
            all.extend(page.suggestions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// Who is suggested, once all is folded.
    async fn suggested(&self, who: RecordId) -> Vec<String> {
        self.settled().await;
        self.suggestions(who, 100).await.into_iter().map(|one| one.account.unwrap().account_id).collect()
    }

    async fn dismiss(&self, who: RecordId, whom: RecordId) -> Result<String, String> {
        let request = DismissSuggestionRequest { target_id: whom.to_string(), ..Default::default() };
        let answer = self.service.dismiss_suggestion(by(who, request)).await;
        answer.map(|response| response.into_inner().consistency_token).map_err(|status| reason(&status))
    }

    async fn people<const N: usize>(&self, handles: [&str; N]) -> [RecordId; N] {
        let mut people = [RecordId([0; 16]); N];
        for (person, handle) in people.iter_mut().zip(handles) {
            *person = self.account(handle).await;
        }
        people
    }

    async fn all_follow(&self, edges: &[(RecordId, RecordId)]) {
        for (who, whom) in edges {
            self.follow(*who, *whom).await.unwrap();
        }
    }
}

#[tokio::test]
async fn friends_of_friends_are_suggested_with_those_in_between() {
    let suite = Suite::new().await;
    let [me, bob, cyd, dan, eve, fay] = suite.people(["myself", "bob", "cyd", "dan", "eve", "fay"]).await;
    suite.all_follow(&[(me, bob), (bob, me), (me, cyd), (me, dan)]).await;
    suite.all_follow(&[(bob, eve), (cyd, fay), (dan, fay), (cyd, eve), (bob, cyd)]).await;
    suite.settled().await;
    let suggested = suite.suggestions(me, 100).await;
    let told: Vec<_> = suggested
        .iter()
        .map(|one| {
            let via = one.via.iter().map(|account| account.handle.clone()).collect::<Vec<_>>();
            (one.account.clone().unwrap().handle, one.reason(), via, one.via_count)
        })
        .collect();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("eve".to_owned(), SuggestionReason::FollowedByMutuals, names(&["bob", "cyd"]), 2),
            ("fay".to_owned(), SuggestionReason::FollowedByFollowed, names(&["dan", "cyd"]), 2),
        ],
        "who follows one back counts twice"
    );
    assert_eq!(suite.suggestions(me, 1).await, suggested);
}

#[tokio::test]
async fn nobody_is_suggested_whom_one_follows_blocks_or_has_declined_nor_by_whom_one_does_not_see() {
    let suite = Suite::new().await;
    let [me, bob, eve, fay] = suite.people(["myself", "bob", "eve", "fay"]).await;
    suite.all_follow(&[(me, bob), (bob, eve), (bob, fay)]).await;
    assert_eq!(suite.suggested(me).await.len(), 2);
    suite.block(fay, me).await;
    assert_eq!(suite.suggested(me).await, [eve.to_string()]);
    suite.dismiss(me, eve).await.unwrap();
    assert!(suite.suggested(me).await.is_empty(), "declined");
    let heads = suite.settled().await;
    suite.dismiss(me, eve).await.unwrap();
    assert_eq!(suite.settled().await, heads, "again changes nothing");
    suite.follow(me, eve).await.unwrap();
    assert!(suite.suggested(me).await.is_empty(), "followed");
    suite.settled().await;
    suite.unfollow(me, eve).await;
    assert_eq!(suite.suggested(me).await, [eve.to_string()], "a follow takes it back");
    suite.block(me, bob).await;
    assert!(suite.suggested(me).await.is_empty(), "nobody is between");
    assert_eq!(suite.dismiss(me, me).await, Err("SELF_NOT_ALLOWED".to_owned()));
    assert_eq!(suite.dismiss(me, fay).await, Err("ACCOUNT_NOT_FOUND".to_owned()), "who blocks is not there");
    assert_eq!(suite.dismiss(me, RecordId([9; 16])).await, Err("ACCOUNT_NOT_FOUND".to_owned()));
}

/// Its place in the lists of others is shown to everybody, and its own lists to those whom it let.
#[tokio::test]
async fn a_private_account_is_suggested_and_is_a_reason_to_its_followers_alone() {
    let suite = Suite::new().await;
    let [me, bob, eve, fay] = suite.people(["myself", "bob", "eve", "fay"]).await;
    suite.all_follow(&[(me, bob), (bob, eve), (eve, fay)]).await;
    for account in [bob, eve] {
        let profile = Some(Profile { private: true, ..Profile::default() });
        let request = UpdateProfileRequest { profile, ..UpdateProfileRequest::default() };
        suite.service.update_profile(by(account, request)).await.unwrap();
    }
    assert_eq!(suite.suggested(me).await, [eve.to_string()], "bob was followed before, and shows whom it follows");
    suite.follow(me, eve).await.unwrap();
    assert!(suite.suggested(me).await.is_empty(), "eve is asked, and shows nothing yet");
    let accept = AcceptFollowRequest { target_id: me.to_string(), ..AcceptFollowRequest::default() };
    suite.service.accept_follow(by(eve, accept)).await.unwrap();
    assert_eq!(suite.suggested(me).await, [fay.to_string()]);
    suite.unfollow(me, eve).await;
    assert_eq!(suite.suggested(me).await, [eve.to_string()]);
}

/// However many one follows, and however many they follow, so much is read.
#[tokio::test]
async fn a_suggestion_reads_a_sample_of_bounded_size() {
    let suite = Suite::new().await;
    let me = suite.account("myself").await;
    let star = suite.account("star").await;
    let mut people = Vec::new();
    for n in 0..limits::SUGGEST_OF_EACH + 5 {
        people.push(suite.account(&format!("person_{n}")).await);
    }
    suite.follow(me, star).await.unwrap();
    for person in &people {
        suite.follow(star, *person).await.unwrap();
    }
    let suggested = suite.suggested(me).await;
    assert_eq!(suggested.len(), limits::SUGGEST_OF_EACH);
    assert!(people[..5].iter().all(|oldest| !suggested.contains(&oldest.to_string())), "the newest are taken");
    for person in &people {
        suite.follow(me, *person).await.unwrap();
    }
    suite.settled().await;
    let slices = || suite.world.slices.load(std::sync::atomic::Ordering::Relaxed);
    let before = slices();
    suite.suggestions(me, 100).await;
    assert_eq!(slices() - before, 1 + limits::SUGGEST_FOLLOWED.min(people.len() + 1));
}
