//! Bookmarks: posts that an account keeps for itself, listed newest first. Nobody else is told.

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream, try_join};
use kith_content::Opener;
use kith_fold::{AppliedIds, Fold, Found, Record, Rows, Scope, State};
use kith_log::{Topic, topics};
use kith_proto::Event::Engagement;
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{
    Bookmark, BookmarkRemoved, BookmarkRequest, BookmarkResponse, Bookmarked, ListBookmarksRequest,
    ListBookmarksResponse, RemoveBookmarkRequest, RemoveBookmarkResponse, rpc,
};
use kith_proto::time;
use kith_relations::hold::{Change, Held, Turn};
use kith_service::Failure;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, Value, row};

use crate::scene::{self, Scene, Visible};
use crate::{EngagementService, Rejection, subject};

/// Posts of one page that are read side by side.
const POSTS_IN_FLIGHT: usize = 32;

/// An account's bookmarks. They come from the log partitions of their posts; each row from one of them.
pub static BOOKMARKS: Table = Table {
    name: "bookmarks",
    partition: &[Column::text("account_id")],
    clustering: &[Column::timestamp("at"), Column::text("id")],
    order: Order::Descending,
    sections: &[Section::of::<BookmarkRow>("bookmark"), Section::of::<PostRow>("bookmark_of_post")],
    summary: &[],
};

row! {
    /// A bookmark, under its time and id; also one that was removed.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct BookmarkRow in 0 { pub post_id: String, pub removed: bool }
}
row! {
    /// The account's last bookmark of a post, under time 0 and the post's id.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct PostRow in 1 {
        pub bookmarked: bool,
        pub bookmark_id: String,
        /// When that was; also of one that is over.
        pub since: Timestamp,
        /// When the last one that was removed was removed; 0: none was.
        pub end_time: Timestamp,
        pub applied: AppliedIds,
    }
}

/// Asks for a bookmark, or for none.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Of the bookmark that it makes; `None`: there is to be none.
    pub bookmark_id: Option<String>,
    pub post_id: String,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub scene: Scene,
    pub own: PostRow,
}

/// What an event does to the account's bookmark of a post.
fn change(record: &Record) -> Option<Change<'_, ()>> {
    match &record.event {
        Engagement(Event::Bookmarked(Bookmarked { bookmark_id, post_id, actor_id, .. })) => {
            Change::new(post_id, actor_id, bookmark_id, Some(()))
        }
        Engagement(Event::BookmarkRemoved(BookmarkRemoved { bookmark_id, post_id, actor_id, .. })) => {
            Change::new(post_id, actor_id, bookmark_id, None)
        }
        _ => None,
    }
}

/// What the change makes of the row; `None`: the record was applied before.
fn evolve(own: &mut PostRow, change: &Change<'_, ()>, record: &Record) -> Option<Turn<()>> {
    let held = Held { stands: &mut own.bookmarked, id: &mut own.bookmark_id, applied: &mut own.applied };
    let turn = change.turn(held, record.id);
    match turn {
        Some(Turn::Begins(())) => own.since = record.time,
        Some(Turn::Ends) => own.end_time = record.time,
        Some(Turn::Stays) | None => {}
    }
    turn
}

/// Folds bookmarks by account.
pub struct Bookmarks;

impl Fold for Bookmarks {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&BOOKMARKS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = change(record)?;
        Some(Scope::new(&BOOKMARKS, Key::text(change.actor_id)).with::<PostRow>(of_post(change.post_id)))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = change(record) else { return };
        let mut own = rows.get::<PostRow>(of_post(change.post_id)).unwrap_or_default();
        let Some(turn) = evolve(&mut own, &change, record) else { return };
        if turn != Turn::Stays {
            let row = BookmarkRow { post_id: change.post_id.to_owned(), removed: turn == Turn::Ends };
            rows.put([own.since.into(), change.id.into()], row);
        }
        rows.put(of_post(change.post_id), own);
    }
}

fn of_post(post_id: &str) -> [Value; 2] {
    [Timestamp::default().into(), post_id.into()]
}

#[async_trait]
impl Noun for Bookmarks {
    type Service = EngagementService;
    type Command = Command;
    type State = Before;
    type Event = Event;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::ENGAGEMENT;

