//! Hashtags that people follow: each one's own list, in the order of the tags, with its number.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{FollowTagRequest, ListFollowedTagsRequest, UnfollowTagRequest};
use kith_tables::Row;
use tonic::Status;

use super::accounts::Handles;
use super::follows::{own_record, size};
use super::lists::{List, There, WHOLE, walk, whole};
use super::{Counted, Draw, Noun};
use crate::simulation::board::{Board, Scene, Thing};
use crate::simulation::callers::Callers;
use crate::simulation::checks::{COUNTS, Finding, LISTS};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model};
use crate::simulation::operation::{Appended, Ask, Op, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

const SERVICE: &str = "identity";
/// Things on the board: what somebody follows, or followed.
const TAGS: &str = "tags";
/// As people write them, and as the tags of posts are.
const WRITTEN: [(&str, &str); 6] = [
    ("Rust", "rust"),
    ("rust", "rust"),
    ("STRASSE", "strasse"),
    ("Straße", "strasse"),
    ("日本", "日本"),
    ("two_words", "two_words"),
];

pub struct Tags;

/// By account and tag.
#[derive(Default)]
struct Followed(BTreeMap<(String, String), Timeline<bool>>);

impl Followed {
    fn line(&self, account: &str, tag: &str) -> Timeline<bool> {
        self.0.get(&(account.to_owned(), tag.to_owned())).cloned().unwrap_or_default()
    }
}

impl Noun for Tags {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 6, draw: |scene| Some(op(FollowTag { tag: tag(scene)? })) },
                Draw { weight: 5, draw: |scene| Some(op(UnfollowTag { tag: followed(scene)? })) },
                Draw { weight: 1, draw: |_| Some(whole(OfCaller)) },
                Draw { weight: 1, draw: |scene| Some(walk(OfCaller, size(scene))) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Followed>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Identity(event) = &fact.event else { return };
        let (account, tag, follows) = match event {
            Identity::TagFollowed(event) => (&event.account_id, &event.tag, true),
            Identity::TagUnfollowed(event) => (&event.account_id, &event.tag, false),
            _ => return,
        };
        if fact.is_new {
            let line = model.state_mut::<Followed>().0.entry((account.clone(), tag.clone())).or_default();
            line.set(fact.position.offset, follows);
        }
    }

    fn questions(&self, model: &Model) -> Vec<(String, Op)> {
        let of = |person: &String| [WHOLE, 2].map(|page_size| (person.clone(), walk(OfCaller, page_size)));
        model.state::<Handles>().people().flat_map(of).collect()
    }

    fn counted(&self) -> &'static [Counted] {
        const { &[Counted { table: "followed_tags", column: 1, counts: follows }] }
    }
}

/// A row of the table of followed tags: its first column.
fn follows(row: &Row) -> bool {
    row.columns.first() == Some(&true.into())
}

fn tag(scene: &Scene<'_>) -> Option<&'static (&'static str, &'static str)> {
    scene.chance.pick(&WRITTEN)
}

/// Mostly one that the actor follows, or followed.
fn followed(scene: &Scene<'_>) -> Option<&'static (&'static str, &'static str)> {
    let own = scene.own(TAGS).filter(|_| scene.chance.per_mille(850));
    let of = |name: &str| WRITTEN.iter().find(|(written, _)| *written == name);
    own.and_then(|own| of(&own.name)).or_else(|| tag(scene))
}

#[derive(Debug)]
struct FollowTag {
    tag: &'static (&'static str, &'static str),
}

#[derive(Debug)]
struct UnfollowTag {
    tag: &'static (&'static str, &'static str),
}

/// Whether the caller's follow of the tag was so at some time while it was asked for.
fn was(model: &Model, call: &Call, tag: &str, follows: bool) -> bool {
    let window = call.meanwhile(model.partition(topics::IDENTITY, &call.actor));
    model.state::<Followed>().line(&call.actor, tag).ever(window, |now| *now == follows)
}

#[async_trait]
impl Operation for FollowTag {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = FollowTagRequest { tag: self.tag.0.to_owned(), request_id, at_least };
        let done = GraphServiceClient::new(to.way(SERVICE)).follow_tag(to.from(&actor, request)).await?;
        Ok(Reply::new((), done.into_inner().consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "FollowTag", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        was(model, call, self.tag.1, true)
    }

    fn learn(&self, board: &mut Board, actor: &str, (): &()) {
        let (id, by, name) = (format!("{actor} {}", self.tag.0), vec![actor.to_owned()], self.tag.0.to_owned());
        board.add(TAGS, Thing { id, by, name, ..Thing::default() });
    }
}

#[async_trait]
impl Operation for UnfollowTag {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = UnfollowTagRequest { tag: self.tag.0.to_owned(), request_id, at_least };
        let done = GraphServiceClient::new(to.way(SERVICE)).unfollow_tag(to.from(&actor, request)).await?;
        Ok(Reply::new((), done.into_inner().consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        own_record(actor, "UnfollowTag", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        was(model, call, self.tag.1, false)
    }
}

/// The caller's own tags.
#[derive(Debug)]
struct OfCaller;

#[async_trait]
impl List for OfCaller {
    /// The tag, and the number that its page told.
    type Row = (String, u32);

    const SERVICE: &'static str = SERVICE;

    async fn page(&self, to: &Callers, ask: Ask, page_size: i32) -> Result<Reply<Vec<(String, u32)>>, Status> {
        let Ask { actor, at_least, page_token, .. } = ask;
        let request = ListFollowedTagsRequest { page_size, page_token, at_least };
        let mut graph = GraphServiceClient::new(to.way(SERVICE));
        let page = graph.list_followed_tags(to.from(&actor, request)).await?.into_inner();
        let count = page.total_count;
        let answer = page.followed_tags.into_iter().map(|followed| (followed.tag, count)).collect();
        Ok(Reply { answer, token: page.as_of, next_page: page.next_page_token })
    }

    fn check(&self, model: &Model, call: &Call, rows: &[(String, u32)]) -> Vec<Finding> {
        let window = call.window(model.partition(topics::IDENTITY, &call.actor));
        let own = model.state::<Followed>().0.iter().filter(|((who, _), _)| *who == call.actor);
        let (mut there, mut least, mut most) = (There::default(), 0, 0);
        for ((_, tag), line) in own {
            let states = line.within(window);
            let (ever, always) = (states.contains(&true), states.iter().all(|now| *now));
            (least, most) = (least + u32::from(always), most + u32::from(ever));
            there.put(tag, ever, always);
        }
        let tags: Vec<&str> = rows.iter().map(|(tag, _)| &**tag).collect();
        let mut findings = there.check(call, &tags);
        if !tags.is_sorted() {
            findings.push(Finding::new(LISTS, format!("{} of {} is out of order: {tags:?}", call.op, call.actor)));
        }
        let wrong = rows.iter().find(|(_, count)| !(least..=most).contains(count));
        findings.extend(wrong.map(|(_, count)| {
            Finding::new(COUNTS, format!("{} counts {count} tags, not {least} to {most}", call.actor))
        }));
        findings
    }
}
