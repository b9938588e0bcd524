//! Whole suites of `kith` processes, and the demo as their client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ::kith::services::{RELEASE, Service};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kith_fold::Generations;
use kith_service::config::ServiceName;
use tokio::process::Child;

use crate::kith::{self, ADMIN_PORT, Launch, OPS_PORT, PORT};
use crate::server::Server;
use crate::simulation::{Lasts, Workload};
use crate::{cassandra_server, digests, http, kafka_server, wait};

/// The services, as they are named on the command line.
pub fn services() -> [&'static str; ServiceName::ALL.len()] {
    ServiceName::ALL.map(ServiceName::as_str)
}

/// Every fold group as operators name it, with the service that hosts it.
pub fn groups() -> Result<Vec<(&'static str, &'static str)>> {
    let settings = digests::settings(0, digests::PARTITIONS)?;
    let of = |service: &'static Service| {
        let groups = service.groups_in(&settings, Generations::FIRST);
        groups.map(|group| (group.name, service.name.as_str())).collect::<Vec<_>>()
    };
    Ok(RELEASE.0.iter().flat_map(of).collect())
}

/// What `--addresses` calls a service: callers know packages of RPCs.
fn package_of(service: &str) -> &str {
    if service == "projector" { "feeds" } else { service }
}

/// A demo of 120 people, beside a build, with processes killed under it.
const CLIENT_WITHIN: Duration = Duration::from_secs(300);

/// Processes by name.
pub struct Suite {
    pub processes: BTreeMap<String, Server>,
}

impl Suite {
    /// Everything in one process, embedded log and tables in its own folder.
    pub async fn embedded(push_threshold: u64) -> Result<Self> {
        Self::of("suite", Launch::run("suite").set("push_threshold", push_threshold.to_string())).await
    }

    /// One process, under `name`.
    pub async fn of(name: &str, launch: Launch) -> Result<Self> {
        Ok(Self { processes: BTreeMap::from([(name.to_owned(), launch.start().await?)]) })
    }

    /// One process per service over a real broker and a real CQL server, which are emptied first.
    pub async fn live(kafka: &mut Server, cql: &mut Server, keys: &Path) -> Result<Self> {
        tokio::try_join!(kafka.wipe(), cql.wipe())?;
        init(kafka, cql, keys).await?;
        // Each spends seconds in joining its group.
        let start = async |service: &str| {
            let launch = Self::launch(service, &[("services", service)], kafka, cql, keys);
            anyhow::Ok((service.to_owned(), launch.start().await?))
        };
        let processes = try_join_all(services().map(start)).await?;
        Ok(Self { processes: processes.into_iter().collect() })
    }

    /// One more process, under `name`; it takes the place of one that has it.
    pub async fn add(
        &mut self,
        name: &str,
        settings: &[(&str, &str)],
        kafka: &Server,
        cql: &Server,
        keys: &Path,
    ) -> Result<()> {
        self.processes.remove(name);
        let launch = Self::launch(name, settings, kafka, cql, keys);
        self.processes.insert(name.to_owned(), launch.start().await?);
        Ok(())
    }

    /// A process over these servers, not started yet.
    pub fn launch(name: &str, settings: &[(&str, &str)], kafka: &Server, cql: &Server, keys: &Path) -> Launch {
        let launch =
            places(kafka, cql, keys).into_iter().fold(Launch::run(name), |launch, (key, value)| launch.set(key, value));
        settings.iter().fold(launch, |launch, (key, value)| launch.set(key, *value))
    }

    /// Starts processes again, side by side, and waits until all are ready.
    pub async fn restart_all(&mut self) -> Result<()> {
        try_join_all(self.processes.values_mut().map(Server::restart)).await.map(|_| ())
    }

    /// SIGTERM to all processes, side by side; an error when one does not end in time.
    pub async fn stop_all(&mut self, within: Duration) -> Result<()> {
        try_join_all(self.processes.values_mut().map(|process| process.stop(within))).await.map(|_| ())
    }

