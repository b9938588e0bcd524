//! `kith projections`, `rebuild`, `verify`, `promote`, `rollback`, `drop-generation`, `open-events`, `pause`, `resume`.

mod estimate;
mod opening;
mod shown;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use kith_log::RecordId;
use kith_proto::ops::v1 as proto;
use kith_proto::ops::v1::projection_service_client::ProjectionServiceClient;
use kith_runtime::Runtime;
use kith_service::server::termination;
use serde_json::json;
use tonic::{Code, Status};

use super::client::{Line, OpsOptions, Process, request};
use opening::OpenEventsOptions;
use shown::{PAUSED, show_generation, show_projections, show_rebuild, show_verdict};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The maximum of consecutive retries of a call without an answer, up to 30 s each.
const MADE_AGAIN: u32 = 4;

/// A command about the generations of a fold group's tables.
#[derive(Debug, Args)]
pub struct GroupOptions {
    /// A fold group, by its name in `kith projections`: posts, feeds, …
    #[arg(value_name = "GROUP")]
    name: String,
    #[command(flatten)]
    ops: OpsOptions,
}

#[derive(Debug, Args)]
pub struct ProjectionsOptions {
    /// Only this fold group's
    group: Option<String>,
    /// Every partition, not only each generation
    #[arg(long)]
    partitions: bool,
    /// Every view of each generation, with the fingerprint of its declaration
    #[arg(long, conflicts_with = "partitions")]
    views: bool,
    #[command(flatten)]
    ops: OpsOptions,
}

#[derive(Debug, Args)]
pub struct RebuildOptions {
    #[command(flatten)]
    group: GroupOptions,
    /// Shows the progress of the newest generation, and starts none
    #[arg(long)]
    status: bool,
    /// Says how many records would be folded, in what time and space, and starts none
    #[arg(long, conflicts_with_all = ["status", "no_wait"])]
    dry_run: bool,
    /// Returns at once, without waiting until it has caught up
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub struct VerifyOptions {
    #[command(flatten)]
    group: GroupOptions,
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
    group: GroupOptions,
    /// Which; the newest if it is left out
    #[arg(long)]
    generation: Option<u32>,
}

#[derive(Debug, Args)]
pub struct DropOptions {
    #[command(flatten)]
    group: GroupOptions,
    /// Which
    #[arg(long)]
    generation: u32,
}

#[derive(Debug, Args)]
pub struct PauseOptions {
    #[command(flatten)]
    group: GroupOptions,
    /// Why, for the next operator
    #[arg(long, default_value = "")]
    note: String,
}

/// Operators' commands for projections.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// Shows the progress of the folds per generation. A process answers for the fold groups that run in it.
    #[command(after_help = "Example:\n  kith projections\n  kith projections posts --partitions --json")]
    Projections(ProjectionsOptions),
    /// Fills a new generation of a group's tables beside the live one, and waits until it has caught up.
    #[command(
        after_help = "Example:\n  kith rebuild feeds --dry-run\n  kith rebuild feeds\n  kith rebuild feeds --status"
    )]
    Rebuild(RebuildOptions),
    /// Compares two generations of a group's tables, row by row. Exits with 1 if they differ.
    #[command(after_help = "Example:\n  kith verify feeds")]
    Verify(VerifyOptions),
    /// Makes another generation serve.
    #[command(after_help = "Example:\n  kith promote feeds")]
    Promote(GenerationOptions),
    /// Makes the previous generation serve again.
    ///
    /// It is a toggle: a second `rollback` undoes the first. After a time-out check `kith projections` first, which
    /// shows what serves.
    #[command(after_help = "Example:\n  kith rollback feeds")]
    Rollback(GroupOptions),
    /// Ends a generation that does not serve; its tables are deleted within a minute.
    #[command(after_help = "Example:\n  kith drop-generation feeds --generation 1")]
    DropGeneration(DropOptions),
    /// Has all processes append what only this release reads; never undone.
    ///
    /// Some releases bring a later version of the events: records that older releases would fold wrongly. Nobody appends them
    /// before this command. After it, processes of older releases stop folding and answering at once: end them first, since
    /// this command cannot see them. It is refused while a generation of another release is left.
    #[command(after_help = "Example:\n  kith open-events --version 2")]
    OpenEvents(OpenEventsOptions),
    /// Stops a group's folds until they are resumed. Reads continue, and become stale.
    #[command(after_help = "Example:\n  kith pause feeds --note 'the disks are being moved'")]
    Pause(PauseOptions),
    /// Continues them.
    #[command(after_help = "Example:\n  kith resume feeds")]
    Resume(GroupOptions),
}

