//! What operators are answered when what they ask for cannot be.

use std::borrow::Cow;

use kith_fold::{DecisionError, FoldError, GenerationError};
use kith_log::AppendError;
use kith_proto::errors::v1::Reason;
use kith_service::Failure;
use kith_tables::StoreError;

/// The append was handed over or is in flight; no answer came in time.
pub fn not_known() -> Failure {
    let message = "it is not known whether that was decided, or has come about: look before you ask again";
    Failure::new(Reason::OutcomeUnknown, message)
}

pub fn failed(error: FoldError) -> Failure {
    match error {
        FoldError::Store(error @ StoreError::Unavailable(_)) => error.into(),
        FoldError::Append(AppendError::Unknown(_)) => not_known(),
        FoldError::Append(error) => error.into(),
        FoldError::Log(error) => {
            tracing::warn!(%error, "the log did not answer an operator's command");
            Failure::log_unavailable()
        }
        other => Failure::defect("an operator's command", &other),
    }
}

/// Of two racing decisions the first in the log wins.
pub fn stood(it_did: bool) -> Result<(), Failure> {
    if it_did { Ok(()) } else { Err(state("another decision came first: look how it stands")) }
}

pub fn refused(error: GenerationError) -> Failure {
    match error {
        GenerationError::Unknown(number) => not_found(number),
        other => state(other.to_string()),
    }
}

pub fn state(why: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(Reason::GenerationState, why)
}

pub fn not_found(number: u32) -> Failure {
    Failure::new(Reason::GenerationNotFound, format!("there is no generation {number}"))
}

pub fn undecided(error: DecisionError) -> Failure {
    match error {
        DecisionError::Refused(error) => refused(error),
        DecisionError::Fold(error) => failed(error),
    }
}
