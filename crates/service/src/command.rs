//! How every command runs: caller, id and digest, tokens, load, decision, the one record, the answer.
//!
//! A noun declares its own part ([`Noun`], and [`Answers`] per RPC); it neither reads the clock, nor appends, nor makes
//! a token.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use kith_content::{Content, Opener};
use kith_fold::{DependsOn, Record, Token, WaitError};
use kith_log::{LogPartition, Offset, Position, RecordId, Topic};
use kith_proto::Event;
use kith_proto::rpc::{AtLeast, Repeatable, Rpc, TakesToken};
use kith_tables::{StoreError, Timestamp};
use prost::Message;

use crate::Failure;
use crate::auth::Asker;
use crate::call::{Call, Handlers};
use crate::ids::{self, RequestId};
use crate::kit::{self, Kit, Seen};

/// The subject of commands: its rules, and the rows that they read.
#[async_trait]
pub trait Noun: Send + Sync + 'static {
    type Service: Handlers;
    /// What is asked, parsed.
    type Command: Send + Sync;
    /// The state for a decision.
    type State: Send + Sync;
    type Event: Into<Event> + Clone + Send + Sync;
    type Rejection: Into<Failure>;

    /// Where its records go.
    const TOPIC: Topic;

    /// The key of its records.
    fn key(command: &Self::Command) -> &str;

    /// Names the part of the key's state, changed by this actor, on which the answer depends, as the state for the decision
    /// has it. If two commands name the same part and the first is not folded yet, the second is answered once it is folded.
    fn about<'c>(command: &'c Self::Command, _: &Self::State) -> &'c str {
        Self::key(command)
    }

    /// Another key of the topic whose records the decision rests on: that there is nothing to do is decided on tables that include
    /// all of these too.
    fn rests_also_on(_: &Self::Command) -> Option<&str> {
        None
    }

    /// The id of a command's record: the command's own, unless one command can come to different records.
    fn record_id(asked: &Asked, _: &Self::Event) -> RecordId {
        asked.id
    }

    /// Whether the fold dates its records later than all earlier ones of the noun under the same key.
    const TIMES_RISE: bool = false;

    /// Whether its answers show what records of others under the key do, too: then each is read from the tables that have its record.
    const SHOWS_OTHERS: bool = false;

    /// Loads the state for the decision. Called again if the first load may have been too early.
    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Self::Command)
    -> Result<Standing<Self::State>, StoreError>;

    /// `None`: already in effect, or this command was applied before; nothing is written. Pure.
    fn decide(
        state: &Self::State,
        asked: &Asked,
        command: &Self::Command,
    ) -> Result<Option<Self::Event>, Self::Rejection>;

    /// Applies the record to the state, as the fold will. Pure.
    fn evolve(state: &mut Self::State, record: &Record);
}

/// A noun's part of one RPC.
pub trait Answers<R: Rpc>: Noun {
    /// Validates and parses the request. No I/O.
    fn parse(service: &Self::Service, asked: &Asked, request: R::Request) -> Result<Self::Command, Failure>;

    /// The answer, from the state that includes the command: with its own event applied, or the current state if the
    /// command adds nothing. So a copy of a command is answered with the current state.
    fn answer(
        opener: &Opener,
        asked: &Asked,
        command: Self::Command,
        state: Self::State,
    ) -> Result<R::Response, Failure>;
}

/// The common part of every command.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Of the command's one record: hash(actor, RPC, request id), and of the calling service, if one asks.
    pub id: RecordId,
    /// The account that asks.
    pub actor: String,
    /// Of the request's content: the same id with another digest is refused.
    pub digest: [u8; 32],
    /// Its time: later than everything that the decision depends on and than the caller's tokens.
    pub at: Timestamp,
}

impl Asked {
    /// What the asker asks by this request.
    pub fn of<R>(asker: &Asker, request: &R::Request, kit: &Kit) -> Result<Self, Failure>
    where
        R: Rpc<Request: Repeatable>,
    {
        let request_id = RequestId::parse("request_id", request.request_id(), &kit.runtime)?;
        let id = asker.record_id(R::NAME, &request_id)?;
        let digest = ids::payload_digest(&[&request.content()]);
        Ok(Self { id, actor: asker.viewer(), digest, at: Timestamp::default() })
    }

