//! Feeds: the naive join of follows, posts and shares, within the window of a read. It has no records of its own.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::feeds::v1::{FeedItem, GetAuthorFeedRequest, GetHomeFeedRequest, GetTagFeedRequest};
use tonic::Status;

use super::accounts::{ACCOUNTS, Handles};
use super::counts::{self, Mine, SeenCounts};
use super::follows::{Edge, edges, size};
use super::lists::{List, WHOLE, walk, whole};
use super::mutes::{Scope, always_kept, ever_kept};
use super::posts::{self, Post, SeenPost, TAGS, Written, standing};
use super::reactions::Subject;
use super::requests::{always_hidden, ever_hidden};
use super::{Draw, Noun, shares};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::checks::{FEED, Finding, HIDDEN, PAGING, TOKEN, times};
use crate::simulation::history::Call;
use crate::simulation::model::{Model, micros};
use crate::simulation::operation::{Ask, Op, Reply};

const SERVICE: &str = "feeds";

pub struct Feeds;

/// An entry of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenItem {
    post: SeenPost,
    counts: SeenCounts,
    mine: Mine,
    shared_by: Option<String>,
    /// What it is ordered by.
    at: i64,
}

impl SeenItem {
    fn of(item: FeedItem) -> Self {
        let post = SeenPost::of(item.post.unwrap_or_default());
        let (shared_by, at) = match item.reason.and_then(|reason| reason.reason) {
            Some(Reason::SharedBy(by)) => (Some(by.account_id), micros(by.share_time.as_ref())),
            Some(Reason::FollowedAuthor(_)) | None => (None, post.at),
        };
        let mine = item.viewer_state.unwrap_or_default();
        let counts = SeenCounts::of(item.counts.unwrap_or_default());
        Self { post, counts, mine: (mine.reaction, mine.shared), shared_by, at }
    }
}

impl Noun for Feeds {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 7, draw: |scene| Some(whole(Home { include_shares: scene.chance.per_mille(700) })) },
                Draw { weight: 1, draw: |scene| Some(walk(Home { include_shares: true }, size(scene))) },
                Draw { weight: 2, draw: |scene| Some(whole(Author { account: scene.one(ACCOUNTS)?.id.clone() })) },
                Draw {
                    weight: 1,
                    draw: |scene| Some(walk(Author { account: scene.one(ACCOUNTS)?.id.clone() }, size(scene))),
                },
                Draw { weight: 2, draw: |scene| Some(whole(Tagged { tag: scene.chance.pick(&TAGS)? })) },
                Draw { weight: 1, draw: |scene| Some(walk(Tagged { tag: scene.chance.pick(&TAGS)? }, size(scene))) },
            ]
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let of = |person: &String| {
            let home = |include_shares, page_size| walk(Home { include_shares }, page_size);
            let author = walk(Author { account: person.clone() }, 2);
            let [tea, rain] = TAGS.map(|tag| walk(Tagged { tag }, 3));
            let all = [home(true, WHOLE), home(false, WHOLE), home(true, 3), author, tea, rain];
            all.map(|op| (person.clone(), op))
        };
        model.state::<Handles>().people().flat_map(of).collect()
    }
}

fn client(to: &Callers) -> FeedServiceClient<Way> {
    FeedServiceClient::new(to.way(SERVICE))
}

/// The caller's own.
#[derive(Debug)]
struct Home {
    include_shares: bool,
}

/// What one account wrote and shared.
#[derive(Debug)]
struct Author {
    account: String,
}

/// The posts that carry a hashtag.
#[derive(Debug)]
struct Tagged {
    tag: &'static str,
}

#[async_trait]
impl List for Home {
    type Row = SeenItem;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenItem>>, Status> {
        let (include_shares, Ask { actor, at_least, page_token, .. }) = (self.include_shares, ask);
        let request = GetHomeFeedRequest { include_shares, page_size, page_token, at_least };
        let page = client(to).get_home_feed(to.from(&actor, request)).await?.into_inner();
        let answer = page.items.into_iter().map(SeenItem::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenItem]) -> Vec<Finding> {
        let belongs = |item: &SeenItem| in_home(model, call, item, self.include_shares);
        let must = |post_id: &str| must_be_home(model, call, post_id, self.include_shares);
        feed(model, call, rows, belongs, must)
    }
}

