//! Records put into the log on purpose: copies, and records that cannot be decoded. And the dead letters that must
//! follow from the latter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kith_log::kafka::KafkaLog;
use kith_log::{EventLog, Header, LogPartition, NewRecord, Offset, Position, Record, Topic, headers, topics};
use kith_proto::Event;
use kith_runtime::SplitMix64;

use super::report::Report;
use crate::server::Server;
use crate::{digests, kafka_server, records, wait};

/// Copies, or poisoned records, at a time.
const RECORDS: usize = 20;
/// Looks for a record to copy.
const TRIES: usize = 200;
const SET_ASIDE_WITHIN: Duration = Duration::from_secs(60);
const READ_WITHIN: Duration = Duration::from_secs(30);
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// Topics whose records are doubled and poisoned.
const TOPICS: [Topic; 4] = [topics::IDENTITY, topics::POSTS, topics::ENGAGEMENT, topics::MESSAGING];

/// The topic, partition and offset of a record.
type Place = (String, u32, Offset);

/// The records written into the log in a round.
#[derive(Default)]
pub struct Planted {
    poisoned: BTreeSet<Place>,
    /// Copies of what was there, poisoned records among it.
    copies: BTreeSet<Place>,
}

impl Planted {
    /// Appends records of the log once more, byte for byte, as an interrupted producer may.
    pub async fn double(&mut self, kafka: &Server, chance: &mut SplitMix64, report: &mut Report) -> Result<bool> {
        let log = kafka_server::log(kafka, digests::PARTITIONS)?;
        let filled = filled(&log).await?;
        let mut doubled = 0;
        for _ in 0..TRIES {
            if doubled == RECORDS || filled.is_empty() {
                break;
            }
            let (partition, head) = filled[chance.below(filled.len() as u64) as usize];
            let Some(record) = first_from(&log, partition, chance.below(head)).await? else { continue };
            let key = String::from_utf8_lossy(&record.key).into_owned();
            let copy = NewRecord { topic: partition.topic, key, headers: record.headers, value: record.value };
            self.copies.insert(place(log.append(copy).await?));
            doubled += 1;
        }
        log.close(CLOSED_WITHIN).await;
        report.duplicates(doubled as u64);
        Ok(doubled > 0)
    }

    /// Appends records that are no events: truncated, or of no header at all.
    pub async fn poison(&mut self, kafka: &Server, chance: &mut SplitMix64, report: &mut Report) -> Result<bool> {
        let log = kafka_server::log(kafka, digests::PARTITIONS)?;
        for n in 0..RECORDS {
            let topic = TOPICS[chance.below(TOPICS.len() as u64) as usize];
            let id = format!("{:032x}", u128::from(chance.below(u64::MAX)));
            let headers = if n % 2 == 0 { vec![Header::new(headers::ID, id)] } else { Vec::new() };
            // The beginning of a field that never ends.
            let value = vec![0x0a, 0x7f, chance.below(256) as u8].into();
            let record = NewRecord { topic, key: format!("poison-{n}"), headers, value };
            self.poisoned.insert(place(log.append(record).await?));
        }
        log.close(CLOSED_WITHIN).await;
        report.poison(RECORDS as u64);
        Ok(true)
    }

    /// Every poisoned record was set aside, under one id, and nothing else was.
    pub async fn are_set_aside(&self, kafka: &Server, report: &mut Report) -> Result<()> {
        let log = kafka_server::log(kafka, digests::PARTITIONS)?;
        let all = wait::until("every poisoned record is set aside", SET_ASIDE_WITHIN, async || {
            let letters = letters(&log).await?;
            Ok(self.poisoned.iter().all(|place| letters.contains_key(place)).then_some(letters))
        });
        let letters = match all.await {
            Ok(letters) => letters,
            Err(_) => letters(&log).await?,
        };
        log.close(CLOSED_WITHIN).await;
        self.judge(&letters, report)
    }

    fn judge(&self, letters: &BTreeMap<Place, BTreeSet<String>>, report: &mut Report) -> Result<()> {
        let missing: Vec<_> = self.poisoned.iter().filter(|place| !letters.contains_key(place)).collect();
        let of = self.poisoned.len();
        report.set_aside((of - missing.len()) as u64, of as u64);
        ensure!(missing.is_empty(), "{} of {of} poisoned records were not set aside: {missing:?}", missing.len());
        for (place, ids) in letters {
            ensure!(ids.len() == 1, "{place:?} was set aside under {ids:?}");
            // Of the copies those of poisoned records may be set aside.
            let known = self.poisoned.contains(place) || self.copies.contains(place);
            ensure!(known, "{place:?} was set aside, and nobody poisoned it");
        }
        Ok(())
    }
}

fn place(position: Position) -> Place {
    (position.partition.topic.name.to_owned(), u32::from(position.partition.index), position.offset)
}

/// Partitions with records, and their heads.
async fn filled(log: &KafkaLog) -> Result<Vec<(LogPartition, Offset)>> {
    let mut filled = Vec::new();
    for topic in TOPICS {
        let heads = log.heads(topic).await?;
        let heads = (0..).zip(heads).filter(|(_, head)| *head > 0);
        filled.extend(heads.map(|(index, head)| (LogPartition { topic, index }, head)));
    }
    Ok(filled)
}

async fn first_from(log: &KafkaLog, partition: LogPartition, from: Offset) -> Result<Option<Record>> {
    let mut reader = log.read(partition, from).await?;
    let records = tokio::time::timeout(READ_WITHIN, reader.next()).await.context("nothing came from the log")?;
    Ok(records.transpose()?.and_then(|records| records.into_iter().next()))
}

/// The ids under which records were set aside, by their places.
async fn letters(log: &KafkaLog) -> Result<BTreeMap<Place, BTreeSet<String>>> {
    let mut letters = BTreeMap::<_, BTreeSet<_>>::new();
    let topic = topics::DEAD_LETTERS;
    for (index, head) in (0..).zip(log.heads(topic).await?) {
        for record in records::until(log, LogPartition { topic, index }, head).await? {
            let Event::DeadLetter(letter) = Event::decode(topic.name, &record.value)? else {
                bail!("{:?} is no dead letter", record.position);
            };
            let place = (letter.origin_topic, letter.origin_partition, letter.origin_offset);
            let id = record.id().with_context(|| format!("{:?} has no id", record.position))?;
            letters.entry(place).or_default().insert(id.to_string());
        }
    }
    Ok(letters)
}
