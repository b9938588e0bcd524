//! The service on its stage.

use std::ops::Deref;

use kith_proto::engagement::v1::Subject;
use kith_proto::identity::v1::{AccountCreated, AccountDeactivated, Blocked, identity_event};
use kith_proto::posts::v1::{PostCreated, PostDeleted, post_event};
use kith_proto::{Event, time};
use kith_stage::Stage;
use tonic::{Request, Response, Status};

use super::history::id;
use crate::EngagementService;

pub(crate) const ADA: u8 = 0xa;
pub(crate) const BOB: u8 = 0xb;
pub(crate) const EVE: u8 = 0xe;

pub(crate) struct Suite {
    pub service: EngagementService,
    stage: Stage,
}

impl Deref for Suite {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Suite {
    pub(crate) async fn start() -> Self {
        let stage = Stage::start(crate::group(1)).await;
        Self { service: EngagementService::new(stage.kit.clone()), stage }
    }

    /// The process dies and comes back; with `drop_tables`, the tables are gone.
    pub(crate) async fn restart(mut self, drop_tables: bool) -> Self {
        if drop_tables {
            self.stage.fold_again().await;
        } else {
            self.stage.restart().await;
        }
        self.service = EngagementService::new(self.stage.kit.clone());
        self
    }

    /// A fact of another service; gives its token.
    pub(crate) async fn publish(&self, n: u8, event: impl Into<Event>) -> String {
        self.stage.publish(id(n), event).await
    }

    pub(crate) async fn post(&self, n: u8, author: u8) -> String {
        let create_time = Some(time::timestamp(1_000));
        let event = PostCreated { post_id: hex(n), author_id: hex(author), create_time, ..PostCreated::default() };
        self.publish(n, post_event::Event::PostCreated(event)).await
    }

    pub(crate) async fn delete(&self, n: u8, author: u8) -> String {
        let event = PostDeleted { post_id: hex(n), author_id: hex(author), ..PostDeleted::default() };
        self.publish(n + 100, post_event::Event::PostDeleted(event)).await
    }

    pub(crate) async fn account(&self, account: u8) -> String {
        let event = AccountCreated { account_id: hex(account), handle_key: "ada".into(), ..AccountCreated::default() };
        self.publish(account, identity_event::Event::AccountCreated(event)).await
    }

    pub(crate) async fn leave(&self, account: u8) -> String {
        let event = AccountDeactivated { account_id: hex(account), ..AccountDeactivated::default() };
        self.publish(account, identity_event::Event::AccountDeactivated(event)).await
    }

    pub(crate) async fn block(&self, actor: u8, target: u8) -> String {
        let event = Blocked { actor_id: hex(actor), target_id: hex(target), create_time: None };
        self.publish(actor, identity_event::Event::Blocked(event)).await
    }
}

pub(crate) fn hex(n: u8) -> String {
    super::history::hex(n)
}

pub(crate) fn on_post(n: u8) -> Subject {
    Subject { post_id: hex(n), comment_id: String::new() }
}

pub(crate) fn on_comment(n: u8, comment_id: &str) -> Subject {
    Subject { post_id: hex(n), comment_id: comment_id.to_owned() }
}

/// A request of an account's.
pub(crate) fn by<T>(account: u8, message: T) -> Request<T> {
    kith_stage::by(id(account), message)
}

/// The answer to a call that goes well.
pub(crate) fn ok<T>(response: Result<Response<T>, Status>) -> T {
    response.unwrap().into_inner()
}

/// The reason of a call that does not.
pub(crate) fn reason<T>(response: Result<Response<T>, Status>) -> String {
    match response {
        Ok(_) => "OK".to_owned(),
        Err(status) => kith_stage::refusal(&status).1,
    }
}
