//! How old issuers' keys are, and how many fetches failed. An issuer's name is in the callers' file, and nobody's personal data.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;

use super::FetchedKeys;
use crate::metrics::Metrics;

/// `kith_issuer_key_fetches_failed_total{issuer}` and `kith_issuer_keys_age_seconds{issuer}`; clones share both.
#[derive(Debug, Clone, Default)]
pub struct KeyFetches {
    failed: Family<IssuerLabel, Counter>,
    ages: Ages,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabel {
    issuer: String,
}

/// Ages are looked up when they are asked for, so that one also grows if nothing fetches any more.
#[derive(Clone, Default)]
struct Ages(Arc<Mutex<Vec<Weak<FetchedKeys>>>>);

impl KeyFetches {
    /// Registers both; once per process.
    pub fn register(metrics: &Metrics) -> Self {
        let fetches = Self::default();
        let mut registry = metrics.registry();
        let help = "Fetches of trusted issuers' keys that failed";
        registry.register("kith_issuer_key_fetches_failed", help, fetches.failed.clone());
        registry.register_collector(Box::new(fetches.ages.clone()));
        drop(registry);
        fetches
    }

    pub(super) fn failed(&self, issuer: &str) {
        self.failed.get_or_create(&IssuerLabel { issuer: issuer.to_owned() }).inc();
    }

    pub(super) fn watch(&self, keys: &Arc<FetchedKeys>) {
        let mut watched = self.ages.watched();
        watched.retain(|keys| keys.strong_count() > 0);
        watched.push(Arc::downgrade(keys));
    }
}

impl Ages {
    fn watched(&self) -> MutexGuard<'_, Vec<Weak<FetchedKeys>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ages").field(&self.watched().len()).finish()
    }
}

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let watched: Vec<Arc<FetchedKeys>> = self.watched().iter().filter_map(Weak::upgrade).collect();
        // Where an issuer has got another URL, the keys of the one before may end a moment later: one series each.
        let ages: BTreeMap<&str, i64> = watched
            .iter()
            .map(|keys| (keys.issuer(), i64::try_from(keys.age().as_secs()).unwrap_or(i64::MAX)))
            .collect();
        if ages.is_empty() {
            return Ok(());
        }
        let help = "Time since a trusted issuer's keys were fetched; before the first time, since they are wanted";
        let mut family = encoder.encode_descriptor("kith_issuer_keys_age_seconds", help, None, MetricType::Gauge)?;
        for (issuer, age) in ages {
            ConstGauge::new(age).encode(family.encode_family(&IssuerLabel { issuer: issuer.to_owned() })?)?;
        }
        Ok(())
    }
}