    fn key(command: &Command) -> &str {
        &command.post_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let (state, post_id) = (&seen.state, &*command.post_id);
        let key = Key::text(&asked.actor);
        let own = state.row::<PostRow>(&BOOKMARKS, &key, of_post(post_id));
        let (scene, own) = try_join!(scene::load(state, &asked.actor, post_id, ""), own)?;
        let rests_on = own.as_ref().map(|own| own.position);
        let own = own.map(|own: Found<PostRow>| own.row).unwrap_or_default();
        let newest = own.since.max(own.end_time).max(scene.newest());
        Ok(Standing::new(Before { scene, own }, rests_on).after(newest))
    }

    /// `None`: it stands as asked already, or this very command was applied before. What is bookmarked can be removed whatever
    /// has become of the post.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Event>, Rejection> {
        let own = &before.own;
        let (actor_id, post_id) = (asked.actor.clone(), command.post_id.clone());
        let create_time = Some(time::of_us(asked.at.0));
        match (&command.bookmark_id, own.bookmarked) {
            _ if own.applied.contains(asked.id) => Ok(None),
            (Some(_), true) | (None, false) => before.scene.visible().map(|_| None),
            (Some(bookmark_id), false) => {
                before.scene.visible()?;
                let bookmark_id = bookmark_id.clone();
                Ok(Some(Event::Bookmarked(Bookmarked { bookmark_id, post_id, actor_id, create_time })))
            }
            (None, true) => {
                let bookmark_id = own.bookmark_id.clone();
                Ok(Some(Event::BookmarkRemoved(BookmarkRemoved { bookmark_id, post_id, actor_id, create_time })))
            }
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = change(record) {
            evolve(&mut before.own, &change, record);
        }
    }
}

impl Answers<rpc::Bookmark> for Bookmarks {
    fn parse(_: &EngagementService, asked: &Asked, request: BookmarkRequest) -> Result<Command, Failure> {
        let BookmarkRequest { post_id, .. } = request;
        parse_id("post_id", &post_id)?;
        Ok(Command { bookmark_id: Some(ids::made_in(asked.id, &post_id).to_string()), post_id })
    }

    /// The bookmark as it stands, or, when it was removed since, as it was.
    fn answer(_: &Opener, _: &Asked, command: Command, before: Before) -> Result<BookmarkResponse, Failure> {
        let bookmark = Bookmark { post_id: command.post_id, create_time: Some(time::of_us(before.own.since.0)) };
        Ok(BookmarkResponse { bookmark: Some(bookmark), ..BookmarkResponse::default() })
    }
}

impl Answers<rpc::RemoveBookmark> for Bookmarks {
    fn parse(_: &EngagementService, _: &Asked, request: RemoveBookmarkRequest) -> Result<Command, Failure> {
        parse_id("post_id", &request.post_id)?;
        Ok(Command { bookmark_id: None, post_id: request.post_id })
    }

    fn answer(_: &Opener, _: &Asked, command: Command, _: Before) -> Result<RemoveBookmarkResponse, Failure> {
        Ok(RemoveBookmarkResponse { post_id: command.post_id, ..RemoveBookmarkResponse::default() })
    }
}

#[async_trait]
impl Lists<rpc::ListBookmarks> for Bookmarks {
    type Service = EngagementService;
    type Wanted = ();

    fn parse(_: ListBookmarksRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &EngagementService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListBookmarksResponse, Option<Vec<Value>>), Failure> {
        let key = Key::text(&seen.viewer);
        let (rows, next) = page.rows::<BookmarkRow>(seen, &BOOKMARKS, &key, Vec::new()).await?;
        let standing: Vec<Found<BookmarkRow>> = rows.into_iter().filter(|found| !found.row.removed).collect();
        let mut scenes = scenes(&seen.state, &standing).await?;
        scene::mark_blocked(&seen.state, &seen.viewer, &mut scenes).await?;
        let all = standing.len();
        let shown = standing.into_iter().zip(scenes).filter(|(_, scene)| scene.visible().is_ok());
        let bookmarks: Vec<Bookmark> = shown.map(|(found, _)| present(found)).collect();
        let omitted_count = omitted_count(all - bookmarks.len());
        Ok((ListBookmarksResponse { bookmarks, omitted_count, ..ListBookmarksResponse::default() }, next))
    }
}

