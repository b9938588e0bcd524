use kith_log::{Position, RecordId, headers};
use kith_proto::{DecodeError, Event};

use crate::Cause;

/// A record of the log, decoded: what folds see.
#[derive(Debug, Clone)]
pub struct Record {
    pub position: Position,
    pub id: RecordId,
    pub event: Event,
    /// W3C trace context of what made the record, when that was traced.
    pub trace_parent: Option<String>,
}

impl Record {
    /// This record as the cause of another.
    pub fn cause(&self) -> Cause {
        Cause { causation: Some(self.id), trace_parent: self.trace_parent.clone() }
    }
}

/// What a record turns out to be.
pub(crate) enum Decoded {
    Event(Box<Record>),
    /// Not decodable by anyone: set aside, and the fold goes on.
    Poison(String),
    /// Well formed, of a type that this build does not know: the partition stops until a newer build takes it.
    UnknownType,
}

impl Decoded {
    pub(crate) fn of(raw: &kith_log::Record) -> Self {
        let Some(id) = raw.id() else {
            return Self::Poison("header ce_id is missing or malformed".to_owned());
        };
        match Event::decode(raw.position.partition.topic.name, &raw.value) {
            Ok(event) => Self::Event(Box::new(Record {
                position: raw.position,
                id,
                event,
                trace_parent: raw.header(headers::TRACE_PARENT).map(str::to_owned),
            })),
            Err(DecodeError::Malformed(reason)) => Self::Poison(reason),
            Err(DecodeError::UnknownType) => Self::UnknownType,
        }
    }
}
