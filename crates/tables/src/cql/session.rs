//! One connection to the server, made when it is first needed and kept by the driver from then on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError, TranslationError};
use scylla::policies::address_translator::{AddressTranslator, UntranslatedPeer};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::CqlSettings;
use crate::StoreError;

/// The maximum wait of a caller for a server that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time for one address, so that several fit into [`CONNECT_TIMEOUT`].
const ADDRESS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// After a failure the next attempt waits this long; until then callers get the same error.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
/// A peer that is silent for the sum of both counts as lost.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const SCHEMA_AGREEMENT_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Server {
    settings: CqlSettings,
    connections: Arc<Connections>,
    connected: OnceLock<Arc<Connected>>,
    /// When the last attempt failed and how; locked during an attempt.
    failed: Mutex<Option<(Instant, StoreError)>>,
}

pub(super) struct Connected {
    pub session: Session,
    pub datacenter: String,
}

impl Server {
    pub fn new(settings: CqlSettings) -> Self {
        let (connections, connected) = (Arc::default(), OnceLock::new());
        Self { settings, connections, connected, failed: Mutex::default() }
    }

    pub fn settings(&self) -> &CqlSettings {
        &self.settings
    }

    /// The session; the first caller makes it, one at a time. `Unavailable` within [`CONNECT_TIMEOUT`].
    pub async fn connected(&self) -> Result<Arc<Connected>, StoreError> {
        if let Some(connected) = self.connected.get() {
            return Ok(Arc::clone(connected));
        }
        let mut failed = self.failed.lock().await;
        if let Some(connected) = self.connected.get() {
            return Ok(Arc::clone(connected));
        }
        if let Some((at, error)) = &*failed
            && at.elapsed() < ATTEMPT_PAUSE
        {
            return Err(error.clone());
        }
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.settings, &self.connections)).await;
        match attempt.unwrap_or_else(|_| Err(StoreError::Unavailable("no connection in time".to_owned()))) {
            Ok(connected) => Ok(Arc::clone(self.connected.get_or_init(|| Arc::new(connected)))),
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Connections to known nodes opened so far, or tried. It is incremented before the new connection takes its first
    /// request: a reader that finds the old number after its read has read from a server that was not lost.
    pub fn connections(&self) -> u64 {
        self.connections.opened.load(Ordering::Acquire)
    }
}

async fn connect(settings: &CqlSettings, connections: &Arc<Connections>) -> Result<Connected, StoreError> {
    let mut profile = profile(settings, None).into_handle();
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.contact_points)
        .default_execution_profile_handle(profile.clone())
        .address_translator(Arc::clone(connections) as Arc<dyn AddressTranslator>)
        .connection_timeout(ADDRESS_TIMEOUT)
        .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .schema_agreement_timeout(SCHEMA_AGREEMENT_TIMEOUT)
        .disallow_shard_aware_port(settings.disallow_shard_aware_port)
        // Only what routing needs; we compare the tables' columns ourselves.
        .fetch_full_schema_metadata(false);
    if let Some(tls) = &settings.tls {
        builder = builder.tls_context(Some(Arc::clone(tls)));
    }
    if let Some(login) = &settings.login {
        builder = builder.authenticator_provider(Arc::new(login.clone()));
    }
    let session = builder.build().await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
    let datacenter = local_datacenter(settings, &session)?;
    profile.map_to_another_profile(self::profile(settings, Some(&datacenter)));
    Ok(Connected { session, datacenter })
}

/// The driver's retry policy: it continues with the next node and ends with the request's timeout.
fn profile(settings: &CqlSettings, datacenter: Option<&str>) -> ExecutionProfile {
    let mut balancing = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = datacenter {
        balancing = balancing.prefer_datacenter(datacenter.to_owned());
    }
    ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .request_timeout(Some(settings.request_timeout))
        .load_balancing_policy(balancing.build())
        .build()
}

/// The configured one, or the only one there is: folds and reads must agree on it.
fn local_datacenter(settings: &CqlSettings, session: &Session) -> Result<String, StoreError> {
    let state = session.get_cluster_state();
    let mut all: Vec<_> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    all.sort();
    all.dedup();
    match &settings.local_datacenter {
        Some(configured) if all.contains(configured) => Ok(configured.clone()),
        Some(configured) => Err(StoreError::Contract(format!("no datacentre {configured} among {all:?}"))),
        None if settings.production => Err(StoreError::Contract("the local datacentre is not configured".to_owned())),
        None => match &all[..] {
            [only] => Ok(only.clone()),
            _ => Err(StoreError::Contract(format!("configure one of the datacentres {all:?} as the local one"))),
        },
    }
}

/// Changes no address: the driver calls it before it opens a connection to a known node, and so we learn of that. The
/// driver gives no other sign of a connection that was lost and came back between two requests.
#[derive(Default)]
struct Connections {
    opened: AtomicU64,
}

#[async_trait]
impl AddressTranslator for Connections {
    async fn translate_address(&self, peer: &UntranslatedPeer) -> Result<SocketAddr, TranslationError> {
        self.opened.fetch_add(1, Ordering::AcqRel);
        Ok(peer.untranslated_address())
    }
}

/// A permanent refusal by the server is `Contract`; everything else may be transient.
pub(super) fn execution_error(error: ExecutionError) -> StoreError {
    match &error {
        ExecutionError::BadQuery(_) => StoreError::Contract(error.to_string()),
        ExecutionError::PrepareError(prepare) => prepare_error(prepare),
        ExecutionError::LastAttemptError(attempt) => attempt_error(attempt),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

pub(super) fn prepare_error(error: &PrepareError) -> StoreError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => attempt_error(first_attempt),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn attempt_error(error: &RequestAttemptError) -> StoreError {
    match error {
        RequestAttemptError::DbError(
            DbError::Invalid
            | DbError::SyntaxError
            | DbError::ConfigError
            | DbError::Unauthorized
            | DbError::AlreadyExists { .. },
            _,
        )
        | RequestAttemptError::SerializationError(_) => StoreError::Contract(error.to_string()),
        RequestAttemptError::CqlResultParseError(_) => StoreError::Damaged(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