#[async_trait]
impl List for Author {
    type Row = SeenItem;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenItem>>, Status> {
        let (account_id, Ask { actor, at_least, page_token, .. }) = (self.account.clone(), ask);
        let request = GetAuthorFeedRequest { account_id, include_shares: true, page_size, page_token, at_least };
        let page = client(to).get_author_feed(to.from(&actor, request)).await?.into_inner();
        let answer = page.items.into_iter().map(SeenItem::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenItem]) -> Vec<Finding> {
        let belongs = |item: &SeenItem| of_author(model, call, item, &self.account);
        feed(model, call, rows, belongs, |post_id| must_be_of_author(model, call, post_id, &self.account))
    }
}

#[async_trait]
impl List for Tagged {
    type Row = SeenItem;

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<SeenItem>>, Status> {
        let (tag, Ask { actor, at_least, page_token, .. }) = (self.tag.to_owned(), ask);
        let request = GetTagFeedRequest { tag, page_size, page_token, at_least };
        let page = client(to).get_tag_feed(to.from(&actor, request)).await?.into_inner();
        let answer = page.items.into_iter().map(SeenItem::of).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[SeenItem]) -> Vec<Finding> {
        let says_it = |text: &str| text.split(' ').any(|word| word.strip_prefix('#') == Some(self.tag));
        let belongs = |item: &SeenItem| item.shared_by.is_none() && says_it(&item.post.text);
        let must = |post_id: &str| {
            let states = posts::states(model, call, post_id);
            let always = states.iter().all(|post| says_it(&post.text));
            let post = standing(model, call, post_id).filter(|_| always);
            post.is_some_and(|post| !ever_hidden(model, call, &call.actor, &post.author))
        };
        feed(model, call, rows, belongs, must)
    }
}

fn feed(
    model: &Model,
    call: &Call,
    items: &[SeenItem],
    belongs: impl Fn(&SeenItem) -> bool,
    must: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(item.post.post_id.clone()) {
            findings.push(Finding::new(PAGING, format!("{} repeats {}", call.op, item.post.post_id)));
        }
        findings.extend(content(model, call, item));
        if !belongs(item) {
            findings.push(Finding::new(FEED, format!("{} of {} has {item:?}", call.op, call.actor)));
        }
    }
    if !items.is_sorted_by(|earlier, later| earlier.at >= later.at) {
        findings.push(Finding::new(FEED, format!("{} of {} is out of order", call.op, call.actor)));
    }
    let oldest_first: Vec<String> = items.iter().rev().map(|item| made_by(model, call, item)).collect();
    let oldest_first: Vec<&str> = oldest_first.iter().map(String::as_str).collect();
    findings.extend(times::in_causal_order(model, call, &oldest_first));
    let shown: BTreeSet<&str> = items.iter().map(|item| &*item.post.post_id).collect();
    let absent = model.state::<Written>().ids().filter(|post_id| !shown.contains(post_id.as_str()));
    let lacks = |post_id: &String| Finding::new(FEED, format!("{} of {} lacks {post_id}", call.op, call.actor));
    findings.extend(absent.filter(|post_id| must(post_id)).map(lacks));
    findings
}

/// The id of what brought an item into the feed: the post, or a share of it.
fn made_by(model: &Model, call: &Call, item: &SeenItem) -> String {
    let shares = item.shared_by.iter().flat_map(|by| shares::by(model, call, &item.post.post_id, by));
    let share = shares.flatten().find(|share| share.at == item.at);
    share.map_or_else(|| item.post.post_id.clone(), |share| share.id)
}

