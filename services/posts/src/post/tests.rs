use kith_log::{LogPartition, Position, RecordId};
use kith_proto::Event;
use kith_proto::posts::v1::{PostAttributes, PostContent, PostEdited};
use proptest::prelude::*;

use super::*;

const ID: RecordId = RecordId([7; 16]);

fn said(text: &str) -> Said {
    let languages = vec!["en".into(), "pt-BR".into()];
    let attributes = PostAttributes { languages, ..PostAttributes::default() };
    Said { content: PostContent { text: text.into(), facets: Vec::new() }, attributes }
}

fn content(text: &str) -> Option<Content> {
    Some(Content::close(&said(text).content))
}

fn creation(text: &str) -> PostCreated {
    PostCreated {
        post_id: ID.to_string(),
        author_id: "ada".into(),
        content: content(text),
        attributes: Some(said(text).attributes),
        create_time: Some(time::of_us(1_000_000)),
        payload_digest: Bytes::copy_from_slice(&asked(text).digest),
    }
}

fn created(text: &str) -> PostEvent {
    PostEvent::PostCreated(creation(text))
}

fn edited(text: &str, revision: u32, intent_offset: u64) -> PostEvent {
    PostEvent::PostEdited(PostEdited {
        post_id: ID.to_string(),
        revision,
        content: content(text),
        attributes: Some(said(text).attributes),
        edit_time: Some(time::of_us(2_000_000)),
        intent_offset,
        ..PostEdited::default()
    })
}

fn deleted() -> PostEvent {
    let delete_time = Some(time::of_us(3_000_000));
    PostEvent::PostDeleted(PostDeleted { post_id: ID.to_string(), delete_time, ..PostDeleted::default() })
}

fn given(events: &[PostEvent]) -> Option<PostRow> {
    let mut state = None;
    for event in events.iter().cloned().map(Event::Posts) {
        let at = Timestamp(time::unix_us(event.time()));
        let Event::Posts(event) = event else { continue };
        evolve(&mut state, &event, at);
    }
    state
}

/// Ada asks for what says `text`.
fn asked(text: &str) -> Asked {
    let mut digest = [0; 32];
    digest[..text.len()].copy_from_slice(text.as_bytes());
    Asked { id: ID, actor: "ada".into(), digest, at: Timestamp(3_000_000) }
}

fn create(post: &Option<PostRow>, text: &str) -> Result<Option<PostEvent>, Rejection> {
    let before = Before { post: post.clone(), said: said(text) };
    let command = Command::Create { post_id: ID.to_string(), text: text.into(), languages: Vec::new() };
    Posts::decide(&before, &asked(text), &command)
}

fn delete(post: &Option<PostRow>, actor: &str) -> Result<Option<PostEvent>, Rejection> {
    let before = Before { post: post.clone(), ..Before::default() };
    let asked = Asked { actor: actor.into(), ..asked("") };
    Posts::decide(&before, &asked, &Command::Delete { post_id: ID.to_string() })
}

#[test]
fn given_a_post_when_it_is_presented_then_it_reads_as_written() {
    let post = given(&[created("hello"), edited("hello!", 2, 0)]).unwrap().present(&Opener::new(), "p");
    assert_eq!(
        (post.text.as_str(), post.revision, &post.languages[..]),
        ("hello!", 2, &["en".into(), "pt-BR".into()][..])
    );
    assert_eq!((post.create_time.unwrap().seconds, post.edit_time.unwrap().seconds), (1, 2));
    assert_eq!(given(&[created("hello")]).unwrap().present(&Opener::new(), "p").edit_time, None);
}

#[test]
fn given_an_edit_when_an_earlier_intents_fact_comes_late_then_it_changes_nothing() {
    let late = given(&[created("a"), edited("c", 3, 5), edited("b", 2, 4), edited("c again", 3, 5)]);
    assert_eq!(late, given(&[created("a"), edited("c", 3, 5)]));
}

#[test]
fn given_a_deleted_post_when_anything_comes_then_it_stays_deleted_and_silent() {
    let post = given(&[created("a"), deleted(), edited("b", 2, 9), created("a"), deleted()]).unwrap();
    assert!(post.deleted && post.content.is_empty() && post.languages.is_empty());
    assert_eq!(delete(&Some(post.clone()), "ada"), Ok(None));
    assert_eq!(delete(&Some(post), "bob"), Err(Rejection::NotFound));
}

#[test]
fn given_no_post_when_facts_about_it_come_then_there_is_still_none() {
    assert_eq!(given(&[edited("b", 2, 1), deleted()]), None);
    assert_eq!(delete(&None, "ada"), Err(Rejection::NotFound));
}

#[test]
fn given_a_post_when_it_is_created_again_then_only_the_same_content_is_fine() {
    let post = given(&[created("a"), edited("b", 2, 1)]);
    assert_eq!(create(&post, "a"), Ok(None));
    assert_eq!(create(&post, "b"), Err(Rejection::RequestIdReused));
}

#[test]
fn given_a_post_when_another_deletes_it_then_it_is_refused() {
    let post = given(&[created("a")]);
    assert_eq!(delete(&post, "bob"), Err(Rejection::NotTheAuthor));
    assert!(matches!(delete(&post, "ada"), Ok(Some(PostEvent::PostDeleted(_)))));
}

#[test]
fn an_event_without_an_id_or_content_breaks_nothing() {
    let empty = given(&[PostEvent::PostCreated(PostCreated::default())]).unwrap();
    assert_eq!((empty.content.is_empty(), empty.revision), (true, 1));
    for id in [String::new(), "x".repeat(9_000)] {
        let event = Event::Posts(PostEvent::PostDeleted(PostDeleted { post_id: id, ..PostDeleted::default() }));
        let position = Position { partition: LogPartition { topic: topics::POSTS, index: 0 }, offset: 1 };
        assert!(Posts.scope(&Record::new(position, ID, event)).is_none());
    }
}

fn any_event() -> impl Strategy<Value = PostEvent> {
    prop_oneof![
        2 => "[ab]".prop_map(|text| created(&text)),
        4 => ("[a-z]", 2..5_u32, 0..6_u64).prop_map(|(text, revision, offset)| edited(&text, revision, offset)),
        1 => Just(deleted()),
    ]
}

proptest! {
    #[test]
    fn a_copy_of_any_event_at_any_later_place_changes_nothing(
        after in prop::collection::vec(any_event(), 0..20),
        copied in any::<prop::sample::Index>(),
        later in any::<prop::sample::Index>(),
    ) {
        // What comes before the creation counts for nothing, so a later one is no copy of it.
        let events = [vec![created("a")], after].concat();
        let copied = copied.index(events.len());
        let place = copied + 1 + later.index(events.len() - copied);
        let mut with_copy = events.clone();
        with_copy.insert(place, events[copied].clone());
        prop_assert_eq!(given(&with_copy), given(&events));
    }
}
