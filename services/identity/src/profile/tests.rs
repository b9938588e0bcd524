use kith_content::Content;
use kith_tables::Timestamp;

use super::*;

fn profile(bio: &str) -> Profile {
    Profile { display_name: "Ada".into(), bio: bio.into(), ..Profile::default() }
}

fn requested(expected_revision: u32) -> ProfileRequested {
    let content = Some(Content::close(&profile("counts")));
    ProfileRequested { expected_revision, content, ..ProfileRequested::default() }
}

#[test]
fn of_updates_from_one_revision_the_first_wins() {
    let mut summary = UpdatesSummary::default();
    let mut judged = |expected| {
        let claim = verdict(&mut summary, &requested(expected));
        (claim.won, claim.revision)
    };
    assert_eq!(judged(1), (true, 2));
    assert_eq!(judged(1), (false, 2), "another had the same revision in mind");
    assert_eq!(judged(0), (true, 3), "whichever it is");
    assert_eq!(judged(7), (false, 3), "nobody can have seen it");
    assert_eq!(judged(3), (true, 4));
    let nothing = ProfileRequested { content: None, ..requested(0) };
    assert!(!verdict(&mut summary, &nothing).won);
}

#[test]
fn only_what_has_lost_for_certain_is_refused_before_it_is_asked_for() {
    let asked = Asked { id: RecordId([1; 16]), actor: "ada".into(), digest: [7; 32], at: Timestamp(9) };
    let command =
        |expected_revision| Command { account_id: "ada".into(), profile: profile("counts"), expected_revision };
    let account = Some(AccountRow::default());
    let before = Before { account, revision: 3, is_open: true, ..Before::default() };
    let decide = |before: &Before, expected| Profiles::decide(before, &asked, &command(expected));
    for expected in [0, 3, 4] {
        let decided = decide(&before, expected).unwrap();
        let Some(Private::ProfileRequested(intent)) = decided else { panic!("{decided:?}") };
        assert_eq!((intent.expected_revision, &intent.payload_digest[..]), (expected, &[7; 32][..]));
    }
    for expected in [1, 2] {
        assert_eq!(decide(&before, expected), Err(Rejection::RevisionStale { current: 3 }));
    }
    let shut = Before { is_open: false, ..before.clone() };
    assert_eq!(decide(&shut, 0), Err(Rejection::EventsNotOpen));
    let judged = |digest: u8| Some(ClaimRow { payload_digest: vec![digest; 32].into(), ..ClaimRow::default() });
    // A repeat is answered whatever is open now.
    assert_eq!(decide(&Before { claim: judged(7), ..shut }, 1), Ok(None));
    assert_eq!(decide(&Before { claim: judged(8), ..before.clone() }, 1), Err(Rejection::RequestIdReused));
    assert_eq!(decide(&Before { account: None, ..before }, 0), Err(Rejection::NotFound));
}

#[test]
fn a_fact_applies_once_and_never_after_a_later_one() {
    let mut account = AccountRow::default();
    assert!(account.takes_update(0));
    account.update_intent_next = 5;
    assert_eq!([3, 4, 5].map(|offset| account.takes_update(offset)), [false, false, true]);
    assert!(Profiles::is_due(None, 3) && !Profiles::is_due(Some(&account), 4));
}

#[test]
fn a_profile_is_bounded_and_all_that_is_wrong_is_named() {
    let refused = |profile: Profile| {
        let failure = parse(profile).unwrap_err();
        let fields: Vec<String> =
            failure.field_violations().iter().map(|violation| violation.field.to_string()).collect();
        (failure.reason_name(), fields)
    };
    assert_eq!(refused(profile(&"x".repeat(257))), ("TEXT_TOO_LONG", vec!["profile.bio".to_owned()]));
    let (_, fields) = refused(Profile {
        display_name: "Ada\u{2067}".into(),
        pronouns: "\u{1b}".into(),
        language: "e".into(),
        avatar_media_id: "..".into(),
        banner_media_id: "x".repeat(129),
        links: vec!["https://kith.example/".into(), "javascript:alert(1)".into()],
        ..Profile::default()
    });
    let all = ["display_name", "pronouns", "language", "avatar_media_id", "banner_media_id", "links[1]"];
    assert_eq!(fields, all.map(|field| format!("profile.{field}")));
    let (_, fields) = refused(Profile { links: vec!["https://kith.example/".into(); 5], ..Profile::default() });
    assert_eq!(fields, ["profile.links"]);
}

#[test]
fn a_profile_is_stored_normalised() {
    assert!(parse(profile(&"👨‍👩‍👧‍👦".repeat(10))).is_ok());
    let full = Profile {
        display_name: " Ada\n@admin".into(),
        bio: "a\r\nb".into(),
        pronouns: " she / her ".into(),
        language: "pt-BR".into(),
        avatar_media_id: "img_1~a.b-c".into(),
        banner_media_id: "x".repeat(128),
        links: vec!["https://kith.example/a?b=c#d".into(); 4],
        bio_facets: vec![Facet::default()],
        private: true,
    };
    let (display_name, bio, pronouns) = ("Ada @admin".into(), "a\nb".into(), "she / her".into());
    let kept = Profile { display_name, bio, pronouns, bio_facets: Vec::new(), ..full.clone() };
    assert_eq!(parse(full), Ok(kept));
}

#[test]
fn the_facets_of_the_longest_bio_are_bounded() {
    let host = "https://example.com/";
    let text = format!("{host}{}", "𐍈".repeat(limits::BIO_GRAPHEMES - host.len()));
    let bio = parse(profile(&text)).unwrap().bio;
    let found = vec![kith_text::facets::find(&bio); 3].concat();
    let kept = mention::within(found.clone(), limits::BIO_FACETS_BYTES);
    assert_eq!(kept[..], found[..1]);
    // As many mentions as a bio has room for, each with an account, are all kept.
    let mentions = "@abc ".repeat(limits::BIO_GRAPHEMES / 5);
    let accounts = [("abc".to_owned(), "a".repeat(32))].into();
    let found = kith_text::facets::find(mentions.trim_end()).into_iter();
    let found: Vec<Facet> = found.map(|facet| mention::resolved(facet, &accounts)).collect();
    assert_eq!(mention::within(found.clone(), limits::BIO_FACETS_BYTES), found);
    assert_eq!(found.len(), 51);
}
