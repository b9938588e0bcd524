//! `kith projections`, `rebuild`, `verify`, `promote`, `rollback`, `drop-generation`, `pause`, `resume`.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use kith_proto::ops::v1 as proto;
use kith_proto::ops::v1::projection_service_client::ProjectionServiceClient;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::client::{OpsOptions, refused, request};
use super::table;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A command about the generations of a service's tables.
#[derive(Debug, Args)]
pub struct ServiceOptions {
    /// identity, posts, engagement, messaging or feeds
    service: String,
    #[command(flatten)]
    ops: OpsOptions,
}

#[derive(Debug, Args)]
pub struct ProjectionsOptions {
    /// Only this service's
    service: Option<String>,
    /// Every partition, not only each generation
    #[arg(long)]
    partitions: bool,
    #[command(flatten)]
    ops: OpsOptions,
}

#[derive(Debug, Args)]
pub struct RebuildOptions {
    #[command(flatten)]
    service: ServiceOptions,
    /// Shows how far the newest generation is, and starts none
    #[arg(long)]
    status: bool,
    /// Returns at once, instead of when it has caught up
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub struct VerifyOptions {
    #[command(flatten)]
    service: ServiceOptions,
    /// One generation; the live one if it is left out
    #[arg(long)]
    generation: Option<u32>,
    /// The other; the newest if it is left out
    #[arg(long)]
    against: Option<u32>,
}

#[derive(Debug, Args)]
pub struct GenerationOptions {
    #[command(flatten)]
    service: ServiceOptions,
    /// Which; the newest if it is left out
    #[arg(long)]
    generation: Option<u32>,
}

#[derive(Debug, Args)]
pub struct DropOptions {
    #[command(flatten)]
    service: ServiceOptions,
    /// Which
    #[arg(long)]
    generation: u32,
}

#[derive(Debug, Args)]
pub struct PauseOptions {
    #[command(flatten)]
    service: ServiceOptions,
    /// Why, for whoever comes next
    #[arg(long, default_value = "")]
    note: String,
}

/// What operators do with projections.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// Shows how far the folds are, generation by generation. A process answers for the services that run in it.
    #[command(after_help = "Example:\n  kith projections\n  kith projections posts --partitions --json")]
    Projections(ProjectionsOptions),
    /// Fills a new generation of a service's tables beside the one that serves, and waits until it has caught up.
    #[command(after_help = "Example:\n  kith rebuild feeds\n  kith rebuild feeds --status")]
    Rebuild(RebuildOptions),
    /// Compares two generations of a service's tables, row by row. Exits with 1 if they differ.
    #[command(after_help = "Example:\n  kith verify feeds")]
    Verify(VerifyOptions),
    /// Lets another generation serve.
    #[command(after_help = "Example:\n  kith promote feeds")]
    Promote(GenerationOptions),
    /// Lets the generation serve again that served before.
    #[command(after_help = "Example:\n  kith rollback feeds")]
    Rollback(ServiceOptions),
    /// Ends a generation that does not serve; its tables are deleted within a minute.
    #[command(after_help = "Example:\n  kith drop-generation feeds --generation 1")]
    DropGeneration(DropOptions),
    /// Lets a service's folds stand still until they are resumed. Reads go on, and grow old.
    #[command(after_help = "Example:\n  kith pause feeds --note 'the disks are being moved'")]
    Pause(PauseOptions),
    /// Lets them go on.
    #[command(after_help = "Example:\n  kith resume feeds")]
    Resume(ServiceOptions),
}

type Client = ProjectionServiceClient<Channel>;

impl ProjectionCommand {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Projections(options) => list(options).await?,
            Self::Rebuild(options) => rebuild(options).await?,
            Self::Verify(options) => verify(options).await?,
            Self::Promote(GenerationOptions { service, generation }) => {
                let asked = proto::PromoteRequest {
                    service: service.service.clone(),
                    generation: generation.unwrap_or_default(),
                };
                let promoted = client(&service.ops).await?.promote(request(asked)).await.map_err(refused)?;
                show_generation(&service.ops, promoted.into_inner().generation, "serves now");
            }
            Self::Rollback(service) => {
                let asked = proto::RollbackRequest { service: service.service.clone() };
                let back = client(&service.ops).await?.rollback(request(asked)).await.map_err(refused)?;
                show_generation(&service.ops, back.into_inner().generation, "serves again");
            }
            Self::DropGeneration(DropOptions { service, generation }) => {
                let asked = proto::DropGenerationRequest { service: service.service.clone(), generation };
                client(&service.ops).await?.drop_generation(request(asked)).await.map_err(refused)?;
                done(&service, &format!("generation {generation} is gone"));
            }
            Self::Pause(PauseOptions { service, note }) => {
                let asked = proto::PauseRequest { service: service.service.clone(), note };
                client(&service.ops).await?.pause(request(asked)).await.map_err(refused)?;
                done(&service, "paused");
            }
            Self::Resume(service) => {
                let asked = proto::ResumeRequest { service: service.service.clone() };
                client(&service.ops).await?.resume(request(asked)).await.map_err(refused)?;
                done(&service, "resumed");
            }
        }
        Ok(())
    }
}

