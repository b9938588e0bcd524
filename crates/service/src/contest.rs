//! Commands that only one may win: the record is an intent, and log order decides.

use async_trait::async_trait;
use kith_fold::Token;
use kith_log::LogPartition;
use kith_proto::rpc::{AtLeast, Repeatable, Rpc, TakesToken};
use kith_tables::Timestamp;

use crate::Failure;
use crate::call::{Call, Handlers};
use crate::command::{self, Asked, Decided, Noun, Run, Unknown};
use crate::kit::Seen;

/// A noun's part of an RPC whose record is an intent.
pub trait Contests<R: Rpc>: Settles<R> {
    /// Validates and parses the request. No I/O.
    fn parse(service: &Self::Service, asked: &Asked, request: R::Request) -> Result<Self::Command, Failure>;
}

/// The effect to wait for before a record is answered.
#[async_trait]
pub trait Settles<R: Rpc>: Noun {
    /// The verdict on the intent, which is folded by now, and its effects. Any failure here is after the append.
    async fn settle(seen: &Seen<'_>, asked: &Asked, command: &Self::Command) -> Result<Verdict<R::Response>, Unknown>;
}

/// The arbiter's verdict on an intent.
pub enum Verdict<T> {
    /// The answer, and the places of the fact and its effects.
    Won(T, Token),
    /// For ever.
    Lost(Failure),
}

/// Runs a command whose record is an intent. Its token covers the intent and the fact.
pub async fn run<N, R>(service: &N::Service, call: Call<R>) -> Result<R::Response, Failure>
where
    N: Contests<R>,
    R: Rpc<Request: AtLeast + Repeatable, Response: TakesToken>,
{
    let parse = |asked: &Asked, request| N::parse(service, asked, request);
    let (run, command) = command::begin::<N, R>(service.kit(), call, parse).await?;
    let Run { seen, asked, .. } = run;
    enter::<N, R>(&seen, asked, command).await
}

/// Runs a parsed command whose service made its id and digest.
pub async fn enter<N, R>(seen: &Seen<'_>, mut asked: Asked, command: N::Command) -> Result<R::Response, Failure>
where
    N: Settles<R>,
    R: Rpc<Response: TakesToken>,
{
    let _turn = seen.turn(asked.id, asked.digest).await?;
    let Decided { standing, appended } = command::decide::<N>(seen, &mut asked, &command).await?;
    let partition = LogPartition::of_key(N::TOPIC, N::key(&command), seen.state.partition_count());
    let intent = match appended {
        Some(appended) => Token::from(appended.position),
        None => seen.standing(partition, standing.rests_on).await?,
    };
    settle::<N, R>(seen, &asked, &command, intent).await?
}

async fn settle<N, R>(
    seen: &Seen<'_>,
    asked: &Asked,
    command: &N::Command,
    mut token: Token,
) -> Result<Result<R::Response, Failure>, Unknown>
where
    N: Settles<R>,
    R: Rpc<Response: TakesToken>,
{
    seen.state.at_least(&token, seen.deadline.at()).await?;
    Ok(match N::settle(seen, asked, command).await? {
        Verdict::Lost(failure) => Err(failure),
        Verdict::Won(mut response, follows) => {
            token.merge(&follows);
            // Rows may say more than this process knows to be folded: then the token's time is not known yet.
            seen.state.at_least(&token, seen.deadline.at()).await?;
            seen.sealed(&seen.dated(token, Timestamp::default())).map(|token| {
                response.set_consistency_token(token);
                response
            })
        }
    })
}
