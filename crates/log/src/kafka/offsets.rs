//! The first and next offsets of partitions, read from their brokers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use kith_runtime::Runtime;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::credentials::Heard;
use super::question::Question;
use super::settings::REQUEST_TIMEOUT_MS;
use super::voice::Voice;
use crate::{LogError, LogPartition, Offset, PartitionIndex, Topic};

const TIMEOUT: Duration = Duration::from_millis(REQUEST_TIMEOUT_MS as u64);
/// How long the thread that serves the client's log lines outlives it.
const POLL: Duration = Duration::from_millis(200);

/// A separate client: in the connection of a fetching client, a request waits behind the fetch.
pub(super) struct Watermarks {
    runtime: Runtime,
    client: Arc<BaseConsumer<Asking>>,
    questions: Mutex<BTreeMap<&'static str, Arc<Question<Heads>>>>,
}

type Heads = Result<Vec<Offset>, LogError>;

/// The client's messages go only to our log file.
struct Asking(Voice);

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        self.0.log(level, kind, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ConsumerContext for Asking {}

impl Watermarks {
    pub fn new(config: &ClientConfig, heard: Option<Heard>, voice: Voice, runtime: Runtime) -> Result<Self, LogError> {
        let made = config.create_with_context(Asking(voice));
        let client: Arc<BaseConsumer<Asking>> =
            Arc::new(made.map_err(|error: KafkaError| LogError::Contract(error.to_string()))?);
        let served = Arc::downgrade(&client);
        let thread = std::thread::Builder::new().name("kith-log-offsets".to_owned());
        thread.spawn(move || serve(&served, heard)).map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(Self { runtime, client, questions: Mutex::default() })
    }

    /// The next offset of each partition: one request per broker, shared by concurrent callers.
    pub async fn heads(&self, topic: Topic, count: PartitionIndex) -> Heads {
        let question = {
            let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(questions.entry(topic.name).or_default())
        };
        question.ask(|| ask_heads(self.runtime.clone(), Arc::clone(&self.client), topic, count)).await
    }

    /// Reports the offsets that the log has, for a reader whose offset was refused. A broker that has just come back
    /// may refuse an offset that it has: that is transient.
    pub async fn out_of_range(&self, partition: LogPartition, asked: Offset) -> LogError {
        let client = Arc::clone(&self.client);
        let (topic, index) = (partition.topic.name, i32::from(partition.index));
        let range = self.runtime.blocking(move || client.fetch_watermarks(topic, index, TIMEOUT)).await;
        match range {
            Some(Ok((first, next))) => {
                let [first, next] = [first, next].map(|offset| Offset::try_from(offset).unwrap_or(0));
                if (first..=next).contains(&asked) {
                    return LogError::Unavailable(format!("{partition} was not read from {asked}, which it holds"));
                }
                LogError::OutOfRange { partition, asked, first, next }
            }
            Some(Err(error)) => unavailable(error),
            None => LogError::Closed,
        }
    }
}

async fn ask_heads(runtime: Runtime, client: Arc<BaseConsumer<Asking>>, topic: Topic, count: PartitionIndex) -> Heads {
    let asked = runtime.blocking(move || {
        let mut list = TopicPartitionList::with_capacity(usize::from(count));
        list.add_partition_range(topic.name, 0, i32::from(count) - 1);
        list.set_all_offsets(KafkaOffset::End)?;
        client.offsets_for_times(list, TIMEOUT)
    });
    let list = asked.await.ok_or(LogError::Closed)?.map_err(unavailable)?;
    (0..count).map(|index| head(&list, LogPartition { topic, index })).collect()
}

fn head(list: &TopicPartitionList, partition: LogPartition) -> Result<Offset, LogError> {
    let element = list.find_partition(partition.topic.name, i32::from(partition.index));
    let element = element.ok_or_else(|| LogError::Unavailable(format!("nothing is said of {partition}")))?;
    element.error().map_err(|error| LogError::Unavailable(format!("{partition}: {error}")))?;
    match element.offset() {
        KafkaOffset::Offset(offset) if offset >= 0 => Ok(offset as Offset),
        // A partition that is still empty has no offset for a time.
        KafkaOffset::End => Ok(0),
        other => Err(LogError::Unavailable(format!("{partition}: {other:?}"))),
    }
}

fn unavailable(error: KafkaError) -> LogError {
    LogError::Unavailable(error.to_string())
}

/// Takes the client's log lines from its queue until it is dropped: otherwise they would pile up.
fn serve(client: &Weak<BaseConsumer<Asking>>, mut heard: Option<Heard>) {
    while let Some(client) = client.upgrade() {
        let _ = client.poll(POLL);
        if let Some(heard) = &mut heard {
            heard.renew(client.client());
        }
    }
}
