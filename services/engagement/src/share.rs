//! Shares of posts: one an account and post.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{AppliedIds, Fold, Found, Record, Rows, Scope, State};
use kith_log::{Topic, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{
    Share, ShareRequest, ShareResponse, Shared, UnshareRequest, UnshareResponse, Unshared, rpc, share_service_server,
};
use kith_proto::time;
use kith_relations::hold::{Held, Turn};
use kith_relations::share::{Change, change};
use kith_relations::sight::Viewer;
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::ids::{self, parse_id, parse_id_or_empty};
use kith_service::kit::Seen;
use kith_service::{Failure, rpcs};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, row};

use crate::scene::{self, Scene, Visible};
use crate::subject::SubjectRow;
use crate::{EngagementService, Rejection};

rpcs! {
    share_service_server::ShareService => EngagementService {
        command share: rpc::Share => Shares,
        command unshare: rpc::Unshare => Shares,
        command bookmark: rpc::Bookmark => crate::bookmark::Bookmarks,
        command remove_bookmark: rpc::RemoveBookmark => crate::bookmark::Bookmarks,
        list list_bookmarks: rpc::ListBookmarks => crate::bookmark::Bookmarks,
    }
}

/// Asks for a share, or for none.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Of the share that it makes.
    pub share_id: String,
    pub post_id: String,
    pub wish: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// `via_account_id` may be empty.
    Share {
        via_account_id: String,
    },
    Unshare,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub scene: Scene,
    /// The caller's own share of the post.
    pub own: ShareRow,
    /// The share that the caller met the post through; `None`: none is stated.
    pub via: Option<Visible<ShareRow>>,
}

impl Before {
    /// That nobody is credited who never shared the post, or whom the caller may not see.
    fn via_is_there(&self) -> Result<(), Rejection> {
        let is_there = |via: &Visible<ShareRow>| via.row.is_some() && !via.blocked;
        if self.via.as_ref().is_none_or(is_there) { Ok(()) } else { Err(Rejection::ViaNotFound) }
    }
}

pub static SHARES: Table = Table {
    name: "shares",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("actor_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ShareRow>("share")],
    summary: ShareCount::COLUMNS,
};

row! {
    /// An account's share of a post, the last one also when it is over.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ShareRow in 0 {
        pub shared: bool,
        pub share_id: String,
        /// When it was shared.
        pub at: Timestamp,
        /// When it was over; 0: it never was.
        pub end_time: Timestamp,
        pub via_account_id: String,
        pub applied: AppliedIds,
    }
}
row! {
    /// How many accounts share the post: as many as there are rows that say so.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ShareCount in 0 { pub share_count: i64 }
}

/// What the change makes of the row; how many shares there are more. `None`: the record was applied before.
fn evolve(row: &mut ShareRow, change: &Change<'_>, record: &Record) -> Option<i64> {
    let held = Held { stands: &mut row.shared, id: &mut row.share_id, applied: &mut row.applied };
    Some(match change.turn(held, record.id)? {
        Turn::Begins(event) => {
            row.at = record.time;
            row.via_account_id = event.via_account_id.clone();
            1
        }
        Turn::Ends => {
            row.end_time = record.time;
            -1
        }
        Turn::Stays => 0,
    })
}

/// Folds shares by post.
pub struct Shares;

