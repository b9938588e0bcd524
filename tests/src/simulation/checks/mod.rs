//! What must hold of every history. Pure, but for those that look at tables.

mod acknowledged;
mod answers;
mod feeds;
mod lists;
mod order;
mod rebuild;
mod rows;

use kith_log::topics;

use super::history::{Call, Outcome};
use super::ledger::{Edge, Ledger};

pub use acknowledged::acknowledged;
pub use answers::answer;
pub use order::order;
pub use rebuild::rebuild;
pub use rows::rows;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule is broken.
    pub check: &'static str,
    pub what: String,
}

impl Finding {
    pub fn new(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, what: what.into() }
    }
}

/// Whether a block stood between two the whole time that a call could see.
fn always_parted(ledger: &Ledger, call: &Call, one: &str, other: &str) -> bool {
    let blocks = |edges: Vec<Edge>| edges.iter().all(|edge| edge.blocking);
    one != other && (blocks(ledger.edge(call, one, other)) || blocks(ledger.edge(call, other, one)))
}

/// Whether a block stood between two at some time that a call could see.
fn ever_parted(ledger: &Ledger, call: &Call, one: &str, other: &str) -> bool {
    let blocks = |edges: Vec<Edge>| edges.iter().any(|edge| edge.blocking);
    one != other && (blocks(ledger.edge(call, one, other)) || blocks(ledger.edge(call, other, one)))
}

/// What a post was while a call could see it.
fn post_states(ledger: &Ledger, call: &Call, post_id: &str) -> Vec<super::ledger::Post> {
    let window = call.window(ledger.partition(topics::POSTS, post_id));
    ledger.posts.get(post_id).map(|line| line.within(window)).unwrap_or_default()
}

/// What stood around it.
fn around_states(ledger: &Ledger, call: &Call, post_id: &str) -> Vec<super::ledger::Around> {
    let window = call.window(ledger.partition(topics::ENGAGEMENT, post_id));
    ledger.around.get(post_id).map_or_else(|| vec![Default::default()], |line| line.within(window))
}

/// Where nothing goes wrong every read is answered, or refused for a reason.
pub fn unanswered(last: &[Call]) -> Vec<Finding> {
    let refused = |call: &&Call| match &call.outcome {
        Outcome::Ok(_) => false,
        Outcome::Fail(code, _) => !matches!(code, tonic::Code::NotFound | tonic::Code::OutOfRange),
        Outcome::Unknown(_) => true,
    };
    let not = |call: &Call| Finding::new("lag", format!("{:?} was not answered: {:?}", call.op, call.outcome));
    last.iter().filter(refused).map(not).collect()
}
