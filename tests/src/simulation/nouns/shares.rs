//! Shares of posts: one per account and post.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kith_log::topics;
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::share_service_client::ShareServiceClient;
use kith_proto::engagement::v1::{ShareRequest, UnshareRequest};
use tonic::Status;

use super::posts::POSTS;
use super::reactions::{SERVICE, record_around};
use super::{Counted, Draw, Noun};
use crate::simulation::callers::{Callers, Way};
use crate::simulation::history::Call;
use crate::simulation::model::{Fact, Model, micros};
use crate::simulation::operation::{Appended, Ask, Operation, Reply, op};
use crate::simulation::timeline::Timeline;

pub struct Shares;

/// A share that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub id: String,
    pub at: i64,
}

/// By who shares.
pub type Sharers = BTreeMap<String, Standing>;

/// By post.
#[derive(Default)]
struct Shared(BTreeMap<String, Timeline<Sharers>>);

/// Who shared a post while a call could see it.
pub fn states(model: &Model, call: &Call, post_id: &str) -> Vec<Sharers> {
    let window = call.window(model.partition(topics::ENGAGEMENT, post_id));
    model.state::<Shared>().0.get(post_id).map_or_else(|| vec![Sharers::default()], |line| line.within(window))
}

/// What `who` shared of a post while a call could see it.
pub fn by(model: &Model, call: &Call, post_id: &str, who: &str) -> Vec<Option<Standing>> {
    states(model, call, post_id).into_iter().map(|mut now| now.remove(who)).collect()
}

impl Noun for Shares {
    fn draws(&self) -> &'static [Draw] {
        const {
            &[
                Draw { weight: 5, draw: |scene| Some(op(Share { post_id: scene.one(POSTS)?.id.clone() })) },
                Draw { weight: 3, draw: |scene| Some(op(Unshare { post_id: scene.one(POSTS)?.id.clone() })) },
            ]
        }
    }

    fn begin(&self, model: &mut Model) {
        model.begin::<Shared>();
    }

    fn read(&self, model: &mut Model, fact: &Fact) {
        let Event::Engagement(event) = &fact.event else { return };
        let post_id = match event {
            Engagement::Shared(event) => &event.post_id,
            Engagement::Unshared(event) => &event.post_id,
            _ => return,
        };
        if !fact.is_new {
            return;
        }
        let line = model.state_mut::<Shared>().0.entry(post_id.clone()).or_default();
        let mut now = line.last();
        let mut made = None;
        match event {
            Engagement::Shared(event) => {
                let share = Standing { id: event.share_id.clone(), at: fact.at };
                now.entry(event.actor_id.clone()).or_insert(share);
                made = Some(&event.share_id);
            }
            Engagement::Unshared(event) => now.retain(|_, share| share.id != event.share_id),
            _ => {}
        }
        line.set(fact.position.offset, now);
        if let Some(id) = made {
            model.makes(id, None, fact.position);
        }
    }

    fn counted(&self) -> &'static [Counted] {
        const {
            &[Counted {
                table: "shares",
                column: 1,
                counts: |row| row.read::<kith_engagement::share::ShareRow>().is_some_and(|share| share.shared),
            }]
        }
    }
}

#[derive(Debug)]
struct Share {
    post_id: String,
}

#[derive(Debug)]
struct Unshare {
    post_id: String,
}

fn client(to: &Callers) -> ShareServiceClient<Way> {
    ShareServiceClient::new(to.way(SERVICE))
}

fn ever(model: &Model, call: &Call, post_id: &str, holds: impl Fn(&Sharers) -> bool) -> bool {
    let window = call.meanwhile(model.partition(topics::ENGAGEMENT, post_id));
    model.state::<Shared>().0.get(post_id).cloned().unwrap_or_default().ever(window, holds)
}

#[async_trait]
impl Operation for Share {
    type Answer = Standing;

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Standing>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let post_id = self.post_id.clone();
        let request = ShareRequest { post_id, via_account_id: String::new(), request_id, at_least };
        let done = client(to).share(to.from(&actor, request)).await?.into_inner();
        let share = done.share.unwrap_or_default();
        let standing = Standing { id: share.share_id, at: micros(share.create_time.as_ref()) };
        Ok(Reply::new(standing, done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.post_id, "kith.engagement.v1.ShareService/Share", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.post_id, |now| now.contains_key(&call.actor))
    }

    fn stands(&self, model: &Model, call: &Call, share: &Standing) -> bool {
        let line = model.state::<Shared>().0.get(&self.post_id);
        line.is_some_and(|line| line.ever((0, u64::MAX), |now| now.get(&call.actor) == Some(share)))
    }
}

#[async_trait]
impl Operation for Unshare {
    type Answer = ();

    const SERVICE: &'static str = SERVICE;
    const READS: bool = false;

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<()>, Status> {
        let Ask { actor, request_id, at_least, .. } = ask;
        let request = UnshareRequest { post_id: self.post_id.clone(), request_id, at_least };
        let done = client(to).unshare(to.from(&actor, request)).await?.into_inner();
        Ok(Reply::new((), done.consistency_token))
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        record_around(actor, &self.post_id, "kith.engagement.v1.ShareService/Unshare", request_id)
    }

    fn in_effect(&self, model: &Model, call: &Call) -> bool {
        ever(model, call, &self.post_id, |now| !now.contains_key(&call.actor))
    }
}
