use kith_proto::identity::v1::{DeactivateAccountRequest, SearchAccountsRequest, UpdateProfileRequest};
use kith_service::limits;

use super::*;

impl Suite {
    async fn named(&self, handle: &str, display_name: &str) -> RecordId {
        let profile = Some(Profile { display_name: display_name.to_owned(), ..Profile::default() });
        let request = CreateAccountRequest { profile, ..new_account(handle, "r-1") };
        let created = self.service.create_account(anonymous(request)).await.unwrap().into_inner();
        RecordId::parse(&created.account.unwrap().account_id).unwrap()
    }

    async fn renamed(&self, who: RecordId, display_name: &str) -> String {
        let profile = Some(Profile { display_name: display_name.to_owned(), ..Profile::default() });
        let request = UpdateProfileRequest { profile, ..UpdateProfileRequest::default() };
        self.service.update_profile(by(who, request)).await.unwrap().into_inner().consistency_token
    }

    /// All pages of so many.
    async fn search(&self, who: RecordId, query: &str, page_size: i32, at_least: &str) -> Vec<String> {
        let at_least: Vec<String> = Some(at_least.to_owned()).filter(|token| !token.is_empty()).into_iter().collect();
        let (mut handles, mut page_token) = (Vec::new(), String::new());
        loop {
            let (query, at_least) = (query.to_owned(), at_least.clone());
            let request = SearchAccountsRequest { query, page_size, page_token, at_least };
            let page = self.service.search_accounts(by(who, request)).await.unwrap().into_inner();
            assert!(page.accounts.len() <= page_size as usize && !page.incomplete);
            handles.extend(page.accounts.into_iter().map(|account| account.handle));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return handles;
            }
        }
    }
}

#[tokio::test]
async fn accounts_are_found_by_handle_and_name_in_any_script_with_the_token_that_made_them() {
    let suite = Suite::new().await;
    let ada = suite.named("ada_l", "Augusta Ada").await;
    suite.named("taro", "山田太郎").await;
    let strasse = suite.named("nine", "Straße Neun").await;
    for (query, found) in [
        ("AUG", &["ada_l"][..]),
        ("l", &["ada_l"]),
        ("田太", &["taro"]),
        ("strasse", &["nine"]),
        ("ＳＴＲＡＳＳＥ  ne", &["nine"]),
        ("da", &[]),
        ("t", &["taro"]),
    ] {
        assert_eq!(suite.search(ada, query, 50, "").await, found, "{query}");
    }
    let token = suite.renamed(strasse, "Иван").await;
    assert_eq!(suite.search(ada, "ИВ", 50, &token).await, ["nine"]);
    assert!(suite.search(ada, "strasse", 50, &token).await.is_empty(), "an old name");
    for none in ["", "_", "@", "🦀", &"x ".repeat(limits::SEARCH_QUERY_WORDS + 1), &"x".repeat(101)] {
        let request = SearchAccountsRequest { query: none.to_owned(), ..SearchAccountsRequest::default() };
        let refused = suite.service.search_accounts(by(ada, request)).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{none}");
    }
}

#[tokio::test]
async fn nearer_accounts_come_first_then_those_that_fit_better() {
    let suite = Suite::new().await;
    let me = suite.named("me_myself", "").await;
    let [exact, begins, follower, followed, mutual] = [
        suite.named("bob", "").await,
        suite.named("bobby", "").await,
        suite.named("zed", "Bob").await,
        suite.named("yan", "The Bob").await,
        suite.named("xen", "A bobcat").await,
    ];
    suite.follow(follower, me).await.unwrap();
    suite.follow(me, followed).await.unwrap();
    suite.follow(me, mutual).await.unwrap();
    suite.follow(mutual, me).await.unwrap();
    suite.settled().await;
    let ranked = ["xen", "yan", "zed", "bob", "bobby"];
    for page_size in [1, 2, 50] {
        assert_eq!(suite.search(me, "bob", page_size, "").await, ranked);
    }
    assert_eq!(suite.search(exact, "bob", 50, "").await, ["bob", "zed", "bobby", "xen", "yan"]);
    let _ = begins;
}

#[tokio::test]
async fn nobody_finds_whom_a_block_parts_from_it_nor_who_is_away() {
    let suite = Suite::new().await;
    let (ada, bob, cyd) = (suite.account("ada").await, suite.account("bob").await, suite.account("cyd").await);
    assert_eq!(suite.search(ada, "some one", 50, "").await, ["ada", "bob", "cyd"]);
    let token = suite.block(bob, ada).await;
    assert_eq!(suite.search(ada, "bob", 50, &token).await, [""; 0]);
    assert_eq!(suite.search(bob, "some", 50, &token).await, ["bob", "cyd"]);
    let away = suite.service.deactivate_account(by(cyd, DeactivateAccountRequest::default())).await.unwrap();
    let token = away.into_inner().consistency_token;
    assert_eq!(suite.search(bob, "some", 50, &token).await, ["bob"]);
}

/// The rest of a ranking is in the page token: whatever happens between two pages, nobody comes twice and nobody is missed.
#[tokio::test]
async fn a_walk_shows_each_once_whatever_happens_meanwhile() {
    let suite = Suite::new().await;
    let me = suite.account("me_myself").await;
    let mut people = Vec::new();
    for n in 0..9 {
        people.push(suite.named(&format!("pat_{n}"), "").await);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for (step, person) in people.iter().rev().enumerate() {
        let request = SearchAccountsRequest { query: "pat".to_owned(), page_size: 1, page_token, ..Default::default() };
        let page = suite.service.search_accounts(by(me, request)).await.unwrap().into_inner();
        seen.extend(page.accounts.into_iter().map(|account| account.handle));
        page_token = page.next_page_token;
        // Who comes last is the nearest from now on, and others come to be.
        suite.follow(me, *person).await.unwrap();
        suite.named(&format!("pat_0{step}"), "").await;
    }
    assert_eq!(seen, (0..9).map(|n| format!("pat_{n}")).collect::<Vec<_>>());
    assert!(page_token.is_empty());
    let other = SearchAccountsRequest { query: "pa".to_owned(), page_token: "x".to_owned(), ..Default::default() };
    assert_eq!(reason(&suite.service.search_accounts(by(me, other)).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn the_index_is_filled_from_the_tables_and_follows_the_log_also_where_nothing_is_folded() {
    let suite = Suite::new().await;
    let ada = suite.named("ada", "First").await;
    suite.renamed(ada, "Second").await;
    suite.settled().await;
    let (projection, service) = suite.world.replica(false).await;
    let replica = Suite { service, projection, world: World::new() };
    assert_eq!(replica.search(ada, "second", 50, "").await, ["ada"]);
    assert!(replica.search(ada, "first", 50, "").await.is_empty());
    let token = suite.renamed(ada, "Third").await;
    assert_eq!(replica.search(ada, "third", 50, &token).await, ["ada"]);
    let later = suite.created("late").await;
    let found = replica.search(ada, "late", 50, &later.consistency_token).await;
    assert_eq!(found, ["late"]);
    drop(replica);
    let suite = suite.kill().start().await;
    assert_eq!(suite.search(ada, "third", 50, "").await, ["ada"]);
}
