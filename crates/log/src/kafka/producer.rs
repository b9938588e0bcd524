//! Appends: one idempotent producer, a bound in front of it, and a new producer after a fatal error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_runtime::Runtime;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header as KafkaHeader, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Statistics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::credentials::Heard;
use super::settings::{APPEND_TIMEOUT_MS, IN_FLIGHT_APPENDS, IN_FLIGHT_BYTES, KafkaSettings};
use super::voice::Voice;
use crate::{AppendError, LogError, LogPartition, NewRecord, Note, Offset, Position};

/// If even the library's own timeout did not end an append.
const LAST_RESORT: Duration = Duration::from_millis(APPEND_TIMEOUT_MS as u64 + 1_500);

pub(super) type Native = ThreadedProducer<Deliveries>;

pub(super) struct Producer {
    runtime: Runtime,
    settings: KafkaSettings,
    voice: Voice,
    heard: Option<Mutex<Heard>>,
    /// `None` once closed.
    current: Mutex<Option<Arc<Native>>>,
    replacing: tokio::sync::Mutex<()>,
    appends: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// What the library carries for an append and returns with its result.
pub(super) struct InFlight {
    partition: LogPartition,
    note: Note,
    answer: oneshot::Sender<Result<Position, AppendError>>,
    /// Released when the library has released the record, whether or not a caller still waits.
    _permits: [OwnedSemaphorePermit; 2],
}

impl Producer {
    pub fn new(
        settings: KafkaSettings,
        heard: Option<Heard>,
        voice: Voice,
        runtime: Runtime,
    ) -> Result<Self, LogError> {
        let native = make(&settings, &voice)?;
        Ok(Self {
            runtime,
            settings,
            voice,
            heard: heard.map(Mutex::new),
            current: Mutex::new(Some(native)),
            replacing: tokio::sync::Mutex::default(),
            appends: Arc::new(Semaphore::new(IN_FLIGHT_APPENDS)),
            bytes: Arc::new(Semaphore::new(IN_FLIGHT_BYTES)),
        })
    }

    pub async fn append(
        &self,
        partition: LogPartition,
        record: &NewRecord,
        note: Note,
    ) -> Result<Position, AppendError> {
        let len = u32::try_from(record.len_bytes()).map_err(|_| AppendError::Full)?;
        let permits = [
            Arc::clone(&self.appends).try_acquire_owned().map_err(|_| AppendError::Full)?,
            Arc::clone(&self.bytes).try_acquire_many_owned(len).map_err(|_| AppendError::Full)?,
        ];
        let native = self.current()?;
        let (answer, answered) = oneshot::channel();
        let in_flight = Box::new(InFlight { partition, note, answer, _permits: permits });
        if let Err(error) = send(&native, partition, record, in_flight) {
            self.replace_if_broken(native).await;
            return Err(error);
        }
        let fate = tokio::select! {
            fate = answered => fate.unwrap_or_else(|_| Err(AppendError::Unknown("the producer ended".to_owned()))),
            () = self.runtime.sleep(LAST_RESORT) => Err(AppendError::Unknown("no answer in time".to_owned())),
        };
        if fate.is_err() {
            self.replace_if_broken(native).await;
        }
        fate
    }

    /// See [`Heard::renew`].
    pub fn renew_password(&self) {
        if let (Some(heard), Ok(native)) = (&self.heard, self.current()) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).renew(native.client());
        }
    }

    /// Accepts no more, and waits until all accepted are answered or `within` has passed.
    pub async fn close(&self, within: Duration) {
        let Some(native) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        tokio::select! {
            _ = self.appends.acquire_many(IN_FLIGHT_APPENDS as u32) => {}
            () = self.runtime.sleep(within) => tracing::warn!("the log closes before every append was answered"),
        }
        // Dropping a producer joins its thread.
        self.runtime.blocking(move || drop(native)).await;
    }

    pub(super) fn current(&self) -> Result<Arc<Native>, AppendError> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| AppendError::Refused("the log is closed".to_owned()))
    }

    /// After a fatal error every send fails for ever: a new producer takes over. When the old one is dropped, its
    /// pending appends are answered as unknown. All its callers come here at once; one of them makes the new one.
    async fn replace_if_broken(&self, native: Arc<Native>) {
        let Some((code, why)) = native.client().fatal_error() else { return };
        let made = {
            let _one_at_a_time = self.replacing.lock().await;
            if self.is_current(&native) { self.replace().await } else { false }
        };
        if made {
            tracing::error!(?code, why, "the producer gave up: a new one takes over");
        }
        // Dropping the last reference to a producer joins its thread.
        self.runtime.blocking(move || drop(native)).await;
    }

    fn is_current(&self, native: &Arc<Native>) -> bool {
        self.current().is_ok_and(|current| Arc::ptr_eq(&current, native))
    }

    /// Whether a new one took over: not if the log was closed meanwhile.
    async fn replace(&self) -> bool {
        let (settings, voice) = (self.settings.clone(), self.voice.clone());
        let Some(Ok(new)) = self.runtime.blocking(move || make(&settings, &voice)).await else { return false };
        let unused = match &mut *self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(old) => Ok(std::mem::replace(old, new)),
            None => Err(new),
        };
        let replaced = unused.is_ok();
        self.runtime.blocking(move || drop(unused)).await;
        replaced
    }
}

fn make(settings: &KafkaSettings, voice: &Voice) -> Result<Arc<Native>, LogError> {
    let made = settings.producer()?.create_with_context(Deliveries { voice: voice.clone() });
    made.map(Arc::new).map_err(|error| LogError::Contract(error.to_string()))
}

/// Hands the record to the library. After an error here the library holds nothing.
fn send(
    native: &Native,
    partition: LogPartition,
    record: &NewRecord,
    in_flight: Box<InFlight>,
) -> Result<(), AppendError> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for header in &record.headers {
        headers = headers.insert(KafkaHeader { key: &header.name, value: Some(&header.value[..]) });
    }
    let record = BaseRecord::with_opaque_to(partition.topic.name, in_flight)
        .partition(i32::from(partition.index))
        .key(record.key.as_bytes())
        .payload(&record.value[..])
        .headers(headers);
    native.send(record).map_err(|(error, _)| match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => AppendError::Full,
        _ => AppendError::Refused(error.to_string()),
    })
}

pub(super) struct Deliveries {
    voice: Voice,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        self.voice.log(level, kind, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }

    fn stats(&self, _statistics: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, in_flight: Box<InFlight>) {
        let fate = match result {
            // The broker reports a repeated batch that it no longer remembers as written: its position is unknown.
            Ok(message) => match Offset::try_from(message.offset()) {
                Ok(offset) => Ok(Position { partition: in_flight.partition, offset }),
                Err(_) => Err(AppendError::Unknown("written at an unknown offset".to_owned())),
            },
            // Also "timed out" and "purged": the record may have been in flight.
            Err((error, _)) => Err(AppendError::Unknown(error.to_string())),
        };
        let InFlight { note, answer, .. } = *in_flight;
        if let Ok(position) = fate {
            note(position);
        }
        // The outcome is the same if the caller went away.
        let _ = answer.send(fate);
    }
}
