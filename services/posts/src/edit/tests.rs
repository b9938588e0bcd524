use kith_content::Content;
use kith_tables::Timestamp;
use proptest::prelude::*;

use super::*;

fn intent(expected_revision: u32) -> EditRequested {
    EditRequested {
        author_id: "ada".into(),
        expected_revision,
        content: Some(Content::default()),
        payload_digest: vec![1].into(),
        ..EditRequested::default()
    }
}

fn asked(by: &str) -> Asked {
    let mut digest = [0; 32];
    digest[0] = 1;
    Asked { id: RecordId([9; 16]), actor: by.into(), digest, at: Timestamp(5) }
}

fn command(expected_revision: u32) -> Command {
    Command { post_id: "p".into(), text: "hello".into(), expected_revision }
}

fn verdicts(expected: &[u32]) -> Vec<(bool, i64)> {
    let mut summary = EditsSummary::default();
    let verdict = |&expected| verdict(&mut summary, &intent(expected));
    expected.iter().map(verdict).map(|claim| (claim.won, claim.revision)).collect()
}

#[test]
fn given_one_revision_when_two_start_from_it_then_the_first_wins() {
    assert_eq!(verdicts(&[1, 1, 2, 2, 1]), [(true, 2), (false, 2), (true, 3), (false, 3), (false, 3)]);
}

#[test]
fn an_edit_from_any_revision_wins_and_one_from_the_future_loses() {
    assert_eq!(verdicts(&[0, 0, 7, 3]), [(true, 2), (true, 3), (false, 3), (true, 4)]);
}

#[test]
fn an_intent_without_content_loses() {
    let mut summary = EditsSummary::default();
    assert!(!verdict(&mut summary, &EditRequested { content: None, ..intent(0) }).won);
    assert_eq!(summary, EditsSummary::default());
}

#[test]
fn a_fact_is_due_until_the_post_has_taken_it_or_is_gone() {
    let post = |edit_intent_next| PostRow { edit_intent_next, ..PostRow::default() };
    assert!(Edits::is_due(None, 4), "tables that lost it show it again later");
    assert!(Edits::is_due(Some(&post(0)), 4) && Edits::is_due(Some(&post(4)), 4));
    assert!(!Edits::is_due(Some(&post(5)), 4));
    assert!(!Edits::is_due(Some(&PostRow { deleted: true, ..post(0) }), 4));
}

#[test]
fn what_has_lost_for_certain_is_refused_and_the_rest_is_the_logs() {
    let post = PostRow { author_id: "ada".into(), ..PostRow::default() };
    let gone = PostRow { deleted: true, ..post.clone() };
    let state = |post: Option<&PostRow>| EditState { post: post.cloned(), revision: 3, ..EditState::default() };
    let by_ada = |post, expected| Edits::decide(&state(post), &asked("ada"), &command(expected));
    assert_eq!(by_ada(Some(&post), 2), Err(Rejection::RevisionStale { current: 3 }));
    for expected in [0, 3, 4] {
        let intent = by_ada(Some(&post), expected).unwrap().unwrap();
        assert_eq!((intent.expected_revision, &*intent.author_id), (expected, "ada"));
    }
    assert_eq!(by_ada(None, 0), Err(Rejection::NotFound));
    assert_eq!(by_ada(Some(&gone), 0), Err(Rejection::NotFound));
    let by_bob = |post| Edits::decide(&state(Some(post)), &asked("bob"), &command(0));
    assert_eq!(by_bob(&post), Err(Rejection::NotTheAuthor));
    assert_eq!(by_bob(&gone), Err(Rejection::NotFound));
}

#[test]
fn an_intent_asked_for_again_is_not_appended_again() {
    let post = Some(PostRow { author_id: "ada".into(), ..PostRow::default() });
    let claim = Some(ClaimRow { payload_digest: asked("ada").digest.to_vec().into(), ..ClaimRow::default() });
    let state = EditState { post, claim, revision: 3, ..EditState::default() };
    assert_eq!(Edits::decide(&state, &asked("ada"), &command(1)), Ok(None));
    let other = Asked { digest: [2; 32], ..asked("ada") };
    assert_eq!(Edits::decide(&state, &other, &command(1)), Err(Rejection::RequestIdReused));
}

proptest! {
    #[test]
    fn revisions_are_dense_and_each_is_won_once(expected in prop::collection::vec(0..6_u32, 0..40)) {
        let verdicts = verdicts(&expected);
        let won: Vec<i64> = verdicts.iter().filter(|(won, _)| *won).map(|(_, revision)| *revision).collect();
        prop_assert_eq!(won, (2..).take(verdicts.iter().filter(|(won, _)| *won).count()).collect::<Vec<i64>>());
    }
}
