//! What clients call: the processes of a simulation, or real ones.

use std::time::Duration;

use async_trait::async_trait;
use kith_runtime::Runtime;
use tonic::{Code, Status};

use super::history::{Heads, Outcome};
use super::operation::{Answer, Ask, Op, Reply};
use super::plan::Plan;

/// How long clients retry.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How often a command is asked for before its client gives up.
    pub attempts: u32,
    pub retry_ms: (u64, u64),
    /// Between two things that a client does.
    pub think_ms: (u64, u64),
    pub call_timeout: Duration,
}

#[async_trait]
pub trait Target: Send + Sync + 'static {
    fn plan(&self) -> &Plan;

    fn runtime(&self) -> &Runtime;

    fn patience(&self) -> Patience;

    /// The log's heads; empty where they are not known at that moment.
    fn heads(&self) -> Heads;

    /// Whether answers may be old because a replica lost its tail.
    fn is_shaken(&self) -> bool;

    /// Whether calling services can be played: over connections each would need a token of a trusted issuer.
    fn knows_services(&self) -> bool {
        true
    }

    /// Whether clients are told to end.
    fn is_over(&self) -> bool {
        false
    }

    /// How many processes may answer.
    fn processes(&self) -> usize;

    /// Asks the wanted process, or another that is up, for the `attempt`th time. Gives which one it was, in which of its
    /// lives, if that is known.
    async fn ask(&self, wanted: usize, op: &Op, ask: Ask, attempt: u32) -> (Option<(usize, u64)>, Outcome);
}

/// What an answer tells its client.
pub fn outcome(answer: Result<Reply<Answer>, Status>) -> Outcome {
    match answer {
        Ok(reply) => Outcome::Ok(reply),
        Err(status) => match status.code() {
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Cancelled
            | Code::ResourceExhausted
            | Code::Aborted => Outcome::Unknown(status.message().to_owned()),
            // What the connection says, not the server.
            _ if std::error::Error::source(&status).is_some() => Outcome::Unknown(status.message().to_owned()),
            code => Outcome::Fail(code, status.message().to_owned()),
        },
    }
}