async fn client(ops: &OpsOptions) -> anyhow::Result<Client> {
    Ok(ProjectionServiceClient::new(ops.connect().await?))
}

async fn list(options: ProjectionsOptions) -> anyhow::Result<()> {
    let asked = proto::ListProjectionsRequest { service: options.service.unwrap_or_default() };
    let listed = client(&options.ops).await?.list_projections(request(asked)).await.map_err(refused)?;
    let projections = listed.into_inner().projections;
    if options.ops.json {
        println!("{}", json!({ "projections": projections.iter().map(projection_json).collect::<Vec<_>>() }));
    } else if options.partitions {
        let rows: Vec<_> = projections.iter().flat_map(partition_rows).collect();
        table::print(
            &["service", "generation", "topic", "partition", "next", "head", "lag", "seconds", "here", "stopped"],
            &rows,
        );
    } else {
        let rows: Vec<_> = projections.iter().map(projection_row).collect();
        table::print(&["service", "generation", "state", "records", "lag", "seconds", "stopped", "error"], &rows);
    }
    Ok(())
}

/// A new generation, or with `--status` the newest; waits until a new one has caught up.
async fn rebuild(options: RebuildOptions) -> anyhow::Result<()> {
    let ServiceOptions { service, ops } = options.service;
    let mut client = client(&ops).await?;
    let mut number = 0;
    if !options.status {
        let asked = proto::StartRebuildRequest { service: service.clone() };
        let started = client.start_rebuild(request(asked)).await.map_err(refused)?;
        let generation = started.into_inner().generation;
        number = generation.as_ref().map_or(0, |generation| generation.number);
        if !ops.json {
            show_generation(&ops, generation, "is being filled");
        }
    }
    let wait = !options.status && !options.no_wait;
    let bar = bar(wait && !ops.json);
    loop {
        let asked = proto::GetRebuildRequest { service: service.clone(), generation: number };
        let now = client.get_rebuild(request(asked)).await;
        let now = match now {
            Ok(now) => now.into_inner(),
            // It is being opened.
            Err(status) if wait && status.code() == tonic::Code::FailedPrecondition => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(status) => return Err(refused(status)),
        };
        if let Some(stopped) = now.stopped.first() {
            bail!("the new generation stands still: {stopped}");
        }
        bar.set_length(now.records_total);
        bar.set_position(now.records_folded);
        if now.caught_up || !wait {
            bar.finish_and_clear();
            show_rebuild(&ops, &now);
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn verify(options: VerifyOptions) -> anyhow::Result<()> {
    let ServiceOptions { service, ops } = options.service;
    let asked = proto::VerifyTablesRequest {
        service,
        generation: options.generation.unwrap_or_default(),
        other_generation: options.against.unwrap_or_default(),
    };
    // No deadline: it takes as long as the tables are large.
    let mut told = client(&ops).await?.verify_tables(asked).await.map_err(refused)?.into_inner();
    let bar = bar(!ops.json);
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
    while let Some(step) = told.message().await.map_err(refused)? {
        bar.set_message(format!("{} {} partitions, {} rows", step.table, step.partitions_compared, step.rows_compared));
        bar.tick();
        if let Some(verdict) = &step.verdict {
            bar.finish_and_clear();
            return show_verdict(&ops, &step, verdict);
        }
    }
    bail!("the process ended before the comparison did")
}

fn bar(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    // On a terminal only; it goes to stderr.
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {per_sec}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn done(service: &ServiceOptions, what: &str) {
    match service.ops.json {
        true => println!("{}", json!({ "service": service.service, "done": what })),
        false => println!("{}: {what}", service.service),
    }
}

fn show_generation(ops: &OpsOptions, generation: Option<proto::Generation>, what: &str) {
    let generation = generation.unwrap_or_default();
    match ops.json {
        true => println!("{}", generation_json(&generation)),
        false => println!("{}: generation {} {what}", generation.service, generation.number),
    }
}

fn show_rebuild(ops: &OpsOptions, now: &proto::GetRebuildResponse) {
    let generation = now.generation.clone().unwrap_or_default();
    let remaining = now.remaining.map(|left| left.seconds);
    if ops.json {
        let (folded, total, rate) = (now.records_folded, now.records_total, now.records_per_second);
        println!(
            "{}",
            json!({
                "generation": generation_json(&generation), "records_folded": folded, "records_total": total,
                "records_per_second": rate, "remaining_seconds": remaining, "caught_up": now.caught_up,
                "stopped": now.stopped,
            })
        );
        return;
    }
    let (service, number) = (&generation.service, generation.number);
    let left = remaining.map_or(String::new(), |seconds| format!(", about {seconds} s left"));
    let state = if now.caught_up { "has caught up" } else { "is being filled" };
    let (folded, total, rate) = (now.records_folded, now.records_total, now.records_per_second);
    println!("{service}: generation {number} {state}: {folded} of {total} records, {rate:.0} a second{left}");
}

fn show_verdict(
    ops: &OpsOptions,
    step: &proto::VerifyTablesResponse,
    verdict: &proto::verify_tables_response::Verdict,
) -> anyhow::Result<()> {
    let (partitions, rows) = (step.partitions_compared, step.rows_compared);
    if ops.json {
        let difference = |d: &proto::verify_tables_response::Difference| json!({"table": d.table, "partition": d.partition, "row": d.row, "left": d.left, "right": d.right});
        let differences: Vec<Value> = verdict.differences.iter().map(difference).collect();
        println!(
            "{}",
            json!({
                "equal": verdict.equal, "partitions_compared": partitions, "rows_compared": rows,
                "partitions_different": verdict.partitions_different, "differences": differences,
                "digest": verdict.digest,
            })
        );
    } else if verdict.equal {
        println!("equal: {partitions} table partitions, {rows} rows, digest {}", verdict.digest);
    } else {
        let row = |d: &proto::verify_tables_response::Difference| {
            [&d.table, &d.partition, &d.row, &d.left, &d.right].map(String::clone).to_vec()
        };
        let rows: Vec<Vec<String>> = verdict.differences.iter().map(row).collect();
        table::print(&["table", "partition", "row", "left", "right"], &rows);
    }
    if !verdict.equal {
        bail!("{} of {partitions} table partitions differ", verdict.partitions_different);
    }
    Ok(())
}

fn state_name(generation: &proto::Generation) -> &'static str {
    match generation.state() {
        proto::GenerationState::Live => "live",
        proto::GenerationState::Beside => "beside",
        proto::GenerationState::Previous => "previous",
        proto::GenerationState::Unspecified => "unknown",
    }
}

fn generation_json(generation: &proto::Generation) -> Value {
    json!({ "service": generation.service, "generation": generation.number, "state": state_name(generation) })
}

fn lag_seconds(partition: &proto::PartitionProgress) -> f64 {
    partition.lag.map_or(0.0, |lag| lag.seconds as f64 + f64::from(lag.nanos) / 1e9)
}

fn projection_json(projection: &proto::Projection) -> Value {
    let partition = |p: &proto::PartitionProgress| {
        json!({
            "topic": p.topic, "partition": p.partition, "next_offset": p.next_offset, "head_offset": p.head_offset,
            "lag_records": p.lag_records, "lag_seconds": lag_seconds(p), "stopped_reason": p.stopped_reason,
            "folded_here": p.folded_here,
        })
    };
    let mut shown = generation_json(&projection.generation.clone().unwrap_or_default());
    shown["paused"] = json!(projection.paused);
    shown["error"] = json!(projection.error);
    shown["partitions"] = projection.partitions.iter().map(partition).collect();
    shown
}

fn projection_row(projection: &proto::Projection) -> Vec<String> {
    let generation = projection.generation.clone().unwrap_or_default();
    let partitions = &projection.partitions;
    let state = state_name(&generation).to_owned() + if projection.paused { ", paused" } else { "" };
    let sum = |of: fn(&proto::PartitionProgress) -> u64| partitions.iter().map(of).sum::<u64>().to_string();
    let seconds = partitions.iter().map(lag_seconds).fold(0.0, f64::max);
    let stopped = partitions.iter().filter(|partition| !partition.stopped_reason.is_empty()).count();
    let (records, lag) = (sum(|partition| partition.next_offset), sum(|partition| partition.lag_records));
    let number = generation.number.to_string();
    vec![
        generation.service,
        number,
        state,
        records,
        lag,
        format!("{seconds:.1}"),
        stopped.to_string(),
        projection.error.clone(),
    ]
}

fn partition_rows(projection: &proto::Projection) -> Vec<Vec<String>> {
    let generation = projection.generation.clone().unwrap_or_default();
    let row = |p: &proto::PartitionProgress| {
        vec![
            generation.service.clone(),
            generation.number.to_string(),
            p.topic.clone(),
            p.partition.to_string(),
            p.next_offset.to_string(),
            p.head_offset.to_string(),
            p.lag_records.to_string(),
            format!("{:.1}", lag_seconds(p)),
            if p.folded_here { "yes" } else { "no" }.to_owned(),
            p.stopped_reason.clone(),
        ]
    };
    projection.partitions.iter().map(row).collect()
}