    /// Closes personal content for the command's record. Content is closed nowhere else.
    pub fn close(&self, said: &impl Message) -> Content {
        Content::close(said)
    }
}

/// What a noun read.
pub struct Standing<S> {
    pub state: S,
    /// The offset of the record behind the state, in the partition of the noun's key; `None`: no row has one.
    pub rests_on: Option<u64>,
    /// The latest time in the rows read: the command is dated later.
    pub newest: Timestamp,
}

impl<S> Standing<S> {
    pub fn new(state: S, rests_on: Option<u64>) -> Self {
        Self { state, rests_on, newest: Timestamp::default() }
    }

    /// Dates the command later than `time`.
    #[must_use]
    pub fn after(self, time: Timestamp) -> Self {
        Self { newest: self.newest.max(time), ..self }
    }
}

/// A failure after the command's record was handed to the log, or may have been: its outcome is unknown. No error with
/// a known outcome converts into it.
#[derive(Debug)]
pub struct Unknown(Failure);

impl From<StoreError> for Unknown {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the tables did not answer after an append");
        Self(Failure::outcome_unknown())
    }
}

impl From<WaitError> for Unknown {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Behind { .. } => Self(Failure::deadline_exceeded()),
            WaitError::Stopped { .. } => Self(Failure::fold_stopped()),
            WaitError::Store(error) => error.into(),
        }
    }
}

impl Unknown {
    /// For a failure other than a wait or the tables. The reason is only logged.
    pub fn because(failure: &Failure) -> Self {
        tracing::warn!(reason = failure.reason_name(), "something failed after an append");
        Self(Failure::outcome_unknown())
    }

    /// For a missing effect of the record.
    pub fn defect(why: &'static str) -> Self {
        tracing::error!(why, "defect after an append");
        Self(Failure::outcome_unknown())
    }
}

impl From<Unknown> for Failure {
    fn from(unknown: Unknown) -> Self {
        unknown.0
    }
}

/// A command that is about to run.
pub(crate) struct Run<'a> {
    pub seen: Seen<'a>,
    pub asked: Asked,
}

/// The decision, and the place of its record, if it has one.
pub(crate) struct Decided<S> {
    pub standing: Standing<S>,
    pub appended: Option<Appended>,
}

/// The place of a command's record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub position: Position,
    /// The first offset of its partition that the rows of the decision may lack.
    pub next: Offset,
}

impl Appended {
    /// Whether the record's time stands behind that of the rows of its decision, whatever records between them, each dated one
    /// microsecond later, do to it.
    fn is_dated_behind(&self, newest: Timestamp, at: Timestamp) -> bool {
        at.0 > newest.0.saturating_add_unsigned(self.position.offset.saturating_sub(self.next))
    }
}

/// Runs a command whose record is a fact.
pub async fn run<N, R>(service: &N::Service, call: Call<R>) -> Result<R::Response, Failure>
where
    N: Answers<R>,
    R: Rpc<Request: AtLeast + Repeatable, Response: TakesToken>,
{
    let (run, command) = begin::<N, R>(service.kit(), call, |asked, request| N::parse(service, asked, request)).await?;
    let Run { seen, asked } = run;
    enter::<N, R::Response>(&seen, asked, command, N::answer).await
}

/// Runs a parsed command whose service made its id and digest, and has the answer made by `answer`.
pub async fn enter<N, T>(
    seen: &Seen<'_>,
    mut asked: Asked,
    command: N::Command,
    answer: impl FnOnce(&Opener, &Asked, N::Command, N::State) -> Result<T, Failure>,
) -> Result<T, Failure>
where
    N: Noun,
    T: TakesToken,
{
    let key = N::key(&command).to_owned();
    let _turn = seen.turn(asked.id, asked.digest).await?;
    let decided = decide::<N>(seen, &mut asked, &command).await?;
    let Decided { mut standing, appended } = decided;
    let rested_on = standing.newest;
    let partition = LogPartition::of_key(N::TOPIC, &key, seen.state.partition_count());
    if let Some(appended) = appended
        && (N::SHOWS_OTHERS
            || !(seen.stands_as_made(appended.position, appended.next, asked.at)
                && (!N::TIMES_RISE || appended.is_dated_behind(rested_on, asked.at))))
    {
        // A copy of it, or another command of the actor about the same, may precede it, or this process's clock may be
        // ahead: the state is known once it is folded.
        standing = reload::<N>(seen, &asked, &command, appended.position).await?;
    }
    let token = match appended {
        Some(appended) => seen.dated(appended.position.into(), asked.at.max(standing.newest)),
        None => seen.standing(partition, standing.rests_on).await?,
    };
    let mut response = answer(&seen.opener(), &asked, command, standing.state)?;
    response.set_consistency_token(seen.sealed(&token)?);
    Ok(response)
}

