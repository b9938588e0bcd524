//! Faults of processes and servers, one at a time, each ended before the next.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kith_runtime::SplitMix64;

use super::generations;
use super::letters::Planted;
use super::proxy::{Held, Proxy, Weather};
use super::report::Report;
use crate::kith::ADMIN_PORT;
use crate::server::Server;
use crate::suite::{Suite, services};
use crate::{http, wait};

/// A consumer group waits for a member for some seconds, and then reassigns its partitions.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(90);
/// An answer of the log or the tables, while a demo runs.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const WEATHER_FOR: Duration = Duration::from_secs(4);
const READY_WITHIN: Duration = Duration::from_secs(180);
/// A second projector that comes and goes.
const STORM: usize = 3;
/// A second process of a service.
const REPLICA: &str = "replica";

/// The suite and what it stands on.
pub struct World<'a> {
    pub suite: &'a mut Suite,
    pub kafka: &'a mut Server,
    pub cassandra: &'a mut Server,
    pub log: &'a Proxy,
    pub tables: &'a Proxy,
    pub keys: &'a std::path::Path,
    /// What was written into the log this round.
    pub planted: Planted,
    /// Only faults whose name contains this.
    pub only: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillProcess,
    KillAtAnAnswer,
    FreezeProcess,
    KillBroker,
    KillTables,
    Log(Weather),
    Tables(Weather),
    Doubled,
    Poisoned,
    RebalanceStorm,
    Generations,
}

const LATE: Weather = Weather::Late(Duration::from_millis(40));
const SLICED: Weather = Weather::Sliced(7);

const ALL: [Fault; 17] = [
    Fault::KillProcess,
    Fault::KillAtAnAnswer,
    Fault::FreezeProcess,
    Fault::KillBroker,
    Fault::KillTables,
    Fault::Log(LATE),
    Fault::Log(SLICED),
    Fault::Log(Weather::Silent),
    Fault::Log(Weather::Cut),
    Fault::Tables(LATE),
    Fault::Tables(SLICED),
    Fault::Tables(Weather::Silent),
    Fault::Tables(Weather::Cut),
    Fault::Doubled,
    Fault::Poisoned,
    Fault::RebalanceStorm,
    Fault::Generations,
];

impl Fault {
    fn name(self) -> String {
        let weather = |weather| match weather {
            Weather::Fair => "in order",
            Weather::Late(_) => "slowed",
            Weather::Sliced(_) => "cut into small pieces",
            Weather::Silent => "silent (half-open)",
            Weather::Cut => "cut",
        };
        match self {
            Self::KillProcess => "kill -9 of a process at random".to_owned(),
            Self::KillAtAnAnswer => "kill -9 of a process at an answer of log or tables".to_owned(),
            Self::FreezeProcess => "process frozen until another had its partitions (zombie)".to_owned(),
            Self::KillBroker => "kill -9 of the broker".to_owned(),
            Self::KillTables => "kill -9 of the CQL server".to_owned(),
            Self::Log(now) => format!("connections to the broker {}", weather(now)),
            Self::Tables(now) => format!("connections to the CQL server {}", weather(now)),
            Self::Doubled => "records doubled late".to_owned(),
            Self::Poisoned => "records that nobody can decode".to_owned(),
            Self::RebalanceStorm => "rebalance storm".to_owned(),
            Self::Generations => "tables rebuilt, promoted, process killed, rolled back".to_owned(),
        }
    }
}

/// What is done, as the report names it, where its name contains `only`.
pub fn kinds(only: &str) -> impl Iterator<Item = String> {
    ALL.into_iter().map(Fault::name).filter(move |name| name.contains(only))
}

