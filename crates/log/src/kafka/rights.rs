//! What the brokers' authorizer lets our user do with topics. The binding has no call for it, so that this file talks to the
//! library itself.
#![allow(unsafe_code, reason = "the binding has no safe call for what an authorizer allows")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char};
use std::ptr;

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_AclOperation_t, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_include_authorized_operations, rd_kafka_AdminOptions_set_request_timeout,
    rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_authorized_operations,
    rd_kafka_TopicDescription_name, rd_kafka_admin_op_t, rd_kafka_error_destroy, rd_kafka_event_DescribeTopics_result,
    rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_error_string, rd_kafka_queue_destroy,
    rd_kafka_queue_new, rd_kafka_queue_poll,
};
use rdkafka::client::Client;
use rdkafka::types::RDKafkaRespErr;

use super::settings::{KafkaSettings, REQUEST_TIMEOUT_MS};
use super::voice::Voice;
use crate::{LogError, Topic};

/// Operations by the names that Strimzi gives them.
type Operations = BTreeSet<&'static str>;

/// Compares what the authorizer allows with what is needed. Changes nothing. Nothing where nobody logs in, or the brokers
/// have no authorizer.
pub async fn judge_rights(
    settings: &KafkaSettings,
    needed: &[(Topic, Vec<&'static str>)],
    runtime: &Runtime,
) -> Result<Vec<Finding>, LogError> {
    let Some(access) = &settings.access else { return Ok(Vec::new()) };
    let user = access.login.as_ref().map_or("…", |login| &login.user);
    let config = settings.admin()?;
    let voice = Voice::new(runtime.clone());
    let topics: Vec<Topic> = needed.iter().map(|(topic, _)| *topic).collect();
    let asked = runtime.blocking(move || {
        let unavailable = |error: rdkafka::error::KafkaError| LogError::Unavailable(error.to_string());
        let client: rdkafka::admin::AdminClient<Voice> = config.create_with_context(voice).map_err(unavailable)?;
        allowed(client.inner(), &topics)
    });
    let allowed = asked.await.ok_or(LogError::Closed)??;
    let judge = |(topic, operations): &(Topic, Vec<&'static str>)| {
        let has = allowed.get(topic.name).cloned().unwrap_or_default();
        operations.iter().map(|operation| judge(*topic, operation, &has, user)).collect::<Vec<_>>()
    };
    Ok(needed.iter().flat_map(judge).collect())
}

/// As [`judge_rights`]; `Contract` names every right that is missing.
pub async fn check_rights(
    settings: &KafkaSettings,
    needed: &[(Topic, Vec<&'static str>)],
    runtime: &Runtime,
) -> Result<(), LogError> {
    let found = judge_rights(settings, needed, runtime).await?;
    let missing = found.iter().filter(|finding| finding.weight == Weight::Wrong).map(ToString::to_string);
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(LogError::Contract(missing.join("; "))) }
}

fn judge(topic: Topic, operation: &str, has: &Operations, user: &str) -> Finding {
    let is_given = has.contains(operation);
    let (found, weight) = if is_given { ("given", Weight::Sound) } else { ("missing", Weight::Wrong) };
    let fix = format!(
        "kafka-acls.sh --bootstrap-server … --add --allow-principal User:{user} --operation {operation} --topic {}",
        topic.name
    );
    Finding::judged(topic.name, format!("right {operation}"), (found, "given"), weight, fix)
}

fn named(operation: rd_kafka_AclOperation_t) -> Option<&'static str> {
    use rd_kafka_AclOperation_t::*;
    match operation {
        RD_KAFKA_ACL_OPERATION_READ => Some("Read"),
        RD_KAFKA_ACL_OPERATION_WRITE => Some("Write"),
        RD_KAFKA_ACL_OPERATION_CREATE => Some("Create"),
        RD_KAFKA_ACL_OPERATION_DESCRIBE => Some("Describe"),
        RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some("DescribeConfigs"),
        _ => None,
    }
}

/// Something of the library's that ours is to free.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library's constructor that belongs to this destructor, and is freed here alone.
        unsafe { (self.1)(self.0) }
    }
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, LogError> {
        if pointer.is_null() { Err(LogError::Closed) } else { Ok(Self(pointer, destroy)) }
    }
}

/// What may be done with each topic. A topic that this user must not see, and one that does not exist, have nothing.
fn allowed<C: ClientContext>(client: &Client<C>, topics: &[Topic]) -> Result<BTreeMap<String, Operations>, LogError> {
    let timeout_ms = i32::try_from(REQUEST_TIMEOUT_MS).unwrap_or(i32::MAX);
    let names: Result<Vec<_>, _> = topics.iter().map(|topic| CString::new(topic.name)).collect();
    let names = names.map_err(|error| LogError::Contract(error.to_string()))?;
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let kafka = client.native_ptr();
    let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `kafka` lives as long as `client`; the names outlive the call that copies them; everything that is made is freed
    // once, in the reverse order, by `Owned`; what an event holds is copied before the event is freed.
    unsafe {
        let options = Owned::new(rd_kafka_AdminOptions_new(kafka, kind), rd_kafka_AdminOptions_destroy)?;
        // A timeout that is not taken leaves the library's own.
        let _ = rd_kafka_AdminOptions_set_request_timeout(options.0, timeout_ms, ptr::null_mut(), 0);
        let refused = rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1);
        if !refused.is_null() {
            rd_kafka_error_destroy(refused);
            return Err(LogError::Contract("the client library does not tell rights".to_owned()));
        }
        let asked = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let asked = Owned::new(asked, rd_kafka_TopicCollection_destroy)?;
        let queue = Owned::new(rd_kafka_queue_new(kafka), rd_kafka_queue_destroy)?;
        rd_kafka_DescribeTopics(kafka, asked.0, options.0, queue.0);
        let event = rd_kafka_queue_poll(queue.0, 2 * timeout_ms);
        let late = |_| LogError::Unavailable("brokers do not say what this user may do".to_owned());
        let event = Owned::new(event, rd_kafka_event_destroy).map_err(late)?;
        if rd_kafka_event_error(event.0) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            let why = CStr::from_ptr(rd_kafka_event_error_string(event.0));
            return Err(LogError::Unavailable(why.to_string_lossy().into_owned()));
        }
        let (result, mut count) = (rd_kafka_event_DescribeTopics_result(event.0), 0);
        if result.is_null() {
            return Err(LogError::Unavailable("brokers answered something else".to_owned()));
        }
        let described = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut allowed = BTreeMap::new();
        for index in 0..count {
            let topic = *described.add(index);
            let name = CStr::from_ptr(rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
            let mut count = 0;
            let operations = rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            let operations = (0..count).filter_map(|index| named(*operations.add(index)));
            allowed.insert(name, operations.collect());
        }
        Ok(allowed)
    }
}
