//! The failures of calls, and the one function that turns a failure into a gRPC status.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kith_fold::Standstill;
use kith_proto::ERROR_DOMAIN;
use kith_proto::errors::v1::Reason;
use kith_text::Length;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::limits::{BATCH_ITEMS, TOKENS_PER_REQUEST};
use crate::reasons::{code_of, retry_delay};

/// A field of the request, by its path, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub description: String,
}

/// Why a call failed, as the caller is told: a reason (which fixes the canonical code), a message, the fields at fault.
///
/// Services implement `From<TheirRejection> for Failure`. It contains nothing secret or personal. Dynamic parts of the
/// message are also in the metadata (AIP-193).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    reason: Reason,
    message: Cow<'static, str>,
    violations: Vec<Violation>,
    metadata: BTreeMap<&'static str, String>,
    quota: Option<Quota>,
}

/// What the caller has used up, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quota {
    name: &'static str,
    wait: Duration,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason_name(), self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), metadata: BTreeMap::new(), quota: None }
    }

    /// Names a field at fault.
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push(Violation { field: field.into(), description: description.into() });
        self
    }

    /// Both values; or the violations of both, so that a caller learns of all its fields at once. If both fail, the
    /// reason, message and metadata are those of `a`.
    pub fn both<A, B>(a: Result<A, Self>, b: Result<B, Self>) -> Result<(A, B), Self> {
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Err(mut first), Err(second)) => {
                first.violations.extend(second.violations);
                Err(first)
            }
            (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => Err(failure),
        }
    }

    /// Adds metadata; a key once shown to callers stays. Keys are lowerCamelCase or snake_case, at most 64 characters.
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.insert(key, value.to_string());
        self
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The reason as callers see it: UPPER_SNAKE, without the enum's prefix.
    pub fn reason_name(&self) -> &'static str {
        self.reason.as_error_info()
    }

    pub fn code(&self) -> Code {
        code_of(self.reason)
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn field_violations(&self) -> &[Violation] {
        &self.violations
    }
}

/// The common failures, identical in every service.
impl Failure {
    pub fn field_invalid(field: &str, description: &str) -> Self {
        Self::one_field(Reason::FieldInvalid, field, description.to_owned())
    }

    pub fn field_missing(field: &str) -> Self {
        Self::field_invalid(field, "is required")
    }

    pub fn id_malformed(field: &str) -> Self {
        Self::one_field(Reason::IdMalformed, field, "is not an id: 32 characters of 0-9a-f".to_owned())
    }

    /// Told to the owner of the account alone, and to a service that may act for it.
    pub fn account_deactivated() -> Self {
        Self::new(Reason::AccountDeactivated, "the account was deactivated: bring it back first")
    }

    pub fn request_id_malformed(field: &str) -> Self {
        Self::field_invalid(field, "is longer than 64 characters or not printable ASCII")
    }

    pub fn text_empty(field: &str) -> Self {
        Self::one_field(Reason::TextEmpty, field, "is empty".to_owned())
    }

    pub fn text_too_long(field: &str, has: usize, limit: usize, unit: Length) -> Self {
        let failure = Self::one_field(Reason::TextTooLong, field, format!("has {has} {unit}, the limit is {limit}"));
        failure.with("has", has).with("limit", limit).with("unit", unit)
    }

    pub fn batch_too_long(field: &str, has: usize) -> Self {
        let failure =
            Self::one_field(Reason::BatchTooLong, field, format!("has {has} items, the limit is {BATCH_ITEMS}"));
        failure.with("has", has).with("limit", BATCH_ITEMS)
    }

    pub fn too_many_tokens(field: &str, has: usize) -> Self {
        let description = format!("has {has} tokens, the limit is {TOKENS_PER_REQUEST}");
        let failure = Self::one_field(Reason::TooManyTokens, field, description);
        failure.with("has", has).with("limit", TOKENS_PER_REQUEST)
    }

    pub fn consistency_token_invalid(field: &str) -> Self {
        Self::one_field(Reason::ConsistencyTokenInvalid, field, "is not a consistency token of this suite".to_owned())
    }

    pub fn consistency_token_expired(field: &str) -> Self {
        let description = "was sealed with a key that is not in use any more; go on without it".to_owned();
        Self::one_field(Reason::ConsistencyTokenExpired, field, description)
    }

    pub fn page_token_invalid() -> Self {
        let description = "was not made by this query with this filter".to_owned();
        Self::one_field(Reason::PageTokenInvalid, "page_token", description)
    }

    pub fn page_size_negative(field: &str) -> Self {
        Self::field_invalid(field, "is negative")
    }

