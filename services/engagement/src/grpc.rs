//! Handlers: parse, who calls, see the tokens, load, decide, append, answer.

mod comments;
mod engagement;
mod reactions;
mod shares;

use kith_log::RecordId;
use kith_proto::engagement::v1::Subject;
use kith_service::auth::{self, Caller};
use kith_service::deadline::{Deadline, deadline};
use kith_service::ids::parse_id;
use kith_service::limits::BATCH_ITEMS;
use kith_service::{Failure, ids};
use tonic::{Request, Status};

/// A request taken apart.
struct Call<T> {
    caller: Caller,
    deadline: Deadline,
    request: T,
}

impl<T> Call<T> {
    fn of(request: Request<T>) -> Result<Self, Status> {
        let caller = auth::caller(&request)?;
        Ok(Self { caller, deadline: deadline(&request), request: request.into_inner() })
    }

    fn viewer(&self) -> String {
        self.caller.account_id.to_string()
    }
}

/// The id of the command that a method, by its full name, was asked for under `request_id`.
fn command_id(
    caller: Caller,
    method: &str,
    request_id: &str,
    runtime: &kith_runtime::Runtime,
) -> Result<RecordId, Failure> {
    let request_id = ids::RequestId::parse("request_id", request_id, runtime)?;
    Ok(ids::record_id(caller.account_id, method, &request_id))
}

/// A subject whose ids are ids; the comment's may be empty. `path` is the field's.
fn parse_subject(path: &str, subject: Option<Subject>) -> Result<Subject, Failure> {
    let subject = subject.ok_or_else(|| Failure::field_missing(path))?;
    parse_id(&format!("{path}.post_id"), &subject.post_id)?;
    parse_id_or_empty(&format!("{path}.comment_id"), &subject.comment_id)?;
    Ok(subject)
}

/// The subjects of a batch.
fn parse_subjects(subjects: Vec<Subject>) -> Result<Vec<Subject>, Failure> {
    if subjects.len() > BATCH_ITEMS {
        return Err(Failure::batch_too_long("subjects", subjects.len()));
    }
    let numbered = subjects.into_iter().enumerate();
    numbered.map(|(index, subject)| parse_subject(&format!("subjects[{index}]"), Some(subject))).collect()
}

fn parse_id_or_empty(field: &str, text: &str) -> Result<(), Failure> {
    if text.is_empty() { Ok(()) } else { parse_id(field, text).map(|_| ()) }
}
