//! Calling services, and what each may do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use kith_fold::State;
use kith_proto::errors::v1::Reason;
use kith_proto::security::v1::SecurityKind;
use kith_relations::origin::{self, Presence};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Deserialize;
use tokio::time::Instant;

use super::Caller;
use crate::Failure;
use crate::metrics::Metrics;
use crate::security::{Happened, Security};

/// Between two log lines about refusals of one principal: all are counted.
const LOG_EVERY_MS: u64 = 1_000;

/// A right of a calling service, as the callers' file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Reads what is public, as nobody in particular.
    Read,
    /// Acts for an account.
    ActAs,
    /// Makes accounts.
    CreateAccounts,
    /// Gives accounts for which it may act another password.
    ResetPasswords,
    Import,
    Export,
    Moderate,
    /// Calls operators' commands.
    Operate,
}

impl Right {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ActAs => "act-as",
            Self::CreateAccounts => "create-accounts",
            Self::ResetPasswords => "reset-passwords",
            Self::Import => "import",
            Self::Export => "export",
            Self::Moderate => "moderate",
            Self::Operate => "operate",
        }
    }
}

/// For whose accounts a principal may act, with the right to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    Any,
    /// Accounts to which an identity of this issuer is linked.
    OfIssuer(Arc<str>),
}

/// A calling service. Its name is no secret and nobody's personal data: it stands in the records of its commands, in metrics and
/// in logs.
pub struct Principal {
    name: Arc<str>,
    /// As which client it has tokens for people issued to it.
    party: String,
    rights: BTreeSet<Right>,
    accounts: Accounts,
    refusals: Refusals,
    /// When a refusal was logged last, milliseconds of [`uptime_ms`].
    logged_ms: AtomicU64,
}

/// Where refused rights are counted, as `kith_rights_refused_total{principal, right}`, and noted. The default does so nowhere.
#[derive(Clone, Default)]
pub struct Refusals {
    counter: Family<RefusalLabels, Counter>,
    security: Security,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    principal: String,
    right: &'static str,
}

impl Refusals {
    /// Registers the counter; once per process.
    pub fn register(metrics: &Metrics, security: &Security) -> Self {
        let refusals = Self { security: security.clone(), ..Self::default() };
        let help = "Calls refused because the calling service lacks a right, or may not act for the account";
        metrics.registry().register("kith_rights_refused", help, refusals.counter.clone());
        refusals
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }
}

impl Principal {
    pub fn new(
        name: &str,
        rights: impl IntoIterator<Item = Right>,
        accounts: Accounts,
        refusals: Refusals,
    ) -> Arc<Self> {
        let rights = rights.into_iter().collect();
        let (party, logged_ms) = (name.to_owned(), AtomicU64::new(0));
        Arc::new(Self { name: name.into(), party, rights, accounts, refusals, logged_ms })
    }

    /// The same under another name of client than its own.
    pub(super) fn of_party(self: Arc<Self>, party: String) -> Arc<Self> {
        let Self { name, rights, accounts, refusals, .. } = &*self;
        let (rights, accounts, refusals) = (rights.clone(), accounts.clone(), refusals.clone());
        Arc::new(Self { name: Arc::clone(name), party, rights, accounts, refusals, logged_ms: AtomicU64::new(0) })
    }

    /// Whether a token for a person was issued to it.
    pub fn is_party(&self, party: Option<&str>) -> bool {
        party == Some(&*self.party)
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    pub fn has_rights(&self) -> bool {
        !self.rights.is_empty()
    }

    /// Fails PERMISSION_DENIED, RIGHT_MISSING without the right.
    pub fn may(&self, right: Right) -> Result<(), Failure> {
        if self.has(right) { Ok(()) } else { Err(self.refused(right, None)) }
    }

    /// Fails PERMISSION_DENIED, RIGHT_MISSING unless the principal may act for the account, as the tables know it. An account that
    /// does not exist is refused as one of another issuer is. FAILED_PRECONDITION, ACCOUNT_DEACTIVATED while it is away.
    pub async fn may_act_for(&self, state: &State, account: Caller) -> Result<(), Failure> {
        match self.presence_for(state, account).await? {
            Presence::Away => Err(Failure::account_deactivated()),
            Presence::Here | Presence::None => Ok(()),
        }
    }

    /// As [`Self::may_act_for`], also while the account is away: for what deactivates it and brings it back.
    pub async fn may_act_for_absent(&self, state: &State, account: Caller) -> Result<(), Failure> {
        self.presence_for(state, account).await.map(|_| ())
    }

    async fn presence_for(&self, state: &State, account: Caller) -> Result<Presence, Failure> {
        self.may(Right::ActAs)?;
        let account_id = account.account_id.to_string();
        let presence = match &self.accounts {
            Accounts::Any => origin::presence(state, &account_id).await?,
            Accounts::OfIssuer(issuer) => origin::presence_of_issuer(state, &account_id, issuer).await?,
        };
        if presence == Presence::None { Err(self.refused(Right::ActAs, Some(account))) } else { Ok(presence) }
    }

    fn refused(&self, right: Right, account: Option<Caller>) -> Failure {
        let labels = RefusalLabels { principal: self.name.to_string(), right: right.as_str() };
        self.refusals.counter.get_or_create(&labels).inc();
        let refused = Happened::new(SecurityKind::RightRefused, right.as_str()).by(&self.name);
        self.refusals.security.note(match account {
            Some(account) => refused.about(account.account_id),
            None => refused,
        });
        let (now_ms, last_ms) = (uptime_ms(), self.logged_ms.load(Ordering::Relaxed));
        // If two threads are here, at most both log.
        if last_ms == 0 || now_ms >= last_ms + LOG_EVERY_MS {
            self.logged_ms.store(now_ms, Ordering::Relaxed);
            tracing::warn!(principal = &*self.name, right = right.as_str(), "a right was refused");
        }
        let message = match right {
            Right::ActAs => "the calling service may not act for this account",
            _ => "the calling service lacks the right to this",
        };
        Failure::new(Reason::RightMissing, message).with("right", right.as_str())
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal").field("name", &self.name).field("rights", &self.rights).finish_non_exhaustive()
    }
}

/// Since the first call, at least 1.
fn uptime_ms() -> u64 {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Fits for half a billion years.
    STARTED.elapsed().as_millis() as u64 + 1
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_right_that_is_not_given_is_refused_and_counted() {
        let metrics = Metrics::default();
        let web =
            Principal::new("web", [Right::Read], Accounts::Any, Refusals::register(&metrics, &Security::default()));
        assert_eq!(web.may(Right::Read), Ok(()));
        for _ in 0..2 {
            let failure = web.may(Right::CreateAccounts).unwrap_err();
            assert_eq!((failure.code(), failure.reason_name()), (Code::PermissionDenied, "RIGHT_MISSING"));
        }
        let text = metrics.encode().unwrap();
        let counted = r#"kith_rights_refused_total{principal="web",right="create-accounts"} 2"#;
        assert!(text.contains(counted), "{text}");
        assert!(!text.contains(r#"right="read""#));
    }
}
