//! `kith-demo run`: loads a real friendship graph through the services, shows what came of it, checks it.

use anyhow::bail;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::addresses::Addresses;
use crate::check::{Checker, Verdict};
use crate::client::{FIRST_ANSWER_PATIENCE, Services};
use crate::expected::Expected;
use crate::graph::{self, Graph};
use crate::load::Loader;
use crate::plan::Plan;
use crate::show;
use crate::suite::Target;
use crate::terminal::{note, say};

const DIFFERENCES_SHOWN: usize = 20;
/// What one process works on at a time by its limit `RPCS_IN_FLIGHT`: it sheds what is above.
const IN_FLIGHT_MAX: u64 = 640;

#[derive(Debug, Args)]
pub struct RunOptions {
    /// How many people of the graph (all 962 unless given)
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(2..=graph::PEOPLE))]
    accounts: Option<usize>,
    /// What everybody does is a function of it
    #[arg(long, default_value_t = 98)]
    seed: u64,
    /// Steps on their way at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=IN_FLIGHT_MAX))]
    in_flight: usize,
    /// Prints the verdict as JSON and nothing else on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(options: RunOptions) -> anyhow::Result<()> {
    let started = options.target.start_if_down().await?;
    let addresses = options.target.addresses().await?;
    let done = load_and_check(&addresses, &options).await;
    if let Some(suite) = started {
        suite.stop().await;
    }
    done
}

async fn load_and_check(addresses: &Addresses, options: &RunOptions) -> anyhow::Result<()> {
    let services = Services::reach(addresses, &options.target.tls, FIRST_ANSWER_PATIENCE).await?;
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
    let checker = Checker {
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
    let written = if options.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&verdict)?))
    } else {
        let mut text = show::show(&services, &plan, &expected, &loaded).await?;
        text += &format!("\n{steps} steps in {seconds:.1} s: {:.0} a second\n", steps as f64 / seconds);
        text += &format!(
            "Compared with a recount of the inputs: {} home feeds ({} entries), counts of {} posts, {} posts, {} lists of people, {} numbers of followers and followed, {} conversations as both see them, requests and unread numbers of {} people, {} groups\n",
            verdict.feeds,
            verdict.feed_entries,
            verdict.counts,
            verdict.posts,
            verdict.follow_lists,
            verdict.follow_counts,
            verdict.unread_counts,
            verdict.request_counts,
            verdict.groups
        );
        say(&text)
    };
    // That nobody reads it hides no difference.
    conclude(&verdict)?;
    written
}

fn conclude(verdict: &Verdict) -> anyhow::Result<()> {
    if verdict.differences.is_empty() {
        note(format_args!("no differences"));
        return Ok(());
    }
    for difference in verdict.differences.iter().take(DIFFERENCES_SHOWN) {
        note(format_args!("  differs: {difference}"));
    }
    bail!("{} differences", verdict.differences.len())
}

/// Drawn on a terminal only, to standard error.
fn progress_bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} {msg}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
