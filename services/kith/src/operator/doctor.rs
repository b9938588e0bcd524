//! `kith doctor`: checks everything that a suite with these settings depends on, and says what to change.

mod callers;
mod embedded;
mod keys;
mod machine;
mod report;
mod stores;
mod transport;

use anyhow::bail;
use clap::Args;
use kith_finding::Finding;
use kith_runtime::Runtime;
use kith_service::config::{LogAddress, Settings, TablesAddress};

use self::report::Report;
use crate::flags::SettingFlags;
use crate::services::Release;

#[derive(Debug, Args)]
pub struct DoctorOptions {
    /// Prints every check as one JSON document on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `Err` when anything is wrong; doubtful results are only reported.
pub async fn run(settings: Settings, release: Release, options: DoctorOptions) -> anyhow::Result<()> {
    let report = Report { checks: examine(&settings, release, &Runtime::system()).await };
    if options.json {
        super::json::print(&report.document()?);
    } else {
        crate::terminal::text(&report.text());
    }
    match report.wrong() {
        0 => Ok(()),
        wrong => bail!("{wrong} of {} checks failed", report.checks.len()),
    }
}

async fn examine(settings: &Settings, release: Release, runtime: &Runtime) -> Vec<Finding> {
    let given = |key| settings.sources().find(|(name, ..)| *name == key).map_or("", |(_, value, _)| value);
    let mut checks: Vec<Finding> =
        ["profile", "log", "tables"].map(|key| Finding::sound("settings", key, given(key))).into();
    checks.extend(machine::open_files());
    checks.extend(machine::address("listen", settings.listen));
    checks.extend(machine::address("admin_listen", settings.admin_listen));
    checks.extend(machine::address("ops_listen", settings.ops_listen));
    checks.extend(machine::collector(&settings.otlp_endpoint).await);
    checks.extend(keys::examine(settings));
    checks.extend(transport::examine(settings, runtime));
    if let Some(file) = settings.callers_file() {
        let (over, proven) = (settings.issuer_keys_over(), settings.edge_rules().operators.proven);
        checks.extend(callers::examine(file, over, (runtime, proven)).await);
    }
    if let (LogAddress::Embedded(log), TablesAddress::Embedded(tables)) = (&settings.log, &settings.tables) {
        checks.extend(embedded::apart(log, tables));
    }
    if let LogAddress::Embedded(folder) = &settings.log {
        checks.extend(machine::folder(folder, machine::Use::Truth));
        checks.extend(embedded::folder_mode(folder));
    }
    if let TablesAddress::Embedded(folder) = &settings.tables {
        checks.extend(machine::folder(folder, machine::Use::Disposable));
        checks.extend(embedded::folder_mode(folder));
    }
    let (log, tables) =
        tokio::join!(stores::log(settings, release, runtime), stores::tables(settings, release, runtime));
    checks.extend(log.into_iter().chain(tables));
    checks
}

#[cfg(test)]
mod tests;
