//! The suite in five processes over a real broker and a real CQL server, both behind proxies, under the nemesis.

use std::time::Duration;

use anyhow::{Result, ensure};
use kith_log::EventLog as _;
use kith_runtime::SplitMix64;

use super::generations;
use super::letters::Planted;
use super::nemesis::{self, World};
use super::proxy::Proxy;
use super::report::Report;
use crate::simulation::Lasts;
use crate::suite::{Suite, groups};
use crate::{cassandra_server, digests, kafka_server, records};

/// The clients, once faults have stopped.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
const BETWEEN_FAULTS: Duration = Duration::from_secs(2);

/// What the rounds are.
pub struct Rounds<'a> {
    pub seed: u64,
    /// People of each round's workload.
    pub accounts: usize,
    /// Whether it was enough, by what was done so far: no further fault then.
    pub enough: &'a (dyn Fn(&Report) -> bool + Sync),
    /// Only faults whose name contains this; empty: all.
    pub only: &'a str,
}

/// Rounds until it is enough, each on emptied servers. `Err` when the servers themselves do not start, or no fault is meant.
pub async fn rounds(what: Rounds<'_>, report: &mut Report) -> Result<()> {
    let Rounds { seed, accounts, enough, only } = what;
    ensure!(nemesis::kinds(only).next().is_some(), "no fault's name contains {only}");
    let (mut kafka, mut cassandra) = (kafka_server::start_behind().await?, cassandra_server::start_behind().await?);
    let log = Proxy::start(kafka.socket(kafka_server::PORT), kafka.socket(kafka_server::PORT_BEHIND)).await?;
    let tables =
        Proxy::start(cassandra.socket(cassandra_server::PORT), cassandra.socket(cassandra_server::PORT_BEHIND)).await?;
    nemesis::kinds(only).for_each(|kind| report.expect(kind));
    let (mut chance, mut order, mut number) = (SplitMix64::new(seed), Vec::new(), 0);
    while !enough(report) {
        number += 1;
        let name = format!("live round {number} of seed {seed}");
        eprintln!("{name}");
        let keys = tempfile::tempdir()?;
        let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await?;
        let mut world = World {
            suite: &mut suite,
            kafka: &mut kafka,
            cassandra: &mut cassandra,
            log: &log,
            tables: &tables,
            keys: keys.path(),
            planted: Planted::default(),
            only,
        };
        let outcome = round(&mut world, &mut order, &mut chance, accounts, enough, report).await;
        report.round(&name, outcome);
    }
    Ok(())
}

async fn round(
    world: &mut World<'_>,
    order: &mut Vec<usize>,
    chance: &mut SplitMix64,
    accounts: usize,
    enough: &(dyn Fn(&Report) -> bool + Sync),
    report: &mut Report,
) -> Result<()> {
    let mut clients = world.suite.start_workload(world.keys, chance.draw(), accounts, Lasts::Steps)?;
    while !clients.has_ended() && !enough(report) {
        world.strike(order, chance, report).await?;
        tokio::time::sleep(BETWEEN_FAULTS).await;
    }
    clients.ended(ENDS_WITHIN).await?;
    world.planted.are_set_aside(world.kafka, report).await?;
    let log = kafka_server::log(world.kafka, digests::PARTITIONS)?;
    let all = records::of(&*log).await?;
    log.close(CLOSED_WITHIN).await;
    report.acknowledged(clients.holds(&all).await?);
    for (group, process) in groups()? {
        generations::compare(world.suite, process, group, report).await?;
    }
    Ok(())
}
