//! Reactions to posts and to comments: one an account and subject, a new kind replaces the old.

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::{AppliedIds, Fold, Found, Record, Rows, Scope, State};
use kith_log::{Topic, topics};
use kith_proto::engagement::v1::engagement_event::Event;
use kith_proto::engagement::v1::{
    ReactRequest, ReactResponse, Reacted, Reaction, ReactionKind, Subject, UnreactRequest, UnreactResponse, Unreacted,
    reaction_service_server, rpc,
};
use kith_proto::time;
use kith_relations::reaction::{Change, KINDS, known, recount};
use kith_service::command::{Answers, Asked, Noun, Standing};
use kith_service::kit::Seen;
use kith_service::{Failure, rpcs};
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Timestamp, row};

use crate::scene::{self, Scene};
use crate::subject::parse_subject;
use crate::{EngagementService, Rejection};

rpcs! {
    reaction_service_server::ReactionService => EngagementService {
        command react: rpc::React => Reactions,
        command unreact: rpc::Unreact => Reactions,
    }
}

/// Asks for a reaction, or for none.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub subject: Subject,
    pub wish: Wish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Never unspecified.
    React(ReactionKind),
    Unreact,
}

/// What a command is decided on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    pub scene: Scene,
    /// The caller's own reaction to the subject.
    pub own: ReactionRow,
}

pub static REACTIONS: Table = Table {
    name: "reactions",
    partition: &[Column::text("post_id"), Column::text("comment_id")],
    clustering: &[Column::text("actor_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ReactionRow>("reaction")],
    summary: ReactionCounts::COLUMNS,
};

row! {
    /// How an account feels about a subject: the name of a kind, or nothing, and since when.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ReactionRow in 0 {
        pub kind: String,
        pub at: Timestamp,
        pub applied: AppliedIds,
    }
}
row! {
    /// How many accounts reacted in which way: as many as there are rows with that kind.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ReactionCounts in 0 {
        pub like_count: i64,
        pub love_count: i64,
        pub laugh_count: i64,
        pub wow_count: i64,
        pub sad_count: i64,
        pub support_count: i64,
    }
}

impl ReactionRow {
    /// `None`: no reaction.
    pub fn kind(&self) -> Option<ReactionKind> {
        KINDS.into_iter().find(|(_, name)| *name == self.kind).map(|(kind, _)| kind)
    }
}

impl ReactionCounts {
    pub fn by_kind(&mut self) -> [&mut i64; KINDS.len()] {
        let Self { like_count, love_count, laugh_count, wow_count, sad_count, support_count } = self;
        [like_count, love_count, laugh_count, wow_count, sad_count, support_count]
    }
}

/// False: the record was applied before, and nothing changes.
fn evolve(row: &mut ReactionRow, counts: &mut ReactionCounts, change: &Change<'_>, record: &Record) -> bool {
    if !row.applied.insert(record.id) {
        return false;
    }
    recount(counts.by_kind(), row.kind(), change.kind);
    row.kind = KINDS.into_iter().find(|(kind, _)| Some(*kind) == change.kind).map_or("", |(_, name)| name).to_owned();
    row.at = record.time;
    true
}

#[async_trait]
impl Noun for Reactions {
    type Service = EngagementService;
    type Command = Command;
    type State = Before;
    type Event = Event;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::ENGAGEMENT;

