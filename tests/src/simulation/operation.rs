//! Operations: each is a separate type, in the file of its noun. This is their common part.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kith_log::{RecordId, Topic};
use kith_runtime::Runtime;
use kith_service::ids::{self, RequestId};
use tonic::{Code, Status};

use super::board::Board;
use super::callers::Callers;
use super::checks::{EFFECTIVE_ONCE, Finding};
use super::history::{Call, Outcome};
use super::model::Model;
use super::plain;

/// One request, but for what the operation itself says.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub actor: String,
    pub request_id: String,
    pub at_least: Vec<String>,
    /// The position of a walk through pages; empty: the first page.
    pub page_token: String,
    /// What a planted defect takes for the same.
    pub confusion: Option<Confusion>,
}

/// What is wrongly taken for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confusion {
    /// Two services for one.
    ServicesAreOne,
    /// The accounts of one issuer for those of all.
    AccountsOfAll,
    /// Now for the place that a cursor names.
    CursorIsNow,
    /// A stream does not tell what becomes of messages.
    AmendsUntold,
    /// Who searches for nobody in particular.
    NobodyAsks,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<A> {
    pub answer: A,
    /// Of a command: its token. Of a read: what it has seen.
    pub token: String,
    /// Empty: the end, or no answer in pages.
    pub next_page: String,
}

impl<A> Reply<A> {
    pub fn new(answer: A, token: String) -> Self {
        Self { answer, token, next_page: String::new() }
    }
}

/// The id of the record that an account's command makes, if it makes one.
pub fn record_id(actor: &str, rpc: &str, request_id: &str) -> Option<RecordId> {
    let request_id = RequestId::parse("request_id", request_id, &Runtime::system()).ok()?;
    Some(ids::record_id(RecordId::parse(actor)?, rpc, &request_id))
}

/// The record that a command appends, if it changes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub topic: Topic,
    pub key: String,
    pub id: RecordId,
}

/// Something that a client can ask for.
#[async_trait]
pub trait Operation: fmt::Debug + Send + Sync + 'static {
    type Answer: fmt::Debug + Clone + PartialEq + Send + Sync + 'static;

    /// Whose handler answers. Each service has tables of its own.
    const SERVICE: &'static str;
    /// Whether it only reads.
    const READS: bool;
    /// Of a read: whether the answer says what it has seen. A stream says what it told.
    const SAYS_SEEN: bool = true;

    /// Calls the handler and says what was answered.
    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Self::Answer>, Status>;

    /// Of a command: its record, when that is known before it is answered. `None`: it makes something whose id is answered,
    /// or goes by way of an intent.
    fn record(&self, _actor: &str, _request_id: &str) -> Option<Appended> {
        None
    }

    /// Of a command: whether what is asked for was so at some time while it was asked for.
    fn in_effect(&self, _model: &Model, _call: &Call) -> bool {
        false
    }

    /// What is wrong with the answer to `call`: `Err` is a definite no.
    fn check(&self, model: &Model, call: &Call, told: Result<&Self::Answer, Code>) -> Vec<Finding> {
        match told {
            Ok(_) => effective(self, model, call).into_iter().collect(),
            Err(_) => Vec::new(),
        }
    }

    /// The id of what a command made, as it was answered.
    fn made(&self, _answer: &Self::Answer) -> Option<String> {
        None
    }

    /// Of a command: whether times and content of the answer are those of one record that stood while it was asked for.
    fn stands(&self, _model: &Model, _call: &Call, _answer: &Self::Answer) -> bool {
        true
    }

    /// What clients tell each other of it.
    fn learn(&self, _board: &mut Board, _actor: &str, _answer: &Self::Answer) {}

    /// Of an answer in pages: puts the next page behind those that came before.
    fn append(_all: &mut Self::Answer, _page: Self::Answer) {}
}

/// A command answered OK is in the log, or was already in effect.
pub fn effective<O: Operation + ?Sized>(op: &O, model: &Model, call: &Call) -> Option<Finding> {
    let in_log = op.record(&call.actor, &call.request_id).is_some_and(|record| model.places.contains_key(&record.id));
    let stands = in_log || call.shaken || op.in_effect(model, call);
    let what = || format!("neither in the log nor in effect: {} by {}", call.op, call.actor);
    (!stands).then(|| Finding::new(EFFECTIVE_ONCE, what()))
}

