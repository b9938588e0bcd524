//! Security events: what was refused, and what changed about who may do what, as records of `kith.security.v1`.
//!
//! To note one never waits and never fails, whatever the log does: a call that is refused is refused as fast without it. So an
//! event may be lost: see [`Security::note`].

mod happened;
mod ledger;
mod writer;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_fold::Publisher;
use kith_log::EventLog;
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_runtime::{Runtime, UnixMillis};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use happened::Happened;
pub use writer::SECURITY_KEY;

use crate::Failure;
use crate::keys::secret::{Macs, Secret};
use crate::metrics::Metrics;
use ledger::{Entry, Guesses, Ledger};

/// Of a network's digest, in hexadecimal digits: enough to tell networks apart, too few to be a key.
const DIGEST_DIGITS: usize = 16;

/// Where a process notes security events; clones share everything. The default notes nothing.
#[derive(Clone, Default)]
pub struct Security(Option<Arc<Shared>>);

struct Shared {
    runtime: Runtime,
    macs: Macs,
    ledger: Mutex<Ledger>,
    /// There is something to write, or the end has come.
    changed: Notify,
    noted: Family<Labels, Counter>,
    dropped: Counter,
    writing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl Security {
    /// Registers `kith_security_events_total{kind}` and `kith_security_events_dropped_total`; once per process. Networks are named
    /// by a digest with `secret`, which all processes share. Nothing is written before [`Self::write_to`].
    pub fn open(runtime: &Runtime, secret: &Secret, metrics: &Metrics) -> Result<Self, Failure> {
        let (noted, dropped) = (Family::default(), Counter::default());
        let mut registry = metrics.registry();
        let help = "Security events: refused logins, tokens, rights, limits, and changed passwords and keys";
        registry.register("kith_security_events", help, noted.clone());
        let help = "Security events that are in no record: too many waited, or the log did not take them";
        registry.register("kith_security_events_dropped", help, dropped.clone());
        let (runtime, macs) = (runtime.clone(), Macs::new(&domain(secret))?);
        let (ledger, changed, writing) = Default::default();
        Ok(Self(Some(Arc::new(Shared { runtime, macs, ledger, changed, noted, dropped, writing }))))
    }

    /// Notes what happened. Never waits and never fails. The first event of a kind about a subject in a minute is written at once,
    /// all others of that minute as one record at its end. Lost, and counted as dropped: what comes while
    /// [`crate::limits::SECURITY_RECORDS_WAITING`] records wait for a log that does not take them, and what the log does not take
    /// in [`writer::TRIES`] tries. Lost without a count: what is not written yet when the process is killed, so at most those
    /// records and the sums of one minute.
    pub fn note(&self, happened: Happened) {
        self.with(happened, Ledger::note);
    }

    /// Tells all processes of identity of wrong passwords in a row, by a record of its own at once; past
    /// [`crate::limits::SECURITY_TOLD_PER_MINUTE`] it is only noted. `pair`: a digest of who guesses at which password.
    pub fn tell(&self, happened: Happened, pair: String, in_a_row: u32) {
        self.with(happened, |ledger, now_ms, entry| ledger.tell(now_ms, entry, Guesses { pair, in_a_row }));
    }

    /// Whether anything is noted.
    pub fn is_noting(&self) -> bool {
        self.0.is_some()
    }

    fn with(&self, happened: Happened, note: impl FnOnce(&mut Ledger, UnixMillis, Entry)) {
        let Some(shared) = &self.0 else { return };
        shared.noted.get_or_create(&Labels { kind: name_of(happened.kind) }).inc();
        let entry = happened.entry(|address| shared.digest(address));
        let now_ms = shared.runtime.now_ms();
        let (is_waiting, dropped) = {
            let mut ledger = shared.ledger();
            note(&mut ledger, now_ms, entry);
            (ledger.has_waiting(), ledger.take_dropped())
        };
        shared.dropped.inc_by(dropped);
        if is_waiting {
            shared.changed.notify_one();
        }
    }

    /// From now on what is noted, and was, is appended to the log, as of the process `process` (`ce_source`: `/kith/PROCESS`). Once.
    pub fn write_to(&self, log: &Arc<dyn EventLog>, process: &str) {
        let Some(shared) = &self.0 else { return };
        let publisher = Publisher::new(Arc::clone(log), shared.runtime.clone(), process);
        let writing = shared.runtime.spawn(writer::write(Arc::clone(shared), publisher));
        *locked(&shared.writing) = Some(writing);
    }

    /// Writes what is noted, the sums of the running minute too, and ends: for the end of the process. What is not written within
    /// the time is lost.
    pub async fn close(&self, within: Duration) {
        let Some(shared) = &self.0 else { return };
        let Some(writing) = locked(&shared.writing).take() else { return };
        shared.ledger().close(shared.runtime.now_ms());
        shared.changed.notify_one();
        let ending = writing.abort_handle();
        if tokio::time::timeout(within, writing).await.is_err() {
            ending.abort();
            tracing::warn!("security events of the last moments are not written");
        }
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    fn drop_one(&self, event: &SecurityEvent) {
        self.dropped.inc_by(event.count);
    }

    fn digest(&self, address: IpAddr) -> String {
        let mac = self.macs.make(|mac| {
            use hmac::Mac;
            match address {
                IpAddr::V4(address) => mac.update(&address.octets()),
                IpAddr::V6(address) => mac.update(&address.octets()),
            }
        });
        mac.iter().take(DIGEST_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A key of its own: what is made with the secret elsewhere says nothing about a network.
fn domain(secret: &Secret) -> Secret {
    secret.derived("kith.security.v1")
}

fn name_of(kind: SecurityKind) -> &'static str {
    kind.as_str_name().trim_start_matches("SECURITY_KIND_")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
