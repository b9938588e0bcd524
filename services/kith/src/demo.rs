//! `kith demo`: loads a real friendship graph through the services, shows what came of it, checks it.

pub mod addresses;
mod check;
pub mod client;
mod expected;
mod graph;
mod load;
mod plan;
mod show;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use kith_service::config::Settings;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use self::addresses::Addresses;
use self::client::{FIRST_ANSWER_PATIENCE, Services};
use self::expected::Expected;
use self::graph::Graph;
use self::load::Loader;
use self::plan::Plan;
use crate::cli::SettingFlags;

/// Memory of one password hash in a suite that the demo starts: a demo has nobody to protect, and a thousand to hash.
const DEMO_PASSWORD_MEMORY_KIB: u32 = 1_024;
const START_PATIENCE: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(50);
const DIFFERENCES_SHOWN: usize = 20;
/// A process sheds what is above.
const IN_FLIGHT_MAX: u64 = kith_service::limits::RPCS_IN_FLIGHT as u64;

#[derive(Debug, Args)]
pub struct DemoOptions {
    /// How many people of the graph (all 962 unless given)
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(2..=graph::PEOPLE))]
    accounts: Option<usize>,
    /// What everybody does is a function of it
    #[arg(long, default_value_t = 98)]
    seed: u64,
    /// Steps on their way at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=IN_FLIGHT_MAX))]
    in_flight: usize,
    /// HOST:PORT of all services, or identity=HOST:PORT,posts=…,engagement=…,messaging=…,feeds=… [the setting `listen`]
    #[arg(long, value_name = "ADDRESSES")]
    addresses: Option<Addresses>,
    /// Prints the verdict as JSON and nothing else on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// The handle of person `number`.
pub fn handle(number: usize) -> String {
    format!("reed_{number:03}")
}

pub async fn run(settings: Settings, options: DemoOptions) -> anyhow::Result<()> {
    let suite = match &options.addresses {
        Some(_) => None,
        None => start_if_down(&settings, &options.settings).await?,
    };
    let addresses = options.addresses.clone().unwrap_or_else(|| settings.listen.into());
    let done = load_and_check(&addresses, &options).await;
    if let Some(mut suite) = suite {
        stop(&mut suite).await;
    }
    done
}

async fn load_and_check(addresses: &Addresses, options: &DemoOptions) -> anyhow::Result<()> {
    let services = Services::reach(addresses, FIRST_ANSWER_PATIENCE).await?;
    let graph = Graph::load(options.accounts)?;
    let plan = Plan::new(&graph, options.seed);
    let expected = Expected::of(&plan);
    let progress = progress_bar(plan.steps() as u64);
    let run = format!("demo-{}-{}", options.seed, plan.people);
    let started = Instant::now();
    let loader = Loader {
        services: services.clone(),
        plan: &plan,
        run,
        in_flight: options.in_flight,
        progress: progress.clone(),
    };
    let loaded = loader.load().await?;
    let (steps, seconds) = (progress.position(), started.elapsed().as_secs_f64());
    let checker = check::Checker {
        services: &services,
        plan: &plan,
        expected: &expected,
        loaded: &loaded,
        in_flight: options.in_flight,
        progress: progress.clone(),
    };
    let mut verdict = checker.check().await?;
    verdict.steps = steps;
    progress.finish_and_clear();
    if options.json {
        say!("{}", serde_json::to_string_pretty(&verdict)?);
    } else {
        show::show(&services, &plan, &expected, &loaded).await?;
        say!("\n{steps} steps in {seconds:.1} s: {:.0} a second", steps as f64 / seconds);
        say!(
            "Compared with a recount of the inputs: {} home feeds ({} entries), counts of {} posts, {} posts, {} follow lists, {} unread numbers",
            verdict.feeds,
            verdict.feed_entries,
            verdict.counts,
            verdict.posts,
            verdict.follow_lists,
            verdict.unread_counts
        );
    }
    conclude(&verdict)
}

fn conclude(verdict: &check::Verdict) -> anyhow::Result<()> {
    if verdict.differences.is_empty() {
        note!("no differences");
        return Ok(());
    }
    for difference in verdict.differences.iter().take(DIFFERENCES_SHOWN) {
        note!("  differs: {difference}");
    }
    bail!("{} differences", verdict.differences.len())
}

/// Drawn on a terminal only, to standard error.
fn progress_bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} {msg}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The suite as configured, in a process of its own, where nobody listens yet.
async fn start_if_down(settings: &Settings, flags: &SettingFlags) -> anyhow::Result<Option<Child>> {
    if listens(settings.listen).await {
        return Ok(None);
    }
    note!("nobody listens on {}: starting `kith run`", settings.listen);
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.arg("run").stdout(Stdio::null()).kill_on_drop(true);
    for (key, value) in &flags.given {
        command.arg(format!("--{}", key.replace('_', "-"))).arg(value);
    }
    if settings.origin("password_memory_kib") == Some(&kith_service::config::Origin::Default) {
        note!(
            "passwords of the demo are hashed with {DEMO_PASSWORD_MEMORY_KIB} KiB each, not {}",
            settings.password_memory_kib
        );
        command.env("KITH_PASSWORD_MEMORY_KIB", DEMO_PASSWORD_MEMORY_KIB.to_string());
    }
    let mut child = command.spawn().context("starting `kith run`")?;
    let started = Instant::now();
    while !listens(settings.listen).await {
        if let Some(status) = child.try_wait()? {
            bail!("`kith run` ended: {status}");
        }
        if started.elapsed() > START_PATIENCE {
            bail!("`kith run` does not listen on {}", settings.listen);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(Some(child))
}

/// An address that swallows packets would keep `connect` for minutes.
async fn listens(address: SocketAddr) -> bool {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

async fn stop(child: &mut Child) {
    if let Some(id) = child.id() {
        // SIGTERM, so that it ends politely; `kill_on_drop` is for when it does not.
        let _ = Command::new("kill").arg(id.to_string()).status().await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
}
