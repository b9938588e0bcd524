//! Checks for every history; checks of one noun are in that noun's file. Pure, except those that read tables.

mod acknowledged;
mod copies;
mod order;
mod rebuild;
mod rows;
pub mod times;

use super::history::{Call, Outcome};
use super::model::Model;

pub use rebuild::rebuild;
pub use rows::rows;

pub const CONSENT: &str = "consent";
pub const COPIES: &str = "copies";
pub const COUNTS: &str = "counts";
pub const CUT: &str = "cut";
pub const EFFECTIVE_ONCE: &str = "effective once";
pub const FEED: &str = "feed";
pub const HIDDEN: &str = "hidden content";
pub const LISTS: &str = "lists";
pub const NEVER_INTERNAL: &str = "never internal";
pub const NO_IS_NO: &str = "no is no";
pub const ONE_OWNER: &str = "one owner";
pub const PAGING: &str = "paging";
pub const PLACES: &str = "places";
pub const RIGHTS: &str = "rights";
pub const REVOKED: &str = "sessions";
pub const TIMES: &str = "times";
pub const TOKEN: &str = "token";
pub const UNREAD: &str = "unread";
pub const UPDATES: &str = "updates";
pub const WATERMARKS: &str = "watermarks";

/// A violation.
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

/// The violations in a history, and in the reads after it (`last`), according to the log.
pub fn told(model: &Model, history: &[Call], last: &[Call]) -> Vec<Finding> {
    let mut findings = acknowledged::acknowledged(model, history);
    let reads = history.iter().filter(|call| call.op.is_read()).chain(last);
    findings.extend(reads.filter(|call| !call.shaken).flat_map(|call| call.op.check(model, call)));
    findings.extend(order::order(history));
    findings.extend(copies::copies(model, history));
    findings.extend(times::later_than_what_was_seen(model, history));
    findings.extend(unanswered(last));
    findings
}

/// Without faults every read is answered, or refused for a reason.
fn unanswered(last: &[Call]) -> Vec<Finding> {
    let refused = |call: &&Call| match &call.outcome {
        Outcome::Ok(_) => false,
        Outcome::Fail(code, _) => !matches!(code, tonic::Code::NotFound | tonic::Code::OutOfRange),
        Outcome::Unknown(_) => true,
    };
    let not = |call: &Call| Finding::new("lag", format!("{} was not answered: {:?}", call.op, call.outcome));
    last.iter().filter(refused).map(not).collect()
}