    fn key(command: &Command) -> &str {
        &command.subject.post_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<Before>, StoreError> {
        let Subject { post_id, comment_id } = &command.subject;
        let (scene, own) = try_join!(
            scene::load(&seen.state, &asked.actor, post_id, comment_id),
            own(&seen.state, &command.subject, &asked.actor),
        )?;
        let rests_on = own.as_ref().map(|own| own.position);
        let own = own.map(|own: Found<ReactionRow>| own.row).unwrap_or_default();
        let newest = own.at.max(scene.newest());
        Ok(Standing::new(Before { scene, own }, rests_on).after(newest))
    }

    /// `None`: it stands as asked already, or this very command was applied before.
    fn decide(before: &Before, asked: &Asked, command: &Command) -> Result<Option<Event>, Rejection> {
        if before.own.applied.contains(asked.id) {
            return Ok(None);
        }
        match (command.wish, before.own.kind()) {
            (Wish::React(wanted), standing) => {
                let (_, author_id) = before.scene.visible()?;
                Ok((standing != Some(wanted)).then(|| reacted(asked, command, wanted, author_id)))
            }
            (Wish::Unreact, Some(_)) => {
                before.scene.exists()?;
                Ok(Some(unreacted(asked, command)))
            }
            (Wish::Unreact, None) => before.scene.visible().map(|_| None),
        }
    }

    fn evolve(before: &mut Before, record: &Record) {
        if let Some(change) = Change::of(record) {
            evolve(&mut before.own, &mut ReactionCounts::default(), &change, record);
        }
    }
}

impl Answers<rpc::React> for Reactions {
    fn parse(_: &EngagementService, _: &Asked, request: ReactRequest) -> Result<Command, Failure> {
        let subject = parse_subject("subject", request.subject)?;
        let kind = known(request.kind)
            .ok_or_else(|| Failure::field_invalid("kind", "is not a kind of reaction that this release knows"))?;
        Ok(Command { subject, wish: Wish::React(kind) })
    }

    fn answer(_: &Opener, asked: &Asked, command: Command, before: Before) -> Result<ReactResponse, Failure> {
        let Before { own, .. } = before;
        let present = |kind: ReactionKind| Reaction {
            actor_id: asked.actor.clone(),
            subject: Some(command.subject.clone()),
            kind: kind.into(),
            create_time: Some(time::of_us(own.at.0)),
        };
        Ok(ReactResponse { reaction: own.kind().map(present), ..ReactResponse::default() })
    }
}

impl Answers<rpc::Unreact> for Reactions {
    fn parse(_: &EngagementService, _: &Asked, request: UnreactRequest) -> Result<Command, Failure> {
        Ok(Command { subject: parse_subject("subject", request.subject)?, wish: Wish::Unreact })
    }

    fn answer(_: &Opener, _: &Asked, command: Command, _: Before) -> Result<UnreactResponse, Failure> {
        Ok(UnreactResponse { subject: Some(command.subject), ..UnreactResponse::default() })
    }
}

/// Folds reactions by subject.
pub struct Reactions;

impl Fold for Reactions {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&REACTIONS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&REACTIONS, key(change.subject)).with::<ReactionRow>([change.actor_id.into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = Change::of(record) else { return };
        let mut row = rows.get::<ReactionRow>([change.actor_id.into()]).unwrap_or_default();
        let mut counts = rows.summary::<ReactionCounts>();
        if evolve(&mut row, &mut counts, &change, record) {
            rows.put([change.actor_id.into()], row);
            rows.set_summary(counts);
        }
    }
}

/// How `actor_id` reacted to the subject, also when it took that back.
pub async fn own(state: &State, subject: &Subject, actor_id: &str) -> Result<Option<Found<ReactionRow>>, StoreError> {
    state.row(&REACTIONS, &key(subject), [actor_id.into()]).await
}

/// How many accounts reacted to the subject in which way.
pub async fn counts(state: &State, subject: &Subject) -> Result<ReactionCounts, StoreError> {
    let found = state.summary(&REACTIONS, &key(subject), (topics::ENGAGEMENT, &subject.post_id)).await?;
    Ok(found.map(|found: Found<ReactionCounts>| found.row).unwrap_or_default())
}

fn key(subject: &Subject) -> Key {
    Key(vec![subject.post_id.as_str().into(), subject.comment_id.as_str().into()])
}

fn reacted(asked: &Asked, command: &Command, kind: ReactionKind, subject_author_id: &str) -> Event {
    Event::Reacted(Reacted {
        actor_id: asked.actor.clone(),
        subject: Some(command.subject.clone()),
        subject_author_id: subject_author_id.to_owned(),
        kind: kind.into(),
        create_time: Some(time::of_us(asked.at.0)),
    })
}

fn unreacted(asked: &Asked, command: &Command) -> Event {
    Event::Unreacted(Unreacted {
        actor_id: asked.actor.clone(),
        subject: Some(command.subject.clone()),
        create_time: Some(time::of_us(asked.at.0)),
    })
}

#[cfg(test)]
mod tests;
