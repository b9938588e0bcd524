use kith_proto::identity::v1::{Account, UpdateProfileRequest};
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
