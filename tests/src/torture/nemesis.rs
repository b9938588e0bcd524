//! What is done to processes and servers, one fault at a time, each taken back before the next.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kith_log::kafka::{KafkaLog, KafkaSettings};
use kith_log::{EventLog, Header, LogPartition, NewRecord, Topic, headers, topics};
use kith_runtime::Runtime;

use super::embedded::Chance;
use super::proxy::{Proxy, Weather};
use super::report::Report;
use crate::server::Server;
use crate::suite::{SERVICES, Suite};
use crate::{digests, kafka_server, wait};

/// Longer than a consumer group waits for a member: what it had is given to others.
const FROZEN_FOR: Duration = Duration::from_secs(11);
const WEATHER_FOR: Duration = Duration::from_secs(4);
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Copies, or poisoned records, at a time.
const RECORDS: u64 = 20;
/// A second projector that comes and goes.
const STORM: usize = 3;
/// Topics whose records are doubled and poisoned.
const TOPICS: [Topic; 4] = [topics::IDENTITY, topics::POSTS, topics::ENGAGEMENT, topics::MESSAGING];

/// The suite and what it stands on.
pub struct World<'a> {
    pub suite: &'a mut Suite,
    pub kafka: &'a mut Server,
    pub cassandra: &'a mut Server,
    pub log: &'a Proxy,
    pub tables: &'a Proxy,
    pub keys: &'a std::path::Path,
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
}

const LATE: Weather = Weather::Late(Duration::from_millis(40));
const SLICED: Weather = Weather::Sliced(7);

const ALL: [Fault; 16] = [
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
            Self::FreezeProcess => "process frozen past the group's timeout (zombie)".to_owned(),
            Self::KillBroker => "kill -9 of the broker".to_owned(),
            Self::KillTables => "kill -9 of the CQL server".to_owned(),
            Self::Log(now) => format!("connections to the broker {}", weather(now)),
            Self::Tables(now) => format!("connections to the CQL server {}", weather(now)),
            Self::Doubled => "records doubled late".to_owned(),
            Self::Poisoned => "records that nobody can decode".to_owned(),
            Self::RebalanceStorm => "rebalance storm".to_owned(),
        }
    }
}

impl World<'_> {
    /// One fault, and its end: all processes are ready again afterwards. In the order of a shuffled list, so that every
    /// kind has its turn.
    pub async fn strike(&mut self, order: &mut Vec<usize>, chance: &mut Chance, report: &mut Report) -> Result<()> {
        if order.is_empty() {
            order.extend(0..ALL.len());
        }
        let drawn = order.swap_remove(chance.below(order.len() as u64) as usize);
        let fault = ALL[drawn];
        eprintln!("  {}", fault.name());
        report.fault(fault.name());
        self.inflict(fault, chance, report).await.with_context(|| fault.name())?;
        let healed = Instant::now();
        self.until_ready().await?;
        report.recovered(healed.elapsed());
        Ok(())
    }

    async fn inflict(&mut self, fault: Fault, chance: &mut Chance, report: &mut Report) -> Result<()> {
        let service = SERVICES[chance.below(SERVICES.len() as u64) as usize];
        match fault {
            Fault::KillProcess => {
                self.suite.process(service)?.kill_9()?;
                self.suite.process(service)?.launch()?;
            }
            Fault::KillAtAnAnswer => {
                let proxy = if chance.below(2) == 0 { self.log } else { self.tables };
                let at = proxy.answers() + 1 + chance.below(200);
                let met = wait::until("an answer", WEATHER_FOR, async || Ok((proxy.answers() >= at).then_some(())));
                // Where nothing is asked any more the end of the wait is as good a moment.
                let _ = met.await;
                self.suite.process(service)?.kill_9()?;
                self.suite.process(service)?.launch()?;
            }
            Fault::FreezeProcess => {
                self.suite.process(service)?.pause().await?;
                tokio::time::sleep(FROZEN_FOR).await;
                self.suite.process(service)?.resume()?;
            }
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
            Fault::Doubled => report.duplicates(double(self.kafka, chance).await?),
            Fault::Poisoned => report.poison(poison(self.kafka, chance).await?),
            Fault::RebalanceStorm => {
                for _ in 0..STORM {
                    let settings = [("services", "projector")];
                    self.suite.add("another", &settings, self.kafka, self.cassandra, self.keys).await?;
                    self.suite.remove("another");
                }
            }
        }
        Ok(())
    }

    async fn until_ready(&mut self) -> Result<()> {
        for service in SERVICES {
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

fn log(kafka: &Server) -> Result<std::sync::Arc<KafkaLog>> {
    let settings = KafkaSettings {
        bootstrap: kafka.socket(kafka_server::PORT).to_string(),
        client_id: "nemesis".to_owned(),
        replication_factor: 1,
        production: false,
        extra: Vec::new(),
    };
    Ok(KafkaLog::connect(settings, digests::PARTITIONS, Runtime::system())?)
}

/// Appends records of the log once more, byte for byte, as a producer that was cut off may.
async fn double(kafka: &Server, chance: &mut Chance) -> Result<u64> {
    let log = log(kafka)?;
    let mut doubled = 0;
    for _ in 0..RECORDS {
        let topic = TOPICS[chance.below(TOPICS.len() as u64) as usize];
        let heads = log.heads(topic).await?;
        let index = chance.below(u64::from(digests::PARTITIONS)) as u16;
        let Some(head) = heads.get(usize::from(index)).copied().filter(|head| *head > 0) else { continue };
        let partition = LogPartition { topic, index };
        let mut reader = log.read(partition, chance.below(head)).await?;
        let Some(record) = reader.next().await.transpose()?.and_then(|records| records.into_iter().next()) else {
            continue;
        };
        let key = String::from_utf8_lossy(&record.key).into_owned();
        log.append(NewRecord { topic, key, headers: record.headers, value: record.value }).await?;
        doubled += 1;
    }
    log.close(Duration::from_secs(5)).await;
    Ok(doubled)
}

/// Appends records that are no events: truncated, or of no header at all.
async fn poison(kafka: &Server, chance: &mut Chance) -> Result<u64> {
    let log = log(kafka)?;
    for n in 0..RECORDS {
        let topic = TOPICS[chance.below(TOPICS.len() as u64) as usize];
        let id = format!("{:032x}", u128::from(chance.below(u64::MAX)));
        let headers = if n % 2 == 0 { vec![Header::new(headers::ID, id)] } else { Vec::new() };
        // The beginning of a field that never ends.
        let value = vec![0x0a, 0x7f, chance.below(256) as u8].into();
        log.append(NewRecord { topic, key: format!("poison-{n}"), headers, value }).await?;
    }
    log.close(Duration::from_secs(5)).await;
    Ok(RECORDS)
}