/// Parses the request and waits for its tokens.
pub(crate) async fn begin<'a, N, R>(
    kit: &'a Kit,
    call: Call<R>,
    parse: impl FnOnce(&Asked, R::Request) -> Result<N::Command, Failure>,
) -> Result<(Run<'a>, N::Command), Failure>
where
    N: Noun,
    R: Rpc<Request: AtLeast + Repeatable>,
{
    let Call { asker, deadline, request } = call;
    let asked = Asked::of::<R>(&asker, &request, kit)?;
    let token = kit.parse_tokens(request.at_least())?;
    let command = parse(&asked, request)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    Ok((Run { seen, asked }, command))
}

/// Decides, decides a second time if nothing would be written, and appends.
///
/// If `decide` finds nothing to do, or the command was here before, it runs once more, on tables that include
/// everything that the log had under the key by then: without a record, no later fold would correct a premature
/// "already in effect".
pub(crate) async fn decide<N: Noun>(
    seen: &Seen<'_>,
    asked: &mut Asked,
    command: &N::Command,
) -> Result<Decided<N::State>, Failure> {
    let key = N::key(command);
    let next_offset = |key: &str| {
        let partition = LogPartition::of_key(N::TOPIC, key, seen.state.partition_count());
        seen.state.watermarks().next_offset(partition)
    };
    let mut next = next_offset(key);
    let other = N::rests_also_on(command).map(|other| (other, next_offset(other)));
    let is_copy = seen.remember(asked.id, asked.digest)?;
    let mut looked = look::<N>(seen, asked, command).await?;
    if looked.1.is_none() || is_copy {
        let mut unseen = Token::default();
        for (key, next) in [Some((key, next)), other].into_iter().flatten() {
            let last = seen.last(N::TOPIC, key, seen.deadline).await?;
            last.filter(|last| last.offset >= next).into_iter().for_each(|last| unseen.add(last));
        }
        if unseen.positions().next().is_some() {
            seen.state.at_least(&unseen, seen.deadline.at()).await?;
            next = next_offset(key);
            looked = look::<N>(seen, asked, command).await?;
        }
    }
    let (mut standing, event) = looked;
    let Some(event) = event else { return Ok(Decided { standing, appended: None }) };
    let id = N::record_id(asked, &event);
    let position = seen
        .append(
            kit::Command {
                depends_on: DependsOn {
                    part: hash(N::about(command, &standing.state), &asked.actor),
                    rises_under: N::TIMES_RISE.then(|| hash(key, "")),
                },
                topic: N::TOPIC,
                key,
                id,
                event: event.clone().into(),
            },
            seen.deadline,
        )
        .await?;
    let mut record = Record::new(position, id, event);
    record.time = asked.at;
    N::evolve(&mut standing.state, &record);
    standing.rests_on = Some(position.offset);
    Ok(Decided { standing, appended: Some(Appended { position, next }) })
}

fn hash(name: &str, actor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, actor).hash(&mut hasher);
    hasher.finish()
}

async fn look<N: Noun>(
    seen: &Seen<'_>,
    asked: &mut Asked,
    command: &N::Command,
) -> Result<(Standing<N::State>, Option<N::Event>), Failure> {
    let standing = N::load(seen, asked, command).await?;
    asked.at = seen.tick(standing.newest);
    let event = N::decide(&standing.state, asked, command).map_err(Into::into)?;
    Ok((standing, event))
}

async fn reload<N: Noun>(
    seen: &Seen<'_>,
    asked: &Asked,
    command: &N::Command,
    position: Position,
) -> Result<Standing<N::State>, Unknown> {
    seen.state.at_least(&position.into(), seen.deadline.at()).await?;
    Ok(N::load(seen, asked, command).await?)
}