    /// `reason` is the noun's own: `AccountNotFound`, `PostNotFound`, … Also for what the caller may not see.
    pub fn not_found(reason: Reason, what: &'static str) -> Self {
        Self::new(reason, format!("{what} was not found")).with("resource", what)
    }

    /// `why`: what was already done with it, or what prevents the command.
    pub fn dead_letter_state(why: impl Into<String>) -> Self {
        let why = why.into();
        Self::new(Reason::DeadLetterState, format!("the dead letter {why}")).with("why", why)
    }

    pub fn unauthenticated(message: &'static str) -> Self {
        Self::new(Reason::Unauthenticated, message)
    }

    pub fn token_expired() -> Self {
        Self::new(Reason::TokenExpired, "the bearer token has expired")
    }

    pub fn session_ended() -> Self {
        Self::new(Reason::SessionEnded, "the session was ended")
    }

    /// This process has not heard for a while which sessions were ended.
    pub fn revocations_behind() -> Self {
        Self::new(Reason::RevocationsBehind, "it is not known at the moment which sessions were ended")
    }

    /// A trusted issuer's keys have not been fetched here yet.
    pub fn issuer_keys_missing() -> Self {
        Self::new(Reason::IssuerKeysMissing, "the keys of the token's issuer have not been fetched yet")
    }

    /// A trusted issuer's keys have not been fetched here for a day.
    pub fn issuer_keys_stale() -> Self {
        Self::new(Reason::IssuerKeysStale, "the keys of the token's issuer could not be fetched for too long")
    }

    pub fn request_id_reused() -> Self {
        let description = "was used before with other content".to_owned();
        Self::one_field(Reason::RequestIdReused, "request_id", description)
    }

    pub fn timeout_malformed() -> Self {
        Self::field_invalid("grpc-timeout", "is not up to 8 digits and one of H, M, S, m, u, n")
    }

    pub fn deadline_too_short() -> Self {
        Self::new(Reason::DeadlineTooShort, "the deadline leaves no time to try; nothing was done")
    }

    pub fn deadline_exceeded() -> Self {
        let message = "the deadline passed; a command may have happened, repeat it with the same request_id";
        Self::new(Reason::DeadlineExceeded, message)
    }

    /// The tables did not reach the tokens, or the state for a decision, within the deadline. `records_behind`: how
    /// many records they lack, if known. The caller is told coarsely: the number counts other people's records.
    pub fn behind_token(records_behind: Option<u64>) -> Self {
        match records_behind.map(coarse) {
            Some(behind) => {
                let message = format!("the tables are up to {behind} records behind what was asked for");
                Self::new(Reason::BehindToken, message).with("records_behind", behind)
            }
            None => Self::new(Reason::BehindToken, "the tables are behind what was asked for"),
        }
    }

    pub fn log_unavailable() -> Self {
        Self::new(Reason::LogUnavailable, "the log cannot be reached; nothing was written")
    }

    pub fn tables_unavailable() -> Self {
        Self::new(Reason::TablesUnavailable, "the tables cannot be reached; nothing was written")
    }

    /// No generation that this release folds may serve yet; nothing was written.
    pub fn tables_being_filled() -> Self {
        let message = "this process is of a release whose tables do not serve; nothing was written";
        Self::new(Reason::TablesBeingFilled, message)
    }

    /// The record was handed over, and no answer came: it may be in the log.
    pub fn outcome_unknown() -> Self {
        let message = "it is not known whether the command happened; repeat it with the same request_id";
        Self::new(Reason::OutcomeUnknown, message)
    }

    pub fn overloaded() -> Self {
        Self::new(Reason::Overloaded, "too much is being asked at once; back off")
    }

    /// `quota`: a fixed name. `wait`: after which a repeat may succeed.
    pub(crate) fn rate_limited(quota: &'static str, wait: Duration) -> Self {
        let message = format!("more was asked for than the quota `{quota}` allows in this time");
        let failure = Self::new(Reason::RateLimited, message).with("quota", quota);
        Self { quota: Some(Quota { name: quota, wait }), ..failure }
    }

    pub fn fold_stopped() -> Self {
        Self::new(Reason::FoldStopped, "what the answer depends on is not being folded")
    }

    /// A refusal that may only be due to folds that stand still; nothing was written.
    pub(crate) fn perhaps_stale(refusal: &Self, standstill: &Standstill) -> Self {
        let state = match standstill {
            Standstill::Paused => "paused",
            Standstill::Stopped { .. } => "stopped",
            Standstill::CatchingUp => "catching up",
        };
        let message = format!("the folds are {state}, so that this may no longer be so: {}", refusal.message);
        Self::new(Reason::FoldStopped, message).with("folds", state).with("refusal", refusal.reason_name())
    }

