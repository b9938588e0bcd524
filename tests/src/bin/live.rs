//! `make demo-live` and `make latency`: five `kith` processes over a real Kafka and a real Cassandra, and one of the
//! demo's commands against them. Usage: `live run|latency [arguments]`; `TESTED_KITH` and `TESTED_DEMO` name the
//! binaries.

use std::process::ExitCode;

use anyhow::{Context, Result};
use kith_tests::suite::Suite;
use kith_tests::{cassandra_server, kafka_server, kith};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("live: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().context("usage: live run|latency [arguments]")?;
    eprintln!("starting Kafka and Cassandra");
    let (mut kafka, mut cassandra) = (kafka_server::start().await?, cassandra_server::start().await?);
    let keys = tempfile::tempdir()?;
    eprintln!("starting five processes");
    let suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await?;
    eprintln!("services: {}", suite.addresses());
    let mut client = tokio::process::Command::from(kith::demo_command().await?);
    client.arg(command).arg("--addresses").arg(suite.addresses()).args(arguments);
    Ok(client.status().await?.success())
}