async fn scenes(state: &State, bookmarks: &[Found<BookmarkRow>]) -> Result<Vec<Scene>, StoreError> {
    let posts = bookmarks.iter().map(|found| subject::post(state, &found.row.post_id));
    let posts = stream::iter(posts.collect::<Vec<_>>()).buffered(POSTS_IN_FLIGHT);
    posts.map_ok(|row| Scene { post: Visible { row, blocked: false }, comment: None }).try_collect().await
}

fn present(found: Found<BookmarkRow>) -> Bookmark {
    let create_time = Some(time::of_us(found.time(0).0));
    Bookmark { post_id: found.row.post_id, create_time }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subject::SubjectRow;
    use crate::tests::history::{History, asked, hex, id};

    fn before(own: PostRow) -> Before {
        let row = Some(SubjectRow { author_id: hex(0xb), ..SubjectRow::default() });
        Before { scene: Scene { post: Visible { row, blocked: false }, comment: None }, own }
    }

    fn decided(before: &Before, n: u8, bookmark: bool) -> Result<Option<Event>, Rejection> {
        let command = Command { bookmark_id: bookmark.then(|| hex(n)), post_id: hex(1) };
        Bookmarks::decide(before, &asked(n), &command)
    }

    fn standing(n: u8) -> PostRow {
        let mut row = PostRow { bookmarked: true, bookmark_id: hex(n), ..PostRow::default() };
        assert!(row.applied.insert(id(n)));
        row
    }

    #[test]
    fn a_bookmark_is_made_once_and_removed_by_its_id() {
        assert!(matches!(decided(&before(PostRow::default()), 1, true), Ok(Some(Event::Bookmarked(_)))));
        assert_eq!(decided(&before(standing(1)), 2, true), Ok(None));
        assert_eq!(decided(&before(PostRow::default()), 2, false), Ok(None));
        let Ok(Some(Event::BookmarkRemoved(event))) = decided(&before(standing(1)), 2, false) else {
            panic!("not removed")
        };
        assert_eq!(event.bookmark_id, hex(1));
    }

    #[test]
    fn what_cannot_be_seen_is_not_bookmarked_and_can_be_removed() {
        let gone = |own| Before { own, ..Before::default() };
        for bookmark in [true, false] {
            assert_eq!(decided(&gone(PostRow::default()), 2, bookmark), Err(Rejection::PostNotFound));
        }
        assert!(matches!(decided(&gone(standing(1)), 2, false), Ok(Some(Event::BookmarkRemoved(_)))));
        assert_eq!(decided(&gone(PostRow { bookmarked: false, ..standing(1) }), 1, true), Ok(None), "a copy");
    }

    fn event(bookmark: u8, post: u8, removes: bool) -> Event {
        let (bookmark_id, post_id, actor_id) = (hex(bookmark), hex(post), hex(0xa));
        let create_time = Some(time::of_us(i64::from(bookmark)));
        match removes {
            false => Event::Bookmarked(Bookmarked { bookmark_id, post_id, actor_id, create_time }),
            true => Event::BookmarkRemoved(BookmarkRemoved { bookmark_id, post_id, actor_id, create_time }),
        }
    }

    proptest! {
        /// Copies and ends of what is over change nothing: at most one bookmark of a post stands, the one that its row names.
        #[test]
        fn the_list_has_what_stands(
            steps in prop::collection::vec((1_u8..20, 1_u8..4, any::<bool>(), 0_usize..40), 1..60),
        ) {
            let mut history = History::new(&BOOKMARKS);
            for (bookmark, post, removes, copied) in steps {
                // The id of a bookmark is made in its post.
                history.append(&Bookmarks, event(bookmark * 4 + post, post, removes));
                history.append_copy(&Bookmarks, copied);
            }
            history.replay(&Bookmarks);
            for post in 1..4 {
                let own = history.rows.get::<PostRow>(of_post(&hex(post))).unwrap_or_default();
                for bookmark in 1..20 {
                    let id = hex(bookmark * 4 + post);
                    let times = (0..100).map(|n| Timestamp(i64::from(n)));
                    let standing = times.filter_map(|at| history.rows.get::<BookmarkRow>([at.into(), id.as_str().into()]));
                    let standing = standing.filter(|row| !row.removed).count();
                    prop_assert_eq!(standing, usize::from(own.bookmarked && own.bookmark_id == id));
                }
            }
        }
    }
}
