//! Readiness of the process: named checks, updated by its parts, and their view for probes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// The name under which probes ask `grpc.health.v1` for readiness; `""` is liveness, which depends on nothing.
pub const READINESS: &str = "readiness";
const DRAINING: &str = "drain";

/// All checks of the process; clones share them. Ready when every one of them is.
#[derive(Clone, Default)]
pub struct Readiness {
    shared: Arc<ReadinessShared>,
}

#[derive(Default)]
struct ReadinessShared {
    /// By name.
    checks: Mutex<BTreeMap<String, Standing>>,
    changed: watch::Sender<()>,
}

/// The state of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Ready,
    /// Ready, with a note for operators.
    ReadyBut(String),
    /// What is missing.
    NotReady(String),
}

/// One check, for the part that updates it: a log's connection, a fold's lag.
#[derive(Clone)]
pub struct ReadinessCheck {
    name: String,
    readiness: Readiness,
}

/// The state of all checks, as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    pub ready: bool,
    pub checks: Vec<CheckReport>,
}

/// The state of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub name: String,
    pub ready: bool,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The note for operators of one that is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Readiness {
    /// Adds a check; it is not ready until set ready. Two of one name are one check.
    pub fn check(&self, name: &str) -> ReadinessCheck {
        let check = ReadinessCheck { name: name.to_owned(), readiness: self.clone() };
        check.not_ready("starting");
        check
    }

    pub fn is_ready(&self) -> bool {
        self.checks().values().all(Standing::is_ready)
    }

    pub fn report(&self) -> ReadinessReport {
        let checks = self.checks();
        let checks = checks.iter();
        let checks: Vec<_> = checks.map(|(name, standing)| standing.report(name)).collect();
        ReadinessReport { ready: checks.iter().all(|check| check.ready), checks }
    }

    /// Not ready from now on, without a fault: the process is ending.
    pub(crate) fn drain(&self) {
        self.check(DRAINING).not_ready("the process is ending");
    }

    fn checks(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Standing>> {
        self.shared.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessCheck {
    pub fn ready(&self) {
        self.set(Standing::Ready);
    }

    /// Ready, with a note for operators. Nothing personal.
    pub fn ready_but(&self, note: impl Into<String>) {
        self.set(Standing::ReadyBut(note.into()));
    }

    /// `reason` is for operators: what is missing. Nothing personal.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Standing::NotReady(reason.into()));
    }

    fn set(&self, standing: Standing) {
        let before = self.readiness.checks().insert(self.name.clone(), standing.clone());
        if before.as_ref() == Some(&standing) {
            return;
        }
        let was_ready = before.as_ref().is_some_and(Standing::is_ready);
        match &standing {
            Standing::NotReady(reason) if was_ready => tracing::warn!(check = self.name, reason, "no longer ready"),
            Standing::NotReady(_) => {}
            Standing::ReadyBut(note) => tracing::warn!(check = self.name, note, "ready, but"),
            Standing::Ready => tracing::info!(check = self.name, "ready"),
        }
        self.readiness.shared.changed.send_replace(());
    }
}

impl Standing {
    fn is_ready(&self) -> bool {
        !matches!(self, Self::NotReady(_))
    }

    fn report(&self, name: &str) -> CheckReport {
        let (reason, note) = match self.clone() {
            Self::Ready => (None, None),
            Self::ReadyBut(note) => (None, Some(note)),
            Self::NotReady(reason) => (Some(reason), None),
        };
        CheckReport { name: name.to_owned(), ready: self.is_ready(), reason, note }
    }
}

/// `grpc.health.v1`, on the callers' port and on the operators'.
pub(crate) struct Health {
    /// Separate, because the end of the callers' watches must not end the operators' answers.
    callers: HealthReporter,
    admin: HealthReporter,
    services: Vec<&'static str>,
}

impl Health {
    /// Of a process that is alive and not ready.
    pub(crate) async fn starting() -> Self {
        let own = Self { callers: HealthReporter::new(), admin: HealthReporter::new(), services: Vec::new() };
        own.show(false).await;
        own
    }

    /// These services are shown too.
    pub(crate) fn add(&mut self, services: &[&'static str]) {
        self.services.extend_from_slice(services);
    }

    pub(crate) fn for_callers(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.callers.clone()))
    }

    pub(crate) fn for_admin(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.admin.clone()))
    }

    /// Publishes every change of `readiness`, while it is polled.
    pub(crate) async fn follow(&self, readiness: &Readiness) {
        let mut changed = readiness.shared.changed.subscribe();
        loop {
            self.show(readiness.is_ready()).await;
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reports NOT_SERVING for everything, and ends the callers' watches, which would otherwise hold their connections
    /// open.
    pub(crate) async fn end(&mut self) {
        self.show(false).await;
        self.admin.set_service_status("", ServingStatus::NotServing).await;
        self.callers.set_service_status("", ServingStatus::NotServing).await;
        for name in self.names() {
            self.callers.clear_service_status(name).await;
        }
        self.callers.clear_service_status("").await;
    }

    async fn show(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in self.names() {
            self.callers.set_service_status(name, status).await;
            self.admin.set_service_status(name, status).await;
        }
    }

    fn names(&self) -> Vec<&'static str> {
        std::iter::once(READINESS).chain(self.services.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_every_check_is() {
        let readiness = Readiness::default();
        let (log, tables) = (readiness.check("log"), readiness.check("tables"));
        log.ready();
        assert!(!readiness.is_ready());
        tables.ready();
        assert!(readiness.is_ready());
        log.not_ready("no broker answers");
        let report = serde_json::to_string(&readiness.report()).unwrap();
        assert_eq!(
            report,
            r#"{"ready":false,"checks":[{"name":"log","ready":false,"reason":"no broker answers"},{"name":"tables","ready":true}]}"#
        );
        log.ready_but("one broker of three is away");
        let report = serde_json::to_string(&readiness.report()).unwrap();
        assert_eq!(
            report,
            r#"{"ready":true,"checks":[{"name":"log","ready":true,"note":"one broker of three is away"},{"name":"tables","ready":true}]}"#
        );
        readiness.drain();
        assert!(!readiness.is_ready());
    }
}