    /// Kills a process and forgets it.
    pub fn remove(&mut self, name: &str) {
        self.processes.remove(name);
    }

    pub fn process(&mut self, name: &str) -> Result<&mut Server> {
        self.processes.get_mut(name).with_context(|| format!("no process {name}"))
    }

    /// Where the services are, as `kith-demo run --addresses` takes it.
    pub fn addresses(&self) -> String {
        let socket = |name: &str| self.processes.get(name).map(|process| process.socket(PORT));
        match socket("suite") {
            Some(one) => one.to_string(),
            None => {
                let named = |service: &str| socket(service).map(|socket| format!("{}={socket}", package_of(service)));
                services().into_iter().filter_map(named).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// Where each service is, by what callers call it.
    pub fn sockets(&self) -> BTreeMap<&'static str, SocketAddr> {
        let socket = |name: &str| self.processes.get(name).map(|process| process.socket(PORT));
        let of = |service: &'static str| Some((package_of(service), socket(service).or_else(|| socket("suite"))?));
        services().into_iter().filter_map(of).collect()
    }

    /// Starts the simulation's clients, of so many people, against these processes; they run beside the caller. `keys`:
    /// the folder that the processes sign with.
    pub fn start_workload(&self, keys: &Path, seed: u64, people: usize, lasts: Lasts) -> Result<Workload> {
        Workload::start(&self.sockets(), keys, digests::PARTITIONS, (seed, people, lasts))
    }

    /// Starts the demo against these processes; it runs beside the caller.
    pub async fn start_demo(&self, accounts: usize) -> Result<Client> {
        self.start_client(&["run", "--json", "--accounts", &accounts.to_string()], "\"feed_entries\"").await
    }

    /// Starts `kith-demo latency`: one post after the other, each of which a reader with its token must find.
    pub async fn start_posts_and_reads(&self, posts: usize) -> Result<Client> {
        self.start_client(&["latency", "--json", "--posts", &posts.to_string()], "p50_us").await
    }

    async fn start_client(&self, arguments: &[&str], verdict: &'static str) -> Result<Client> {
        let mut command = tokio::process::Command::from(kith::demo_command().await?);
        command.args(arguments).args(["--addresses", &self.addresses()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(Client { child: command.spawn()?, verdict })
    }

    /// An operator's command to one process; gives what it printed.
    pub async fn operate(&self, process: &str, arguments: &[&str]) -> Result<String> {
        let process = self.processes.get(process).with_context(|| format!("no process {process}"))?;
        let mut command = tokio::process::Command::from(kith::command().await?);
        command.args(arguments).args(["--json", "--ops", &process.socket(OPS_PORT).to_string()]).kill_on_drop(true);
        let output = tokio::time::timeout(CLIENT_WITHIN, command.output()).await.context("it did not end")??;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kith {}: {}\n{err}\n{out}", arguments.join(" "), output.status);
        Ok(out.into_owned())
    }

    /// As [`Self::operate`]; `None`: it was refused because of what was decided before (not now, or done already), or because log
    /// or tables were away, and nothing was written.
    pub async fn operate_unless_refused(&self, process: &str, arguments: &[&str]) -> Result<Option<String>> {
        let refusals = ["GENERATION_STATE", "LOG_UNAVAILABLE", "TABLES_UNAVAILABLE"];
        match self.operate(process, arguments).await {
            Err(error) if refusals.iter().any(|refusal| format!("{error:#}").contains(refusal)) => Ok(None),
            said => said.map(Some),
        }
    }

    /// Callers' calls that ended with a status other than OK, over all processes, by method and status.
    pub async fn failed_calls(&self) -> Result<Vec<String>> {
        let mut failed = Vec::new();
        for process in self.processes.values() {
            let metrics = http::get(process.socket(ADMIN_PORT), "/metrics").await?;
            let counts = metrics.body.lines().filter(|line| line.starts_with("rpc_server_call_duration_seconds_count"));
            let bad = counts.filter(|line| !line.contains("rpc_status_code=\"OK\"") && !line.contains("kith.ops."));
            failed.extend(bad.map(str::to_owned));
        }
        Ok(failed)
    }

    /// Runs the demo to its end.
    pub async fn demo(&self, accounts: usize) -> Result<()> {
        self.start_demo(accounts).await?.passes().await
    }

    /// Runs the demo to its end, with more flags.
    pub async fn demo_with(&self, accounts: usize, flags: &[String]) -> Result<()> {
        self.client_with(&["run", "--json", "--accounts", &accounts.to_string()], flags, "\"feed_entries\"").await
    }

    /// Runs `kith-demo latency` to its end, with more flags: every post is a new record.
    pub async fn posts_and_reads_with(&self, posts: usize, flags: &[String]) -> Result<()> {
        self.client_with(&["latency", "--json", "--posts", &posts.to_string()], flags, "p50_us").await
    }

    async fn client_with(&self, arguments: &[&str], flags: &[String], verdict: &'static str) -> Result<()> {
        let arguments: Vec<_> = arguments.iter().copied().chain(flags.iter().map(String::as_str)).collect();
        self.start_client(&arguments, verdict).await?.passes().await
    }

    /// Waits until `process` has folded at least `records` records since it started.
    pub async fn folded(&self, process: &str, records: u64) -> Result<()> {
        let socket = self.processes.get(process).with_context(|| format!("no process {process}"))?.socket(ADMIN_PORT);
        wait::until(&format!("{process} folds {records} records"), CLIENT_WITHIN, async || {
            let Ok(metrics) = http::get(socket, "/metrics").await else { return Ok(None) };
            let folded = metrics.body.lines().filter(|line| line.starts_with("kith_fold_records_total"));
            let folded: u64 = folded.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            Ok((folded >= records).then_some(()))
        })
        .await
    }
}

/// A failed test reports which of its processes had ended, and how: that explains the clients' errors.
impl Drop for Suite {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let processes = self.processes.values_mut();
            let ended = processes.filter_map(|process| process.process().ok()?.ensure_running().err());
            ended.for_each(|error| eprintln!("{error:#}"));
        }
    }
}

/// A running client.
pub struct Client {
    child: Child,
    /// What it prints when all was as it should be.
    verdict: &'static str,
}

impl Client {
    /// Waits for its end: it must have found no difference.
    pub async fn passes(self) -> Result<()> {
        self.passes_within(CLIENT_WITHIN).await.map(|_| ())
    }

    /// Whether it has ended, one way or the other.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// As [`Self::passes`]; gives what it printed.
    pub async fn passes_within(self, within: Duration) -> Result<String> {
        let output = tokio::time::timeout(within, self.child.wait_with_output()).await;
        let output = output.context("the client did not end")??;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "the client failed ({}):\n{err}\n{out}", output.status);
        ensure!(out.contains(self.verdict), "the client gave no verdict:\n{out}");
        Ok(out.into_owned())
    }
}

/// `kith init` against real servers.
pub async fn init(kafka: &Server, cql: &Server, keys: &Path) -> Result<()> {
    init_by(&kith::binary().await?, kafka, cql, keys).await
}

/// The same by another release.
pub async fn init_by(binary: &Path, kafka: &Server, cql: &Server, keys: &Path) -> Result<()> {
    let mut command = tokio::process::Command::from(kith::clean_command(binary));
    command.arg("init").kill_on_drop(true);
    for (key, value) in places(kafka, cql, keys) {
        command.env(format!("KITH_{}", key.to_uppercase()), value);
    }
    let output = command.output().await?;
    ensure!(output.status.success(), "kith init: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The settings that lead a process to these servers and keys.
pub fn places(kafka: &Server, cql: &Server, keys: &Path) -> [(&'static str, String); 3] {
    [
        ("log", format!("kafka:{}", kafka.socket(kafka_server::PORT))),
        ("tables", format!("cql:{}", cql.socket(cassandra_server::PORT))),
        ("keys_dir", keys.display().to_string()),
    ]
}
