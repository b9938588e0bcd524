//! `make bench`, `make bench-quick`: ceilings of this machine and the suite near them, in one run, as one table.

mod attack;
mod bare;
mod chart;
mod costs;
mod desk;
mod line;
mod load;
mod measures;
mod place;
mod plan;
mod raw;
mod recorder;
mod row;
mod steps;
mod target;
mod template;
mod tokens;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::plan::Taken;
use crate::row::Row;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const EXIT_MISSED: u8 = 1;
const EXIT_FAILED: u8 = 2;

/// Measures the suite beside the ceilings of this machine
///
/// Example: bench --quick --json target/bench.json
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Special>,
    /// Six rows, embedded, in under a minute
    #[arg(long)]
    quick: bool,
    /// Rows of these adapters only: embedded, live
    #[arg(long, value_delimiter = ',', value_name = "ADAPTERS", default_value = "embedded,live")]
    adapters: Vec<String>,
    /// Rows of groups whose name contains this only: pages, relationships, commands, visible, overload, memory, reactions, replay, fan-out,
    /// follows, hot-post, attacks
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Where the rows are written as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the chart is written, as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Special {
    /// The table of rows that were written as JSON before; with --chart, --json as of a run
    Table { files: Vec<PathBuf> },
    /// What one command and one page cost over Kafka and Cassandra, for docs/capacity.md
    Costs,
    /// A bare server, which the bench starts by itself
    #[command(hide = true)]
    Bare { setup: PathBuf },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: cannot start threads: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_MISSED),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn run(cli: Cli) -> Result<bool> {
    match cli.command {
        Some(Special::Bare { setup }) => {
            bare::run(setup).await?;
            return Ok(true);
        }
        Some(Special::Costs) => {
            println!("{}", costs::table(&plan::costs().await?));
            return Ok(true);
        }
        Some(Special::Table { files }) => {
            let rows = files.iter().map(|file| anyhow::Ok(serde_json::from_slice::<Vec<Row>>(&std::fs::read(file)?)?));
            let rows = rows.collect::<Result<Vec<_>>>()?.concat();
            return show(&rows, cli.json, cli.chart);
        }
        None => {}
    }
    if cli.quick {
        let rows = plan::quick().await?;
        println!("Not run: {}", plan::NOT_QUICK);
        return show(&rows, cli.json, cli.chart);
    }
    let Taken { rows, failed } = plan::full(&cli.adapters, cli.only.as_deref()).await?;
    let met = show(&rows, cli.json, cli.chart)?;
    anyhow::ensure!(failed.is_empty(), "not filled: {}", failed.join("; "));
    Ok(met)
}

/// Whether all of them meet their reach.
fn show(rows: &[Row], json: Option<PathBuf>, chart: Option<PathBuf>) -> Result<bool> {
    println!("{}", row::table(rows));
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    if let Some(file) = chart {
        std::fs::write(file, chart::svg(rows))?;
    }
    println!("{}", row::verdict(rows));
    Ok(!rows.is_empty() && rows.iter().all(Row::is_met))
}
