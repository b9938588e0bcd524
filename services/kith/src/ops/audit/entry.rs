//! A record as an entry of the audit, and which entries are asked for.

use kith_log::{Record, headers, topics};
use kith_proto::Event;
use kith_proto::ops::v1::{AuditEntry, ReadAuditRequest};
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_proto::time::{parse_unix_ms, timestamp, unix_ms};
use kith_service::Failure;
use kith_service::ids::parse_id_or_empty;
use prost_types::Timestamp;

use crate::ops::events::shown::Shapes;

/// The longest principal that is asked for, bytes.
const PRINCIPAL_BYTES: usize = 255;
const KINDS_MAX: usize = 16;

/// Which entries are asked for.
pub struct Filter {
    kinds: Vec<i32>,
    account_id: String,
    principal: String,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
}

impl Filter {
    pub fn parse(request: &ReadAuditRequest) -> Result<Self, Failure> {
        if request.kinds.len() > KINDS_MAX {
            return Err(Failure::field_invalid("kinds", "are more than 16"));
        }
        if request
            .kinds
            .iter()
            .any(|kind| matches!(SecurityKind::try_from(*kind), Err(_) | Ok(SecurityKind::Unspecified)))
        {
            return Err(Failure::field_invalid("kinds", "has one that there is not"));
        }
        parse_id_or_empty("account_id", &request.account_id)?;
        if request.principal.len() > PRINCIPAL_BYTES {
            return Err(Failure::field_invalid("principal", "is longer than 255 bytes"));
        }
        let moment = |field, time: &Option<Timestamp>| {
            let no_moment = |_| Failure::field_invalid(field, "is not a moment between the years 1 and 9999");
            time.as_ref().map(parse_unix_ms).transpose().map_err(no_moment)
        };
        Ok(Self {
            kinds: request.kinds.clone(),
            account_id: request.account_id.clone(),
            principal: request.principal.clone(),
            from_ms: moment("from_time", &request.from_time)?,
            to_ms: moment("to_time", &request.to_time)?,
        })
    }

    /// A sum is in a time range if one of its events may be.
    pub fn matches(&self, event: &SecurityEvent) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        let of_account = self.account_id.is_empty() || self.account_id == event.account_id;
        let of_principal = self.principal.is_empty() || self.principal == event.principal;
        let (first_ms, last_ms) = (unix_ms(event.first_time.as_ref()), unix_ms(event.last_time.as_ref()));
        let in_time =
            self.from_ms.is_none_or(|from_ms| last_ms >= from_ms) && self.to_ms.is_none_or(|to_ms| first_ms < to_ms);
        of_kind && of_account && of_principal && in_time
    }
}

/// The record as an entry. One that does not decode is an entry too, of no kind.
pub fn entry(record: &Record, shapes: &Shapes) -> AuditEntry {
    let position = record.position;
    let topic = position.partition.topic;
    let (event, decision_json) = match Event::decode(topic.name, &record.value) {
        Ok(Event::SecurityEvent(event)) => (event, String::new()),
        Ok(event @ Event::Ops(_)) => {
            let principal = record.header(headers::PRINCIPAL).unwrap_or_default().to_owned();
            let decided = SecurityEvent { principal, ..once(SecurityKind::OperatorDecided, &event) };
            (decided, shapes.logged(record).event_json)
        }
        Ok(event @ Event::Revocations(_)) => {
            let ended = once(SecurityKind::SessionEnded, &event);
            let account_id = account_of(&event).to_owned();
            (SecurityEvent { subject: account_id.clone(), account_id, ..ended }, String::new())
        }
        Ok(_) | Err(_) => (unread(record), String::new()),
    };
    let is_noted = topic == topics::SECURITY;
    let process = record.header(headers::SOURCE).filter(|_| is_noted).and_then(|source| source.strip_prefix("/kith/"));
    AuditEntry {
        event: Some(event),
        topic: topic.name.to_owned(),
        partition: u32::from(position.partition.index),
        offset: position.offset,
        record_id: record.id().map(|id| id.to_string()).unwrap_or_default(),
        decision_json,
        process: process.unwrap_or_default().to_owned(),
    }
}

/// A record about one thing; in what way is the name of its type.
fn once(kind: SecurityKind, event: &Event) -> SecurityEvent {
    let name = event.type_name();
    SecurityEvent {
        kind: kind.into(),
        subject: event.subject().to_owned(),
        reason: name.rsplit('.').next().unwrap_or(name).to_owned(),
        count: 1,
        first_time: event.time().copied(),
        last_time: event.time().copied(),
        ..SecurityEvent::default()
    }
}

fn account_of(event: &Event) -> &str {
    use kith_proto::revocations::v1::revocation_event::Event as Revocation;
    match event {
        Event::Revocations(Revocation::SessionRevoked(event)) => &event.account_id,
        Event::Revocations(Revocation::AccountSessionsRevoked(event)) => &event.account_id,
        _ => "",
    }
}

fn unread(record: &Record) -> SecurityEvent {
    let time = Some(timestamp(record.logged_ms));
    SecurityEvent {
        subject: "-".to_owned(),
        reason: "does not read".to_owned(),
        count: 1,
        first_time: time,
        last_time: time,
        ..SecurityEvent::default()
    }
}
