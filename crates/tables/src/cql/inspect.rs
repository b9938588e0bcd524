//! Checks everything about a CQL server on which tables depend, as findings.

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;

use super::CqlSettings;
use super::session::{Connected, Server};
use crate::{StoreError, Table};

/// Looks at the server and at these keyspaces, each with the tables that must be in it; changes nothing. A server that
/// does not answer is a finding too, within some 4 s.
pub async fn inspect(
    settings: &CqlSettings,
    keyspaces: &[(String, Vec<&'static Table>)],
    runtime: &Runtime,
) -> Vec<Finding> {
    let server = Server::new(settings.clone());
    let mut findings = Vec::new();
    let connected = match server.connected().await {
        Ok(connected) => connected,
        Err(StoreError::Contract(why)) => return vec![no_datacenter(settings, why)],
        Err(error) => return vec![silent(settings, &error)],
    };
    for (name, is) in [("answer", "yes"), ("local datacentre", &connected.datacenter)] {
        findings.push(Finding::judged("CQL server", name, (is, is), Weight::Sound, ""));
    }
    match look(&connected, settings, keyspaces, runtime).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(silent(settings, &error)),
    }
    findings
}

async fn look(
    connected: &Connected,
    settings: &CqlSettings,
    keyspaces: &[(String, Vec<&'static Table>)],
    runtime: &Runtime,
) -> Result<Vec<Finding>, StoreError> {
    let mut findings = connected.judge_server(settings, runtime).await?;
    for (keyspace, tables) in keyspaces {
        findings.extend(connected.judge_keyspace(settings, keyspace, tables).await?);
    }
    Ok(findings)
}

fn no_datacenter(settings: &CqlSettings, why: String) -> Finding {
    let wanted = settings.local_datacenter.as_deref().unwrap_or("named");
    let fix = "set `cql_local_datacenter` to one of those that the server names";
    Finding::judged("CQL server", "local datacentre", (why, wanted), Weight::Wrong, fix)
}

fn silent(settings: &CqlSettings, error: &StoreError) -> Finding {
    let fix = format!("start the server, or correct `tables`: it names {}", settings.contact_points.join(","));
    let why = match error {
        StoreError::Unavailable(why) => why.clone(),
        other => other.to_string(),
    };
    Finding::judged("CQL server", "answer", (format!("none ({why})"), "any"), Weight::Wrong, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_down_is_the_finding() {
        let settings = CqlSettings::new(vec!["127.0.0.1:1".to_owned()]);
        let findings = inspect(&settings, &[("k".to_owned(), Vec::new())], &Runtime::system()).await;
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((&*finding.name, finding.weight), ("answer", Weight::Wrong));
        assert!(finding.fix.contains("127.0.0.1:1"));
    }
}