impl World<'_> {
    /// One fault, and its end: all processes are ready again afterwards. In the order of a shuffled list, so that every
    /// kind has its turn.
    pub async fn strike(&mut self, order: &mut Vec<usize>, chance: &mut SplitMix64, report: &mut Report) -> Result<()> {
        if order.is_empty() {
            order.extend((0..ALL.len()).filter(|&fault| ALL[fault].name().contains(self.only)));
        }
        let drawn = order.swap_remove(chance.below(order.len() as u64) as usize);
        let fault = ALL[drawn];
        eprintln!("  {}", fault.name());
        match self.inflict(fault, chance, report).await.with_context(|| fault.name())? {
            true => report.fault(fault.name()),
            false => report.missed(fault.name()),
        }
        let healed = Instant::now();
        self.until_ready().await?;
        report.recovered(healed.elapsed());
        Ok(())
    }

    /// False: it did not come about.
    async fn inflict(&mut self, fault: Fault, chance: &mut SplitMix64, report: &mut Report) -> Result<bool> {
        let all = services();
        let service = all[chance.below(all.len() as u64) as usize];
        match fault {
            Fault::KillProcess => {
                self.suite.process(service)?.kill_9()?;
                self.suite.process(service)?.launch()?;
            }
            Fault::KillAtAnAnswer => return self.kill_at_an_answer(chance).await,
            Fault::FreezeProcess => self.freeze(service).await?,
            Fault::KillBroker => {
                self.kafka.kill_9()?;
                self.kafka.restart().await?;
            }
            Fault::KillTables => {
                self.cassandra.kill_9()?;
                self.cassandra.restart().await?;
            }
            Fault::Log(weather) => pass(self.log, weather).await,
            Fault::Tables(weather) => pass(self.tables, weather).await,
            Fault::Doubled => return self.planted.double(self.kafka, chance, report).await,
            Fault::Poisoned => return self.planted.poison(self.kafka, chance, report).await,
            Fault::RebalanceStorm => {
                for _ in 0..STORM {
                    self.add_replica("projector").await?;
                    self.suite.remove(REPLICA);
                }
            }
            Fault::Generations => generations::change(self.suite, service, chance, report).await?,
        }
        Ok(true)
    }

    /// Kills the process to which an answer is in flight: its request was executed, and it does not know.
    async fn kill_at_an_answer(&mut self, chance: &mut SplitMix64) -> Result<bool> {
        let proxy = if chance.below(2) == 0 { self.log } else { self.tables };
        let held = tokio::time::timeout(ANSWER_WITHIN, proxy.hold_at(1 + chance.below(200))).await;
        // Where nothing is asked any more there is no answer.
        let Ok(held) = held else { return Ok(false) };
        let held = held?;
        let Some(service) = self.receiver(&held)? else { return Ok(false) };
        self.suite.process(service)?.kill_9()?;
        drop(held);
        self.suite.process(service)?.launch()?;
        Ok(true)
    }

    /// The process at the other end of a connection.
    fn receiver(&mut self, held: &Held) -> Result<Option<&'static str>> {
        let Some(socket) = socket_of(held.client)? else { return Ok(None) };
        for service in services() {
            if has_open(self.suite.process(service)?.process()?.pid(), &socket)? {
                return Ok(Some(service));
            }
        }
        Ok(None)
    }

    /// Another process takes over the frozen one's partitions; then the frozen one continues without knowing (a
    /// zombie).
    async fn freeze(&mut self, service: &str) -> Result<()> {
        // While it is alone it has all of them.
        let all = self.folds_at_least(service, 1).await?;
        self.add_replica(service).await?;
        self.folds_at_least(REPLICA, 1).await?;
        let own = self.folds_at_least(service, 1).await?;
        self.suite.process(service)?.pause().await?;
        let taken_over = self.folds_at_least(REPLICA, all).await;
        self.suite.process(service)?.resume()?;
        taken_over.with_context(|| format!("{service} is frozen, with {own} partitions"))?;
        self.until_ready().await?;
        self.suite.remove(REPLICA);
        Ok(())
    }

    async fn add_replica(&mut self, service: &str) -> Result<()> {
        self.suite.add(REPLICA, &[("services", service)], self.kafka, self.cassandra, self.keys).await
    }

    /// Waits until a process folds so many partitions; gives how many it then folds.
    async fn folds_at_least(&mut self, process: &str, partitions: u64) -> Result<u64> {
        let socket = self.suite.process(process)?.socket(ADMIN_PORT);
        let what = format!("{process} folds {partitions} partitions");
        wait::until(&what, TAKEN_OVER_WITHIN, async || {
            let Ok(metrics) = http::get(socket, "/metrics").await else { return Ok(None) };
            let lines = metrics.body.lines().filter(|line| line.starts_with("kith_fold_partitions{"));
            let folded = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            Ok((folded >= partitions).then_some(folded))
        })
        .await
    }

    async fn until_ready(&mut self) -> Result<()> {
        for service in services() {
            let process = self.suite.process(service)?;
            wait::until(&format!("{service} is ready again"), READY_WITHIN, async || {
                process.process()?.ensure_running()?;
                Ok(process.is_ready().await.then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

async fn pass(proxy: &Proxy, weather: Weather) {
    proxy.set(weather);
    tokio::time::sleep(WEATHER_FOR).await;
    proxy.set(Weather::Fair);
}

/// What the kernel calls the socket that is bound to `local`, as `/proc` shows an open file.
fn socket_of(local: SocketAddr) -> Result<Option<String>> {
    let IpAddr::V4(address) = local.ip() else { return Ok(None) };
    // In the machine's order of bytes.
    let shown = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), local.port());
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = lines.filter(|columns| columns.get(1) == Some(&shown.as_str()));
    Ok(found.find_map(|columns| Some(format!("socket:[{}]", columns.get(9)?))))
}

fn has_open(pid: u32, file: &str) -> Result<bool> {
    let mut open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    Ok(open.any(|one| std::fs::read_link(one.path()).is_ok_and(|target| target.as_os_str() == file)))
}