impl Fold for Shares {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SHARES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = change(record)?;
        Some(Scope::new(&SHARES, Key::text(change.post_id)).with::<ShareRow>([change.actor_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = change(record) else { return };
        let mut row = rows.get::<ShareRow>([change.actor_id.into()]).unwrap_or_default();
        if let Some(more) = evolve(&mut row, &change, record) {
            rows.put([change.actor_id.into()], row);
            let ShareCount { share_count } = rows.summary();
            rows.set_summary(ShareCount { share_count: share_count.saturating_add(more) });
        }
    }
}

/// The share of the post by `actor_id`, also one that is over.
pub async fn own(state: &State, post_id: &str, actor_id: &str) -> Result<Option<Found<ShareRow>>, StoreError> {
    state.row(&SHARES, &Key::text(post_id), [actor_id.into()]).await
}

/// The share that the command names as the one through which its actor met the post, also one that is over.
async fn via(state: &State, actor_id: &str, command: &Command) -> Result<Option<Visible<ShareRow>>, StoreError> {
    let Wish::Share { via_account_id } = &command.wish else { return Ok(None) };
    if via_account_id.is_empty() {
        return Ok(None);
    }
    let viewer = Viewer::new(state, actor_id);
    let (share, sight) = try_join!(own(state, &command.post_id, via_account_id), viewer.sight(via_account_id))?;
    let row = share.map(|found| found.row).filter(|row| !row.share_id.is_empty());
    Ok(Some(Visible { row, blocked: !sight.is_clear() }))
}

/// How many accounts share the post.
pub async fn count(state: &State, post_id: &str) -> Result<i64, StoreError> {
    let found = state.summary(&SHARES, &Key::text(post_id), (topics::ENGAGEMENT, post_id)).await?;
    Ok(found.map_or(0, |found: Found<ShareCount>| found.row.share_count))
}

fn shared(asked: &Asked, command: &Command, via_account_id: &str, post: &SubjectRow) -> Event {
    Event::Shared(Shared {
        share_id: command.share_id.clone(),
        post_id: command.post_id.clone(),
        actor_id: asked.actor.clone(),
        post_author_id: post.author_id.clone(),
        post_create_time: Some(time::of_us(post.create_time.0)),
        via_account_id: via_account_id.to_owned(),
        create_time: Some(time::of_us(asked.at.0)),
    })
}

fn unshared(asked: &Asked, command: &Command, share_id: &str) -> Event {
    Event::Unshared(Unshared {
        share_id: share_id.to_owned(),
        post_id: command.post_id.clone(),
        actor_id: asked.actor.clone(),
        create_time: Some(time::of_us(asked.at.0)),
    })
}

#[async_trait]
impl Noun for Shares {
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
        let (scene, own, via) = try_join!(
            scene::load(state, &asked.actor, post_id, ""),
            own(state, post_id, &asked.actor),
            via(state, &asked.actor, command),
        )?;
        let rests_on = own.as_ref().map(|own| own.position);
        let own = own.map(|own: Found<ShareRow>| own.row).unwrap_or_default();
        let newest = own.at.max(own.end_time).max(scene.newest());
        Ok(Standing::new(Before { scene, own, via }, rests_on).after(newest))
    }

    /// `None`: it stands as asked already, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Event>, Rejection> {
        let own = &before.own;
        match (&command.wish, own.shared) {
            (Wish::Share { via_account_id }, _) if own.share_id == command.share_id => {
                let same = own.via_account_id == *via_account_id;
                if same { Ok(None) } else { Err(Rejection::RequestIdReused) }
            }
            _ if own.applied.contains(asked.id) => Ok(None),
            (Wish::Share { .. }, true) => {
                before.scene.visible()?;
                before.via_is_there().map(|()| None)
            }
            (Wish::Share { via_account_id }, false) => {
                let (post, _) = before.scene.visible()?;
                before.via_is_there()?;
                Ok(Some(shared(asked, command, via_account_id, post)))
            }
            (Wish::Unshare, true) => {
                before.scene.exists()?;
                Ok(Some(unshared(asked, command, &own.share_id)))
            }
            (Wish::Unshare, false) => before.scene.visible().map(|_| None),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = change(record) {
            evolve(&mut before.own, &change, record);
        }
    }
}

impl Answers<rpc::Share> for Shares {
    fn parse(_: &EngagementService, asked: &Asked, request: ShareRequest) -> Result<Command, Failure> {
        let ShareRequest { post_id, via_account_id, .. } = request;
        parse_id("post_id", &post_id)?;
        parse_id_or_empty("via_account_id", &via_account_id)?;
        let share_id = ids::made_in(asked.id, &post_id).to_string();
        Ok(Command { share_id, post_id, wish: Wish::Share { via_account_id } })
    }

    /// The share as it stands, or, when it was taken back since, as it was.
    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<ShareResponse, Failure> {
        let ShareRow { share_id, at, via_account_id, .. } = before.own;
        let (actor_id, create_time) = (asked.actor.clone(), Some(time::of_us(at.0)));
        let share = Share { share_id, post_id: command.post_id, actor_id, via_account_id, create_time };
        Ok(ShareResponse { share: Some(share), ..ShareResponse::default() })
    }
}

impl Answers<rpc::Unshare> for Shares {
    fn parse(_: &EngagementService, asked: &Asked, request: UnshareRequest) -> Result<Command, Failure> {
        let UnshareRequest { post_id, .. } = request;
        parse_id("post_id", &post_id)?;
        Ok(Command { share_id: ids::made_in(asked.id, &post_id).to_string(), post_id, wish: Wish::Unshare })
    }

    fn answer(_: &Opener, _: &Asked, command: Command, _: Before) -> Result<UnshareResponse, Failure> {
        Ok(UnshareResponse { post_id: command.post_id, ..UnshareResponse::default() })
    }
}

#[cfg(test)]
mod tests;