/// An operation of any noun.
pub type Op = Arc<dyn AnyOperation>;

/// Makes an operation one of any noun.
pub fn op<O: Operation>(operation: O) -> Op {
    Arc::new(operation)
}

/// [`Operation`], whatever it answers.
#[async_trait]
pub trait AnyOperation: fmt::Debug + Send + Sync {
    fn service(&self) -> &'static str;
    fn is_read(&self) -> bool;
    fn says_seen(&self) -> bool;
    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Answer>, Status>;
    fn record(&self, actor: &str, request_id: &str) -> Option<Appended>;
    fn check(&self, model: &Model, call: &Call) -> Vec<Finding>;
    fn made(&self, answer: &Answer) -> Option<String>;
    fn stands(&self, model: &Model, call: &Call, answer: &Answer) -> bool;
    fn learn(&self, board: &mut Board, actor: &str, answer: &Answer);
    fn append(&self, all: &Answer, page: &Answer) -> Answer;
    fn as_any(&self) -> &dyn Any;
}

#[async_trait]
impl<O: Operation> AnyOperation for O {
    fn service(&self) -> &'static str {
        O::SERVICE
    }

    fn is_read(&self) -> bool {
        O::READS
    }

    fn says_seen(&self) -> bool {
        O::SAYS_SEEN
    }

    async fn call(&self, to: &Callers, ask: Ask) -> Result<Reply<Answer>, Status> {
        let at_least = ask.at_least.into_iter().map(|token| plain::sealed(to.tokens(), token)).collect();
        let Reply { answer, token, next_page } = Operation::call(self, to, Ask { at_least, ..ask }).await?;
        Ok(Reply { answer: Answer::new(answer), token: plain::opened(to.tokens(), token), next_page })
    }

    fn record(&self, actor: &str, request_id: &str) -> Option<Appended> {
        Operation::record(self, actor, request_id)
    }

    fn check(&self, model: &Model, call: &Call) -> Vec<Finding> {
        match &call.outcome {
            Outcome::Ok(reply) => match reply.answer.get::<O::Answer>() {
                Some(answer) => Operation::check(self, model, call, Ok(answer)),
                None => Vec::new(),
            },
            Outcome::Fail(code, _) => Operation::check(self, model, call, Err(*code)),
            Outcome::Unknown(_) => Vec::new(),
        }
    }

    fn made(&self, answer: &Answer) -> Option<String> {
        Operation::made(self, answer.get()?)
    }

    fn stands(&self, model: &Model, call: &Call, answer: &Answer) -> bool {
        answer.get().is_none_or(|answer| Operation::stands(self, model, call, answer))
    }

    fn learn(&self, board: &mut Board, actor: &str, answer: &Answer) {
        if let Some(answer) = answer.get() {
            Operation::learn(self, board, actor, answer);
        }
    }

    fn append(&self, all: &Answer, page: &Answer) -> Answer {
        match (all.get::<O::Answer>(), page.get::<O::Answer>()) {
            (Some(all), Some(page)) => {
                let mut all = all.clone();
                O::append(&mut all, page.clone());
                Answer::new(all)
            }
            _ => all.clone(),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Display for dyn AnyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An answer of any operation.
#[derive(Clone)]
pub struct Answer(Arc<dyn AnyAnswer>);

trait AnyAnswer: fmt::Debug + Send + Sync {
    fn is(&self, other: &Answer) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<A: fmt::Debug + PartialEq + Send + Sync + 'static> AnyAnswer for A {
    fn is(&self, other: &Answer) -> bool {
        other.get::<A>() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Answer {
    pub fn new<A: fmt::Debug + PartialEq + Send + Sync + 'static>(answer: A) -> Self {
        Self(Arc::new(answer))
    }

    /// The answer, if it is of that type.
    pub fn get<A: 'static>(&self) -> Option<&A> {
        // Of the answer, not of the reference that holds it.
        (*self.0).as_any().downcast_ref()
    }
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        (*self.0).is(other)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
