//! Whether connections are secured as the profile asks, and whether the files for it are fit.

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use kith_service::config::Settings;
use kith_service::config::{LogAddress, TablesAddress};

use crate::ports;

pub fn examine(settings: &Settings, runtime: &Runtime) -> Vec<Finding> {
    let missing = |(key, why): (&'static str, &'static str)| {
        let fix = format!("set `{key}`, or `profile = development` where others may listen");
        Finding::judged("settings", key, (why, "set in production"), Weight::Wrong, fix)
    };
    let mut findings: Vec<_> = settings.exposures().into_iter().map(missing).collect();
    let is_secured = settings.transport.callers().is_some();
    if is_secured {
        findings
            .push(fit("files of TLS for callers and operators", ports::listeners_tls(settings, runtime).map(|_| ())));
    }
    if let (TablesAddress::Cql(servers), Some(_)) = (&settings.tables, settings.transport.cql()) {
        let opened = ports::cql_settings(settings, servers, runtime);
        findings.push(fit("files of TLS to the CQL server", opened.map(|_| ())));
    }
    if let (LogAddress::Kafka(_), Some(access)) = (&settings.log, settings.transport.kafka()) {
        let files = access.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let files = files.chain(access.login.iter().map(|login| &login.password_file)).chain([&access.ca]);
        let unread = files.filter_map(|path| Some(format!("{}: {}", path.display(), std::fs::read(path).err()?)));
        let unread: Vec<_> = unread.collect();
        let all = if unread.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(unread.join("; "))) };
        findings.push(fit("files of TLS to the brokers", all));
    }
    findings
}

fn fit(name: &str, opened: anyhow::Result<()>) -> Finding {
    let (found, weight) = match opened {
        Ok(()) => ("fit".to_owned(), Weight::Sound),
        Err(error) => (format!("{error:#}"), Weight::Wrong),
    };
    Finding::judged("settings", name, (found, "fit"), weight, "correct the file, or the setting that names it")
}
