//! The rates of all calls: by account, by calling service, by address.

use std::time::Duration;

use kith_log::RecordId;
use kith_proto::security::v1::SecurityKind;
use kith_runtime::Runtime;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Buckets, Rate};
use crate::Failure;
use crate::metrics::Metrics;
use crate::security::{Happened, Security};
use crate::source::Source;

/// By kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub account: Rate,
    pub service: Rate,
    pub address: Rate,
}

impl Default for Rates {
    /// None.
    fn default() -> Self {
        Self { account: Rate::UNLIMITED, service: Rate::UNLIMITED, address: Rate::UNLIMITED }
    }
}

/// Where it is counted (`kith_rate_limited_total{kind}`, without names) and noted who was refused for a rate. Clones share all; the
/// default does so nowhere.
#[derive(Clone, Default)]
pub struct Refused {
    counter: Family<Labels, Counter>,
    security: Security,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl Refused {
    /// Registers the counter; once per process.
    pub fn register(metrics: &Metrics, security: &Security) -> Self {
        let refused = Self::counted_nowhere(security);
        let help = "Calls refused because of the rate of an account, a service, an address, of sign-ups, or of guesses";
        metrics.registry().register("kith_rate_limited", help, refused.counter.clone());
        refused
    }

    pub(crate) fn counted_nowhere(security: &Security) -> Self {
        Self { security: security.clone(), ..Self::default() }
    }

    /// Where security events of this process are noted.
    pub fn security(&self) -> &Security {
        &self.security
    }

    /// Counts and notes a refusal of that source, which asked for something about `account`, and says when to come again. `kind`: a
    /// fixed name of the quota.
    pub fn failure(
        &self,
        kind: &'static str,
        (source, account): (&Source, Option<RecordId>),
        wait: Duration,
    ) -> Failure {
        self.counter.get_or_create(&Labels { kind }).inc();
        let met = Happened::new(SecurityKind::LimitMet, kind);
        let met = account.map_or(met.clone(), |account| met.about(account));
        self.security.note(met.from(source));
        Failure::rate_limited(kind, wait)
    }
}

/// The buckets of one process.
pub struct RateLimits {
    accounts: Buckets,
    /// Of accounts that services act for, or say that they do.
    accounts_of_services: Buckets,
    services: Buckets,
    addresses: Buckets,
    refused: Refused,
}

impl RateLimits {
    pub fn new(runtime: &Runtime, rates: Rates, refused: Refused) -> Self {
        let buckets = |rate| Buckets::new(runtime.clone(), rate);
        Self {
            accounts: buckets(rates.account),
            accounts_of_services: buckets(rates.account),
            services: buckets(rates.service),
            addresses: buckets(rates.address),
            refused,
        }
    }

    /// Takes what a call costs from the source, and from the service that it calls through. Fails RESOURCE_EXHAUSTED,
    /// RATE_LIMITED.
    pub fn charge(&self, source: &Source, points: u64) -> Result<(), Failure> {
        // Whoever is below is asked first: its calls do not empty the bucket of a service that refuses nobody else.
        let levels: Vec<Source> = source.levels().collect();
        for (at, level) in levels.iter().enumerate().rev() {
            if let Err(wait) = self.buckets_of(level).take(level, points) {
                levels[at + 1..].iter().for_each(|below| self.buckets_of(below).give_back(below, points));
                return Err(self.refused.failure(level.kind(), (level, None), wait));
            }
        }
        Ok(())
    }

    pub(crate) fn security(&self) -> &Security {
        self.refused.security()
    }

    fn buckets_of(&self, level: &Source) -> &Buckets {
        match level {
            Source::Account { service: None, .. } => &self.accounts,
            Source::Account { service: Some(_), .. } => &self.accounts_of_services,
            Source::Service(_) => &self.services,
            Source::Network { .. } => &self.addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::*;

    const RATES: Rates = Rates {
        account: Rate { points_per_hour: 3_600, burst: 6 },
        service: Rate { points_per_hour: 36_000, burst: 10 },
        address: Rate { points_per_hour: 3_600, burst: 3 },
    };

    fn account(service: Option<&str>, n: u8) -> Source {
        Source::Account { service: service.map(Into::into), id: RecordId([n; 16]) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_through_a_service_takes_of_both() {
        let metrics = Metrics::default();
        let limits =
            RateLimits::new(&Runtime::simulated(1, 0), RATES, Refused::register(&metrics, &Security::default()));
        let quota = |source: &Source| limits.charge(source, 3).map_err(|failure| failure.message().to_owned());
        assert!(quota(&account(None, 1)).is_ok() && quota(&account(None, 1)).is_ok());
        assert!(quota(&account(None, 1)).unwrap_err().contains("account"));
        assert!(quota(&account(Some("web"), 1)).is_ok(), "by itself it has another bucket");
        assert!(quota(&account(Some("web"), 1)).is_ok() && quota(&account(Some("web"), 2)).is_ok());
        assert!(quota(&account(Some("web"), 1)).unwrap_err().contains("account"));
        for _ in 0..3 {
            assert!(quota(&account(Some("web"), 3)).unwrap_err().contains("service"), "it costs the account nothing");
        }
        assert!(quota(&account(Some("app"), 3)).is_ok());
        assert!(quota(&Source::default()).is_ok() && quota(&Source::default()).is_err());
        let text = metrics.encode().unwrap();
        for (kind, times) in [("account", 2), ("service", 3), ("address", 1)] {
            assert!(text.contains(&format!(r#"kith_rate_limited_total{{kind="{kind}"}} {times}"#)), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_says_which_quota_and_when_to_come_again() {
        let limits = RateLimits::new(&Runtime::simulated(1, 0), RATES, Refused::default());
        limits.charge(&account(None, 1), 6).unwrap();
        let status = Status::from(limits.charge(&account(None, 1), 2).unwrap_err());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_error_info().unwrap().reason, "RATE_LIMITED");
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
        let violations = status.get_details_quota_failure().unwrap().violations;
        assert_eq!((violations.len(), &*violations[0].subject), (1, "account"));
    }
}
