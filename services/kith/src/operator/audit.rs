//! `kith audit`: what concerns security, and who decided what.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use kith_proto::ops::v1::audit_service_client::AuditServiceClient;
use kith_proto::ops::v1::{AuditEntry, ReadAuditRequest};
use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_proto::time::{timestamp, unix_ms};
use serde_json::{Value, json};

use super::client::OpsOptions;
use super::{json as document, table};

/// Entries that one command prints.
const LIMIT_MAX: u64 = 100_000;
const PAGE_SIZE: usize = kith_service::limits::PAGE_SIZE_MAX;
/// What the names of kinds begin with in the protos.
const KIND: &str = "SECURITY_KIND_";

#[derive(Debug, Args)]
pub struct AuditOptions {
    /// Only of this kind; may be repeated: login-refused, token-refused, right-refused, limit-met, password-changed, token-reused,
    /// keys-read, session-ended, operator-decided, guesses-slowed
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<SecurityKind>,
    /// Only about this account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only by this calling service or operator
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only what happened at this time or later: 2026-11-25T18:00:00Z
    #[arg(long, value_name = "TIME")]
    from_time: Option<jiff::Timestamp>,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME")]
    to_time: Option<jiff::Timestamp>,
    /// The maximum of printed entries
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..=LIMIT_MAX))]
    limit: usize,
    #[command(flatten)]
    pub operators: OpsOptions,
}

/// The entries found, and whether these are all.
#[derive(Default)]
struct Found {
    entries: Vec<AuditEntry>,
    searched: u64,
    more: bool,
}

pub async fn run(options: AuditOptions) -> anyhow::Result<()> {
    let found = read(&options).await?;
    if options.operators.json {
        document::print(&found.document()?);
        return Ok(());
    }
    crate::terminal::text(&found.table());
    let rest = if found.more { "; there are more: a higher --limit, or --from-time, shows them" } else { "" };
    note!("{} entries, {} records looked at{rest}", found.entries.len(), found.searched);
    Ok(())
}

async fn read(options: &AuditOptions) -> anyhow::Result<Found> {
    let process = options.operators.connect().await?;
    let client = AuditServiceClient::new(process.channel());
    let client = client.max_decoding_message_size(kith_service::limits::RESPONSE_BYTES);
    let mut request = options.request();
    let mut found = Found::default();
    loop {
        request.page_size = i32::try_from(PAGE_SIZE.min(options.limit - found.entries.len()))?;
        let mut caller = client.clone();
        let page = process.call(request.clone(), async move |request| caller.read_audit(request).await).await?;
        found.entries.extend(page.entries);
        found.searched += page.records_searched;
        found.more = !page.next_page_token.is_empty();
        if !found.more || found.entries.len() >= options.limit {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

impl AuditOptions {
    fn request(&self) -> ReadAuditRequest {
        let moment = |at: &jiff::Timestamp| timestamp(at.as_millisecond());
        ReadAuditRequest {
            kinds: self.kind.iter().map(|kind| (*kind).into()).collect(),
            account_id: self.account.clone().unwrap_or_default(),
            principal: self.principal.clone().unwrap_or_default(),
            from_time: self.from_time.as_ref().map(moment),
            to_time: self.to_time.as_ref().map(moment),
            ..ReadAuditRequest::default()
        }
    }
}

impl Found {
    fn table(&self) -> String {
        let rows: Vec<_> = self.entries.iter().map(row).collect();
        table::aligned(&["time", "kind", "count", "by", "account", "from", "process", "what"], &rows)
    }

    /// It contains decisions as JSON, not as text.
    fn document(&self) -> anyhow::Result<Value> {
        let unfolded = |entry| document::unfolded("kith.ops.v1.AuditEntry", entry, ("decisionJson", "decision"));
        let entries = self.entries.iter().map(unfolded).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(json!({"entries": entries, "recordsSearched": self.searched, "more": self.more}))
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    let nothing = SecurityEvent::default();
    let event = entry.event.as_ref().unwrap_or(&nothing);
    let time = jiff::Timestamp::from_millisecond(unix_ms(event.first_time.as_ref()));
    let time = time.map_or_else(|_| "-".to_owned(), |time| time.to_string());
    let others = if event.others { " (others)" } else { "" };
    let what = match &*entry.decision_json {
        "" => event.reason.clone(),
        json => json.to_owned(),
    };
    let kind = format!("{}{others}", name_of(event.kind()));
    let [by, account, from, process] =
        [&event.principal, &event.account_id, &event.source, &entry.process].map(|text| table::or_dash(text));
    vec![time, kind, event.count.to_string(), by, account, from, process, what]
}

/// As it is asked for.
fn name_of(kind: SecurityKind) -> String {
    kind.as_str_name().trim_start_matches(KIND).to_lowercase().replace('_', "-")
}

fn kind(text: &str) -> Result<SecurityKind, String> {
    let known = SecurityKind::from_str_name(&format!("{KIND}{}", text.to_uppercase().replace('-', "_")));
    match known.filter(|kind| *kind != SecurityKind::Unspecified && name_of(*kind) == text) {
        Some(kind) => Ok(kind),
        None => Err("it is none of the kinds; see --help".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_asked_for_by_its_name_and_is_in_the_help() {
        let help = <AuditOptions as Args>::augment_args(clap::Command::new("audit")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for number in 1..=10 {
            let known = SecurityKind::try_from(number).unwrap();
            assert_eq!(kind(&name_of(known)), Ok(known));
            assert!(help.contains(&name_of(known)), "{known:?}");
        }
        assert!(SecurityKind::try_from(11).is_err(), "a new kind belongs into the help");
        for bad in ["", "unspecified", "LOGIN_REFUSED", "login_refused", "logins"] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_are_a_table_for_people_and_decisions_json_within_json() {
        let event = SecurityEvent {
            kind: SecurityKind::OperatorDecided.into(),
            principal: "ada\u{1b}".to_owned(),
            count: 1,
            first_time: Some(timestamp(1_700_000_000_000)),
            ..SecurityEvent::default()
        };
        let decided = AuditEntry { event: Some(event), decision_json: r#"{"a":1}"#.to_owned(), ..Default::default() };
        let found = Found { entries: vec![decided, AuditEntry::default()], searched: 2, more: false };
        let table = found.table();
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[0].starts_with("time") && lines[1].contains(r"ada\u{1b}") && lines[1].ends_with(r#"{"a":1}"#));
        assert!(lines[1].starts_with("2023-11-14T22:13:20Z  operator-decided"), "{table}");
        let document = found.document().unwrap();
        assert_eq!(document["entries"][0]["decision"]["a"], 1);
        assert_eq!(document["entries"][0]["event"]["kind"], "SECURITY_KIND_OPERATOR_DECIDED");
        assert_eq!(document["entries"][1]["decision"], Value::Null);
    }
}
