//! This process's security events: from its keys to the log.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use kith_fold::FoldError;
use kith_fold::engine::Ports;
use kith_log::{EventLog, topics};
use kith_runtime::Runtime;
use kith_service::config::Settings;
use kith_service::keys::KeyFolder;
use kith_service::metrics::Metrics;
use kith_service::security::Security;

/// At the end of the process.
pub const WRITE_WITHIN: Duration = Duration::from_secs(2);
const FORGET_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Where events are noted from now on.
pub fn open(settings: &Settings, runtime: &Runtime, metrics: &Metrics) -> anyhow::Result<Security> {
    let key = KeyFolder::at(&settings.keys_dir).page_token_key().context("the page-token key")?;
    Ok(Security::open(runtime, &key, metrics)?)
}

/// Whether their topic is there.
pub async fn check(ports: &Ports) -> Result<(), FoldError> {
    Ok(ports.log.check_topics(&[topics::SECURITY]).await?)
}

/// Writes what is noted, and deletes what is older than it is kept.
pub fn write(settings: &Settings, ports: &Ports, security: &Security) {
    let process = match &settings.services[..] {
        [service] => service.as_str(),
        _ => "suite",
    };
    security.write_to(&ports.log, process);
    if let Some(kept_ms) = settings.security_retention_ms() {
        ports.runtime.spawn(forget(ports.runtime.clone(), Arc::downgrade(&ports.log), kept_ms));
    }
}

/// For embedded logs: brokers forget by themselves.
async fn forget(runtime: Runtime, log: Weak<dyn EventLog>, kept_ms: i64) {
    while let Some(log) = log.upgrade() {
        if let Err(error) = log.forget(topics::SECURITY, runtime.now_ms().saturating_sub(kept_ms)).await {
            tracing::warn!(%error, "old security events are not deleted");
        }
        drop(log);
        runtime.sleep(FORGET_EVERY).await;
    }
}
