//! Bookmarks: an account's private list of posts, newest first.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::share_service_client::ShareServiceClient;
use kith_proto::engagement::v1::{self, BookmarkRequest, ListBookmarksRequest, RemoveBookmarkRequest};
use tonic::Status;

use super::accounts::Handles;
use super::follows::size;
use super::lists::{List, There, WHOLE, walk, whole};
use super::posts::{self, POSTS, Post};
use super::reactions::{SERVICE, record_around};
use super::requests::{always_hidden, ever_hidden};
use super::{Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{Finding, LISTS, PAGING};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

/// Things on the board: what somebody keeps, or kept.
const BOOKMARKS: &str = "bookmarks";

pub struct Bookmarks;

/// A bookmark that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    id: String,
    at: i64,
}

/// By account and post.
#[derive(Default)]
struct Kept(BTreeMap<(String, String), Timeline<Option<Standing>>>);

impl Kept {
    fn line(&self, account: &str, post_id: &str) -> Timeline<Option<Standing>> {
        self.0.get(&(account.to_owned(), post_id.to_owned())).cloned().unwrap_or_default()
    }

    /// What the account ever kept, by post.
    fn of<'a>(&'a self, account: &'a str) -> impl Iterator<Item = (&'a str, &'a Timeline<Option<Standing>>)> {
        let own = self.0.iter().filter(move |((who, _), _)| who == account);
        own.map(|((_, post_id), line)| (&**post_id, line))
    }
}

impl Noun for Bookmarks {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 5, draw: |scene| Some(op(Bookmark { post_id: post(scene, 300)? })) },
                Draw { weight: 3, draw: |scene| Some(op(RemoveBookmark { post_id: post(scene, 850)? })) },
                Draw { weight: 2, draw: |_| Some(whole(OfCaller)) },
                Draw { weight: 1, draw: |scene| Some(walk(OfCaller, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Kept>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Engagement(event) = &fact.event else { return };
        let (actor, post_id, id) = match event {
            Engagement::Bookmarked(event) => (&event.actor_id, &event.post_id, &event.bookmark_id),
            Engagement::BookmarkRemoved(event) => (&event.actor_id, &event.post_id, &event.bookmark_id),
            _ => return,
        };
        if !fact.is_new {
            return;
        }
        let line = model.state_mut::<Kept>().0.entry((actor.clone(), post_id.clone())).or_default();
        let now = line.last();
        let then = match (event, now) {
            (Engagement::Bookmarked(_), None) => Some(Standing { id: id.clone(), at: fact.at }),
            (Engagement::BookmarkRemoved(_), Some(standing)) if standing.id == *id => None,
            (_, now) => now,
        };
        line.set(fact.position.offset, then);
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let of = |person: &String| [WHOLE, 2].map(|page_size| (person.clone(), walk(OfCaller, page_size)));
        model.state::<Handles>().people().flat_map(of).collect()
    }
}

/// A post; so often in a thousand one that the actor keeps, or kept.
fn post(scene: &Scene<'_>, kept_per_mille: u32) -> Option<String> {
    let kept = scene.own(BOOKMARKS).filter(|_| scene.chance.per_mille(kept_per_mille));
    Some(kept.map(|kept| &kept.on).or_else(|| scene.one(POSTS).map(|post| &post.id))?.clone())
}

fn client(to: &Callers) -> ShareServiceClient<Way> {
    ShareServiceClient::new(to.way(SERVICE))
}

/// Whether `holds` at some time while it was asked for.
fn ever(model: &Model, call: &Call, post_id: &str, holds: impl Fn(&Option<Standing>) -> bool) -> bool {
    let window = call.meanwhile(model.partition(topics::ENGAGEMENT, post_id));
    model.state::<Kept>().line(&call.actor, post_id).ever(window, holds)
}

#[derive(Debug)]
struct Bookmark {
    post_id: String,
}

#[derive(Debug)]
struct RemoveBookmark {
    post_id: String,
}

#[async_trait]
impl Operation for Bookmark {
    /// Of which post, and since when.
    type Answer = (String, i64);

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<(String, i64)>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = BookmarkRequest { post_id: self.post_id.clone(), request_id, at_least };
        let done = client(to).bookmark(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new(seen(done.bookmark.unwrap_or_default()), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.post_id, "kith.engagement.v1.ShareService/Bookmark", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.post_id, Option::is_some)
    }

    fn stands(&self, model: &Model, call: &Call, (post_id, at): &(String, i64)) -> bool {
        let line = model.state::<Kept>().line(&call.actor, &self.post_id);
        let stood = |now: &Option<Standing>| now.as_ref().is_some_and(|standing| standing.at == *at);
        *post_id == self.post_id && line.ever((0, u64::MAX), stood)
    }

    fn learn(&self, board: &mut Board, actor: &str, _: &(String, i64)) {
        let (id, by, on) = (format!("{actor} {}", self.post_id), vec![actor.to_owned()], self.post_id.clone());
        board.add(BOOKMARKS, Thing { id, by, on, ..Thing::default() });
    }
}

#[async_trait]
impl Operation for RemoveBookmark {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = RemoveBookmarkRequest { post_id: self.post_id.clone(), request_id, at_least };
        let done = client(to).remove_bookmark(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.post_id, "kith.engagement.v1.ShareService/RemoveBookmark", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.post_id, Option::is_none)
    }
}

/// The caller's own bookmarks.
#[derive(Debug)]
struct OfCaller;

/// Post and time.
fn seen(bookmark: v1::Bookmark) -> (String, i64) {
    (bookmark.post_id, micros(bookmark.create_time.as_ref()))
}

#[async_trait]
impl List for OfCaller {
    /// Post and time.
    type Row = (String, i64);

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<(String, i64)>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListBookmarksRequest { page_size, page_token, at_least };
        let page = client(to).list_bookmarks(to.from(&actor, request)).await?.into_inner();
        let answer = page.bookmarks.into_iter().map(seen).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[(String, i64)]) -> Vec<Finding> {
        let place = |post_id: &str, at: i64| format!("{post_id} of {at}");
        let mut there = There::default();
        for (post_id, line) in model.state::<Kept>().of(&call.actor) {
            let states = line.within(call.window(model.partition(topics::ENGAGEMENT, post_id)));
            let (ever, always) = visible(model, call, post_id);
            for standing in states.iter().flatten() {
                let stayed = states.iter().all(|now| now.as_ref() == Some(standing));
                there.put(&place(post_id, standing.at), ever, always && stayed);
            }
        }
        let places: Vec<String> = rows.iter().map(|(post_id, at)| place(post_id, *at)).collect();
        let mut findings = there.check(call, &places.iter().map(String::as_str).collect::<Vec<_>>());
        if !rows.is_sorted_by(|(_, earlier), (_, later)| earlier >= later) {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {rows:?}", call.op, call.actor)));
        }
        let posts: BTreeSet<&str> = rows.iter().map(|(post_id, _)| &**post_id).collect();
        if call.pages == 1 && posts.len() < rows.len() {
            findings.push(Finding::new(PAGING, format!("{} of {} repeats: {rows:?}", call.op, call.actor)));
        }
        findings
    }
}

/// Whether the caller might see the post at some time that the call could see, and whether all the time.
fn visible(model: &Model, call: &Call, post_id: &str) -> (bool, bool) {
    let states = posts::states(model, call, post_id);
    let Some(Post { author, .. }) = states.last() else { return (false, false) };
    let ever = states.iter().any(Post::stands) && !always_hidden(model, call, &call.actor, author);
    let always = states.iter().all(Post::stands) && !ever_hidden(model, call, &call.actor, author);
    (ever, always)
}