/// Nothing deleted, nobody in a block, texts and numbers of their time.
fn content(model: &Model, call: &Call, item: &SeenItem) -> Vec<Finding> {
    let (post_id, reader) = (&item.post.post_id, &call.actor);
    let states = posts::states(model, call, post_id);
    let mut findings = Vec::new();
    if !states.iter().any(Post::stands) {
        findings.push(Finding::new(HIDDEN, format!("{post_id} is shown to {reader}, deleted or never written")));
    } else if !states.iter().any(|post| item.post.reads(post)) {
        findings.push(Finding::new(TOKEN, format!("{post_id} reads {:?} in a feed, not as in {states:?}", item.post)));
    }
    let parted = |author: &str| always_hidden(model, call, reader, author);
    if parted(&item.post.author_id) || item.shared_by.as_deref().is_some_and(parted) {
        findings.push(Finding::new(HIDDEN, format!("{reader} is shown {post_id} in spite of a block")));
    }
    let subject = Subject::post(post_id);
    findings.extend(counts::check(model, call, &subject, &item.counts));
    if !counts::did(model, call, &subject, item.mine) {
        findings.push(Finding::new(TOKEN, format!("{reader}'s own doings about {post_id} are {:?}", item.mine)));
    }
    findings
}

fn in_home(model: &Model, call: &Call, item: &SeenItem, include_shares: bool) -> bool {
    let follows = |whom: &str| edges(model, call, &call.actor, whom);
    match &item.shared_by {
        _ if always_kept(model, call, &item.post.author_id, Scope::Posts) => false,
        None => follows(&item.post.author_id).iter().any(|edge| edge.reaches(item.at)),
        Some(by) if always_kept(model, call, by, Scope::Shares) => false,
        Some(by) => {
            let reaches = follows(by).iter().any(|edge| edge.reaches(item.at) && edge.shows_shares);
            let shares = shares::by(model, call, &item.post.post_id, by);
            include_shares && reaches && shares.iter().flatten().any(|share| share.at == item.at)
        }
    }
}

fn of_author(model: &Model, call: &Call, item: &SeenItem, account: &str) -> bool {
    match &item.shared_by {
        None => item.post.author_id == account,
        Some(by) => by == account && shares::by(model, call, &item.post.post_id, by).iter().any(Option::is_some),
    }
}

/// Whether the share stood the whole time, and since when.
fn shared_at(model: &Model, call: &Call, post_id: &str, who: &str) -> Option<i64> {
    let shares = shares::by(model, call, post_id, who);
    let first = shares.first().cloned().flatten()?;
    shares.iter().all(|share| share.as_ref() == Some(&first)).then_some(first.at)
}

fn must_be_home(model: &Model, call: &Call, post_id: &str, include_shares: bool) -> bool {
    let Some(post) = standing(model, call, post_id) else { return false };
    if ever_hidden(model, call, &call.actor, &post.author) || ever_kept(model, call, &post.author, Scope::Posts) {
        return false;
    }
    let always = |whom: &str, holds: &dyn Fn(&Edge) -> bool| edges(model, call, &call.actor, whom).iter().all(holds);
    let by_author = always(&post.author, &|edge| edge.reaches(post.at));
    let by_share = || {
        let sharers = shares::states(model, call, post_id).into_iter().next().unwrap_or_default();
        sharers.keys().any(|who| {
            let Some(at) = shared_at(model, call, post_id, who) else { return false };
            let reaches = always(who, &|edge| edge.reaches(at) && edge.shows_shares);
            reaches && !ever_hidden(model, call, &call.actor, who) && !ever_kept(model, call, who, Scope::Shares)
        })
    };
    by_author || include_shares && by_share()
}

fn must_be_of_author(model: &Model, call: &Call, post_id: &str, account: &str) -> bool {
    let Some(post) = standing(model, call, post_id) else { return false };
    let parted = |author: &str| ever_hidden(model, call, &call.actor, author);
    if parted(account) || parted(&post.author) {
        return false;
    }
    post.author == account || shared_at(model, call, post_id, account).is_some()
}
