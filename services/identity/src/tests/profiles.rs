use kith_proto::identity::v1::{Account, UpdateProfileRequest};
use kith_proto::posts::v1::Facet;
use kith_proto::posts::v1::facet::{Feature, Hashtag, Mention};
use tonic::Code;

use super::*;

fn update(bio: &str, expected_revision: u32, request_id: &str) -> UpdateProfileRequest {
    let profile = Some(Profile { bio: bio.into(), links: vec!["https://kith.example/".into()], ..Profile::default() });
    UpdateProfileRequest { profile, expected_revision, request_id: request_id.into(), ..Default::default() }
}

impl Suite {
    async fn updated(&self, who: RecordId, request: UpdateProfileRequest) -> Result<(Account, String), Status> {
        let answer = self.service.update_profile(by(who, request)).await?.into_inner();
        Ok((answer.account.unwrap(), answer.consistency_token))
    }

    async fn seen(&self, who: RecordId, token: &str) -> Account {
        let request = GetAccountRequest { account_id: who.to_string(), at_least: vec![token.to_owned()] };
        self.service.get_account(by(who, request)).await.unwrap().into_inner().account.unwrap()
    }
}

#[tokio::test]
async fn an_updated_profile_is_read_by_its_token() {
    let suite = Suite::new().await;
    let created = suite.created("ada").await.account.unwrap();
    let ada = RecordId::parse(&created.account_id).unwrap();
    assert_eq!(created.profile_revision, 1);
    let (account, token) = suite.updated(ada, update("counts", 1, "u-1")).await.unwrap();
    assert_eq!((account.profile_revision, &*account.handle), (2, "ada"));
    let profile = account.profile.clone().unwrap();
    assert_eq!(
        (&*profile.display_name, &*profile.bio, profile.links.len()),
        ("", "counts", 1),
        "the profile as a whole"
    );
    assert_eq!(suite.seen(ada, &token).await, account);
    // The first answer stands whatever came later, with the account as it is.
    let (later, _) = suite.updated(ada, update("counts more", 0, "u-2")).await.unwrap();
    assert_eq!(suite.updated(ada, update("counts", 1, "u-1")).await.unwrap().0, later);
    let reused = suite.updated(ada, update("other", 1, "u-1")).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn of_updates_of_one_revision_one_wins() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    for round in 1..6 {
        let updated = |n: usize| suite.updated(ada, update(&format!("{round} {n}"), round, &format!("u-{round}-{n}")));
        let answers = futures::future::join_all([0, 1, 2, 3].map(updated)).await;
        let won: Vec<&Account> = answers.iter().flatten().map(|(account, _)| account).collect();
        assert_eq!(won.iter().map(|account| account.profile_revision).collect::<Vec<_>>(), [round + 1]);
        for lost in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!((lost.code(), &*reason(lost)), (Code::Aborted, "REVISION_STALE"));
        }
    }
    suite.settled().await;
    let digest = suite.digest().await;
    assert_eq!(suite.digest().await, digest);
}

#[tokio::test]
async fn a_profile_that_is_refused_changes_nothing() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await;
    let heads = suite.settled().await;
    let bad = UpdateProfileRequest { profile: None, ..update("", 0, "u-1") };
    let refused = suite.updated(ada, bad).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "FIELD_INVALID"));
    let nobody = suite.updated(RecordId([9; 16]), update("", 0, "u-1")).await.unwrap_err();
    assert_eq!(reason(&nobody), "ACCOUNT_NOT_FOUND");
    let from_the_future = suite.updated(ada, update("", 7, "u-2")).await.unwrap_err();
    assert_eq!(reason(&from_the_future), "REVISION_STALE");
    assert_eq!(suite.seen(ada, &kith_stage::sealed(&heads)).await.profile_revision, 1);
}

fn bio_facets(account: &Account) -> Vec<Facet> {
    account.profile.clone().unwrap_or_default().bio_facets
}

fn mention(range: (u32, u32), handle: &str, account_id: &str) -> Facet {
    let mention = Mention { account_id: account_id.to_owned(), handle: handle.to_owned() };
    Facet { start_byte: range.0, end_byte: range.1, feature: Some(Feature::Mention(mention)) }
}

#[tokio::test]
async fn what_a_bio_names_is_found_when_it_is_written() {
    let suite = Suite::new().await;
    let (ada, eve) = (suite.account("ada").await, suite.account("eve").await);
    let private = Some(Profile { private: true, ..Profile::default() });
    let hidden = UpdateProfileRequest { profile: private, ..update("", 0, "u-1") };
    suite.updated(eve, hidden).await.unwrap();
    let bio = "é @eve @nobody #Rust";
    let tag = Feature::Hashtag(Hashtag { tag: "rust".into() });
    let expected = [
        mention((3, 7), "eve", &eve.to_string()),
        mention((8, 15), "nobody", ""),
        Facet { start_byte: 16, end_byte: 21, feature: Some(tag) },
    ];

    let mut request = update(bio, 0, "u-2");
    request.profile.as_mut().unwrap().bio_facets = vec![mention((0, 1), "eve", "made up")];
    let (account, token) = suite.updated(ada, request).await.unwrap();
    assert_eq!(bio_facets(&account), expected, "a private account too, and nothing of the request's own");
    assert_eq!(bio_facets(&suite.seen(ada, &token).await), expected);

    suite.block(eve, ada).await;
    let (across, _) = suite.updated(ada, update("@eve", 0, "u-3")).await.unwrap();
    assert_eq!(bio_facets(&across), [mention((0, 4), "eve", "")], "across a block she looks like nobody");
}

#[tokio::test]
async fn the_first_bio_has_facets_too_and_its_own_handle_is_nobodys_yet() {
    let suite = Suite::new().await;
    let ada = suite.account("ada").await.to_string();
    let profile = Some(Profile { bio: "@ada @bob".into(), ..Profile::default() });
    let request = CreateAccountRequest { profile, ..new_account("bob", "r-1") };
    let made = suite.service.create_account(anonymous(request.clone())).await.unwrap().into_inner().account.unwrap();
    assert_eq!(bio_facets(&made), [mention((0, 4), "ada", &ada), mention((5, 9), "bob", "")]);
    let again = suite.service.create_account(anonymous(request)).await.unwrap().into_inner().account.unwrap();
    assert_eq!(again, made, "a repeat finds nothing anew");
    let bob = RecordId::parse(&made.account_id).unwrap();
    let (later, _) = suite.updated(bob, update("@bob", 0, "u-1")).await.unwrap();
    assert_eq!(bio_facets(&later), [mention((0, 4), "bob", &made.account_id)]);
}
