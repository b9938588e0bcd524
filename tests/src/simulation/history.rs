//! Requests and answers, as clients saw them.

use std::collections::BTreeMap;

use kith_fold::Token;
use kith_log::{LogPartition, Offset};

use super::operation::{Answer, Op, Reply};

/// The next offset of each log partition.
pub type Heads = BTreeMap<LogPartition, Offset>;

#[derive(Debug, Clone)]
pub enum Outcome {
    Ok(Reply<Answer>),
    /// A definite no: its code and message.
    Fail(tonic::Code, String),
    Unknown(String),
}

/// One request of a client, with its retries.
#[derive(Debug, Clone)]
pub struct Call {
    pub actor: String,
    pub op: Op,
    pub request_id: String,
    pub at_least: Token,
    /// How often it was asked.
    pub attempts: u32,
    /// In how many pages it was answered.
    pub pages: usize,
    /// When it was asked and when it was answered, counted over all clients.
    pub asked: u64,
    pub told: u64,
    /// Heads of the log when it was first asked, and when it was answered.
    pub before: Heads,
    pub after: Heads,
    /// Which process answered, in which of its lives; `None`: not known.
    pub answered_by: Option<(usize, u64)>,
    pub outcome: Outcome,
    /// A replica had lost its tail by then: answers may be stale until the folds have restarted.
    pub shaken: bool,
    /// The earlier answer to the same command; `None`: it is no copy, or the original had no answer.
    pub copy_of: Option<Answer>,
    /// Asked for again under the request id of another call.
    pub is_copy: bool,
}

impl Call {
    pub fn reply(&self) -> Option<&Reply<Answer>> {
        match &self.outcome {
            Outcome::Ok(reply) => Some(reply),
            Outcome::Fail(..) | Outcome::Unknown(_) => None,
        }
    }

    /// How much of `partition` the answer must include, and how much it may.
    pub fn window(&self, partition: LogPartition) -> (Offset, Offset) {
        let low = self.at_least.offset(partition).map_or(0, |offset| offset + 1);
        (low, self.after.get(&partition).copied().unwrap_or(0).max(low))
    }

    /// From what was in `partition` when it was asked for to what was there when it was answered.
    pub fn meanwhile(&self, partition: LogPartition) -> (Offset, Offset) {
        let start = self.before.get(&partition).copied().unwrap_or(0);
        (start, self.after.get(&partition).copied().unwrap_or(0).max(start))
    }
}

#[cfg(test)]
impl Call {
    /// One that nobody has answered.
    pub fn of(op: Op) -> Self {
        Self {
            actor: String::new(),
            op,
            request_id: String::new(),
            at_least: Token::default(),
            attempts: 1,
            pages: 1,
            asked: 0,
            told: 0,
            before: Heads::new(),
            after: Heads::new(),
            answered_by: None,
            outcome: Outcome::Unknown(String::new()),
            shaken: false,
            copy_of: None,
            is_copy: false,
        }
    }
}
