//! One thing that happened, and by what it is counted.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use kith_log::RecordId;
use kith_proto::security::v1::SecurityKind;

use super::ledger::{Entry, NOBODY};
use crate::source::Source;

/// Something that concerns security. It holds nothing that may not be in the log in clear but the network, which gets there as a
/// digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is not noted yet"]
pub struct Happened {
    pub(super) kind: SecurityKind,
    reason: Cow<'static, str>,
    account_id: Option<RecordId>,
    principal: Option<Arc<str>>,
    network: Option<IpAddr>,
}

impl Happened {
    /// `reason`: a fixed word, nothing that a caller sent.
    pub fn new(kind: SecurityKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, reason: reason.into(), account_id: None, principal: None, network: None }
    }

    /// About that account.
    pub fn about(self, account_id: RecordId) -> Self {
        Self { account_id: Some(account_id), ..self }
    }

    /// By that calling service or operator.
    pub fn by(self, principal: &Arc<str>) -> Self {
        Self { principal: Some(Arc::clone(principal)), ..self }
    }

    /// By whoever calls. An account that it is about already stays.
    pub fn from(self, source: &Source) -> Self {
        match source {
            Source::Service(name) => self.by(name),
            Source::Account { service, id } => {
                let account_id = self.account_id.or(Some(*id));
                Self { account_id, principal: service.clone().or(self.principal), ..self }
            }
            Source::Network { service, address } => {
                Self { network: Some(*address), principal: service.clone().or(self.principal), ..self }
            }
        }
    }

    /// With the digest in place of the network.
    pub(super) fn entry(self, digest: impl FnOnce(IpAddr) -> String) -> Entry {
        let account_id = self.account_id.map(|id| id.to_string()).unwrap_or_default();
        let principal = self.principal.as_deref().unwrap_or_default().to_owned();
        let source = self.network.map(digest).unwrap_or_default();
        let named = [&account_id, &principal, &source].into_iter().find(|name| !name.is_empty());
        let subject = named.map_or_else(|| NOBODY.to_owned(), String::clone);
        Entry { kind: self.kind, reason: self.reason.into_owned(), subject, account_id, principal, source }
    }
}