type Client = ProjectionServiceClient<Line>;

impl ProjectionCommand {
    /// The called process, and how its answer is printed.
    pub fn operators(&self) -> &OpsOptions {
        match self {
            Self::Projections(options) => &options.ops,
            Self::Rebuild(options) => &options.group.ops,
            Self::Verify(options) => &options.group.ops,
            Self::Promote(options) => &options.group.ops,
            Self::DropGeneration(options) => &options.group.ops,
            Self::OpenEvents(options) => &options.ops,
            Self::Pause(options) => &options.group.ops,
            Self::Rollback(group) | Self::Resume(group) => &group.ops,
        }
    }

    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Projections(options) => list(options).await?,
            Self::Rebuild(options) => rebuild(options).await?,
            Self::Verify(options) => verify(options).await?,
            Self::Promote(GenerationOptions { group, generation }) => {
                let asked =
                    proto::PromoteRequest { service: group.name.clone(), generation: generation.unwrap_or_default() };
                let mut desk = Desk::open(&group.ops, &group.name).await?;
                let promoted =
                    desk.client.promote(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
                show_generation(&group.ops, promoted.into_inner().generation, "serves now");
            }
            Self::Rollback(group) => {
                let asked = proto::RollbackRequest { service: group.name.clone() };
                let mut desk = Desk::open(&group.ops, &group.name).await?;
                let back =
                    desk.client.rollback(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
                show_generation(&group.ops, back.into_inner().generation, "serves again");
            }
            Self::DropGeneration(DropOptions { group, generation }) => {
                let asked = proto::DropGenerationRequest { service: group.name.clone(), generation };
                let mut desk = Desk::open(&group.ops, &group.name).await?;
                desk.client.drop_generation(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
                done(&group, &format!("generation {generation} is gone"));
            }
            Self::OpenEvents(options) => options.run().await?,
            Self::Pause(PauseOptions { group, note }) => {
                let asked = proto::PauseRequest { service: group.name.clone(), note };
                let mut desk = Desk::open(&group.ops, &group.name).await?;
                desk.client.pause(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
                done(&group, "paused");
            }
            Self::Resume(group) => {
                let asked = proto::ResumeRequest { service: group.name.clone() };
                let mut desk = Desk::open(&group.ops, &group.name).await?;
                desk.client.resume(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
                done(&group, "resumed");
            }
        }
        Ok(())
    }
}

/// A process, and the fold group of the call.
struct Desk {
    client: Client,
    process: Process,
    /// Empty: all.
    group: String,
}

impl Desk {
    async fn open(ops: &OpsOptions, group: &str) -> anyhow::Result<Self> {
        let process = ops.connect().await?;
        let client = ProjectionServiceClient::new(process.channel());
        Ok(Self { client, process, group: group.to_owned() })
    }

    /// The progress of a generation; 0: the newest.
    async fn rebuild(&mut self, generation: u32) -> Result<proto::GetRebuildResponse, Status> {
        let asked = proto::GetRebuildRequest { service: self.group.clone(), generation };
        Ok(self.client.get_rebuild(request(asked)).await?.into_inner())
    }
}

async fn list(options: ProjectionsOptions) -> anyhow::Result<()> {
    let group = options.group.clone().unwrap_or_default();
    let mut desk = Desk::open(&options.ops, &group).await?;
    let asked = proto::ListProjectionsRequest { service: group };
    let listed = desk.client.list_projections(request(asked)).await.map_err(|status| desk.process.refused(&status))?;
    show_projections(&listed.into_inner(), &options);
    Ok(())
}

/// A new generation, or with `--status` the newest; waits until a new one has caught up.
async fn rebuild(options: RebuildOptions) -> anyhow::Result<()> {
    let GroupOptions { name: group, ops } = options.group;
    let mut desk = Desk::open(&ops, &group).await?;
    if options.dry_run {
        return estimate::show(&mut desk, &ops).await;
    }
    if options.status {
        show_rebuild(&ops, &desk.rebuild(0).await.map_err(|status| desk.process.refused(&status))?);
        return Ok(());
    }
    // Registered before anything is started: the command reports what it leaves behind.
    let mut cut_off = std::pin::pin!(termination());
    let started = tokio::select! {
        biased;
        signals = &mut cut_off => {
            signals?;
            bail!("cut off; whether a rebuild of {group} has begun is not known: `kith projections {group}` shows it");
        }
        started = start(&mut desk) => started?,
    };
    let number = started.as_ref().map_or(0, |generation| generation.number);
    if !ops.json {
        show_generation(&ops, started, "is being filled");
    }
    let goes_on = format!(
        "the rebuild of {group} goes on in the server, as generation {number}; `kith projections {group}` and \
         `kith rebuild {group} --status` show how far it is"
    );
    let caught_up = tokio::select! {
        biased;
        signals = &mut cut_off => {
            signals?;
            bail!("cut off; {goes_on}");
        }
        caught_up = caught_up(&mut desk, number, options.no_wait, !ops.json, &goes_on) => caught_up?,
    };
    show_rebuild(&ops, &caught_up);
    Ok(())
}

/// The progress of generation `number`; waits for catching up unless `no_wait`. Prints `goes_on` if answers stop.
async fn caught_up(
    desk: &mut Desk,
    number: u32,
    no_wait: bool,
    shows_a_bar: bool,
    goes_on: &str,
) -> anyhow::Result<proto::GetRebuildResponse> {
    let bar = bar(shows_a_bar && !no_wait);
    let (mut again, mut said_paused) = (0..MADE_AGAIN, false);
    loop {
        let now = match desk.rebuild(number).await {
            Ok(now) => now,
            // It is being opened, or the process is busy.
            Err(status) if !no_wait && (is_opening(&status) || is_unanswered(&status) && again.next().is_some()) => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(status) if is_unanswered(&status) => {
                return Err(desk.process.refused(&status)).context(goes_on.to_owned());
            }
            Err(status) => return Err(desk.process.refused(&status)),
        };
        again = 0..MADE_AGAIN;
        if now.paused && !no_wait && !said_paused {
            note!("kith: {}{PAUSED}", desk.group);
            said_paused = true;
        }
        if let Some(stopped) = now.stopped.first() {
            bail!("the new generation stands still: {stopped}");
        }
        bar.set_length(now.records_total);
        bar.set_position(now.records_folded);
        if now.caught_up || no_wait {
            bar.finish_and_clear();
            return Ok(now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// After an unknown outcome it retries with the same request id.
async fn start(desk: &mut Desk) -> anyhow::Result<Option<proto::Generation>> {
    let mut random = [0; 16];
    Runtime::system().fill_random(&mut random)?;
    let asked = proto::StartRebuildRequest { service: desk.group.clone(), request_id: RecordId(random).to_string() };
    let mut again = 0..MADE_AGAIN;
    loop {
        match desk.client.start_rebuild(request(asked.clone())).await {
            Ok(started) => return Ok(started.into_inner().generation),
            Err(status) if is_unanswered(&status) && again.next().is_some() => {
                note!("kith: not known whether it has begun ({}): asking again", status.message());
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(status) => return Err(desk.process.refused(&status)),
        }
    }
}

fn is_opening(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition
}

fn is_unanswered(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable)
}

async fn verify(options: VerifyOptions) -> anyhow::Result<()> {
    let GroupOptions { name: group, ops } = options.group;
    let mut desk = Desk::open(&ops, &group).await?;
    let asked = proto::VerifyTablesRequest {
        service: group,
        generation: options.generation.unwrap_or_default(),
        other_generation: options.against.unwrap_or_default(),
    };
    // No deadline: its duration depends on the size of the tables.
    let told = desk.client.verify_tables(asked).await;
    let mut told = told.map_err(|status| desk.process.refused(&status))?.into_inner();
    let bar = bar(!ops.json);
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}")?);
    while let Some(step) = told.message().await.map_err(|status| desk.process.refused(&status))? {
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

fn done(group: &GroupOptions, what: &str) {
    match group.ops.json {
        true => say!("{}", json!({ "group": group.name, "done": what })),
        false => say!("{}: {what}", group.name),
    }
}