    /// A defect, without details for the caller. Log the reason first, or use [`Self::defect`].
    pub fn internal() -> Self {
        Self::new(Reason::Internal, "internal error")
    }

    /// As [`Self::internal`], with the error in the log. Only for errors that carry nothing personal.
    pub fn defect(doing: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(doing, error, "defect");
        Self::internal()
    }

    /// For code that tonic answers itself, before or without a handler.
    pub(crate) fn request_undecodable() -> Self {
        Self::new(Reason::RequestMalformed, "the request is not a message of this method's type")
    }

    pub(crate) fn request_too_large() -> Self {
        let limit = crate::limits::REQUEST_BYTES;
        Self::new(Reason::RequestTooLarge, format!("the request is over {limit} bytes")).with("limit", limit)
    }

    pub(crate) fn headers_too_large() -> Self {
        let limit = crate::limits::REQUEST_HEADER_BYTES;
        Self::new(Reason::HeadersTooLarge, format!("the headers are over {limit} bytes")).with("limit", limit)
    }

    pub(crate) fn compression_unknown() -> Self {
        Self::new(Reason::CompressionUnknown, "this server takes uncompressed messages only")
    }

    pub(crate) fn method_unknown() -> Self {
        Self::new(Reason::MethodUnknown, "this server does not serve this method")
    }

    fn one_field(reason: Reason, field: &str, description: String) -> Self {
        Self::new(reason, format!("{field} {description}")).with("field", field).violation(field, description)
    }
}

/// The next of 100, 10,000, 1,000,000, ….
fn coarse(records: u64) -> u64 {
    let mut bound = 100_u64;
    while bound < records && bound < u64::MAX {
        bound = bound.saturating_mul(100);
    }
    bound
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> =
            failure.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        details.set_error_info(failure.reason_name(), ERROR_DOMAIN, metadata);
        if !failure.violations.is_empty() {
            let violations = failure.violations.iter().map(|v| FieldViolation::new(&v.field, &v.description));
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        if let Some(Quota { name, .. }) = failure.quota {
            details.add_quota_failure_violation(name, &*failure.message);
        }
        if let Some(delay) = failure.quota.map(|quota| quota.wait).or_else(|| retry_delay(failure.reason)) {
            details.set_retry_info(Some(delay));
        }
        if let Some(trace_id) = crate::trace_context::trace_id() {
            details.set_request_info(trace_id, "");
        }
        Status::with_error_details(failure.code(), failure.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_fields_and_metadata() {
        let status = Status::from(Failure::text_too_long("text", 501, 500, Length::Graphemes));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "text has 501 graphemes, the limit is 500");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("TEXT_TOO_LONG", "kith"));
        assert_eq!(info.metadata.get("limit").map(String::as_str), Some("500"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 1);
        assert_eq!(
            (&*violations[0].field, &*violations[0].description),
            ("text", "has 501 graphemes, the limit is 500")
        );
        assert!(status.get_details_retry_info().is_none());
    }

    #[test]
    fn how_far_behind_tables_are_is_told_coarsely() {
        let told = |behind| Failure::behind_token(Some(behind)).metadata["records_behind"].clone();
        assert_eq!([1, 2, 100].map(told), ["100"; 3]);
        assert_eq!([101, 10_000, 10_001].map(told), ["10000", "10000", "1000000"]);
        assert_eq!(told(u64::MAX), u64::MAX.to_string());
        assert!(Failure::behind_token(Some(7)).message().contains("up to 100 records"));
    }

    #[test]
    fn of_two_bad_fields_both_are_named() {
        let (first, second) = (Failure::text_empty("text"), Failure::field_missing("kind"));
        let both = Failure::both::<(), ()>(Err(first.clone()), Err(second.clone())).unwrap_err();
        assert_eq!((both.reason(), both.message()), (Reason::TextEmpty, "text is empty"));
        let fields: Vec<_> = both.field_violations().iter().map(|violation| &*violation.field).collect();
        assert_eq!(fields, ["text", "kind"]);
        assert_eq!(Failure::both(Ok(1), Err::<(), _>(second.clone())), Err(second));
        assert_eq!(Failure::both(Err::<(), _>(first.clone()), Ok(1)), Err(first));
        assert_eq!(Failure::both(Ok(1), Ok(2)), Ok((1, 2)));
    }

    #[test]
    fn what_may_be_tried_again_says_when() {
        let status = Status::from(Failure::overloaded());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
        assert!(status.get_details_bad_request().is_none());
    }
}
