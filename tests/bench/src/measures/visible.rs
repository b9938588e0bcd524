//! From a post's OK until it is read in a follower's home feed, while the suite does half of what it can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use kith_log::{EventLog, LogPartition, NewRecord, topics};
use kith_proto::posts::v1::CreatePostRequest;
use tokio::time::Instant;

use crate::desk::{Desk, Live};
use crate::load;
use crate::measures::{say, say_steps};
use crate::place::{BareWhat, Place, adapter};
use crate::raw::Raw;
use crate::row::{Pair, Reach, Row};
use crate::target::Subjects;
use crate::template::{Kind, Template};
use crate::world::TEXT;

/// Callers of the load that finds out how much is half.
const PEAK_IN_FLIGHT: usize = 64;
const PEAK_WINDOW: Duration = Duration::from_secs(2);
const KEY: &str = "probe";

/// p50 and p99: one row each.
pub async fn at_half_load(
    place: &Place,
    live: Option<&Live>,
    templates: &BTreeMap<Kind, Template>,
    window: Duration,
    times: usize,
) -> Result<Vec<Row>> {
    let bare = place.bare(templates, BareWhat { appends: true, rows: true, ..BareWhat::default() }).await?;
    let posts = place.target.commands(Kind::CreatePost, Subjects::Uniform(1));
    let bare_posts = bare.target.commands(Kind::CreatePost, Subjects::Uniform(1));
    let bare_numbers = Arc::<AtomicU64>::default();
    let started = Instant::now();
    let peak = load::closed(&posts, PEAK_IN_FLIGHT, PEAK_WINDOW, &place.numbers).await?.all_ok()?;
    place.target.folded(&peak.token).await?;
    let rate = peak.answered as f64 / started.elapsed().as_secs_f64() / 2.0;
    let chain = Chain::new(live, place).await?;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let load = load::open(&bare_posts, rate, window, &bare_numbers);
        let (_, raw) = tokio::try_join!(load, chain.probe(window))?;
        let load = load::open(&posts, rate, window, &place.numbers);
        let before = place.steps().await?;
        let (_, own) = tokio::try_join!(load, probe(place, window))?;
        say_steps(&place.steps().await?.lines_since(&before));
        p50.push(Pair { ceiling: ms(&raw, 0.5), ours: ms(&own, 0.5) });
        p99.push(Pair { ceiling: ms(&raw, 0.99), ours: ms(&own, 0.99) });
    }
    let row = |what: &str, rounds| Row {
        measure: format!("post OK to follower's home feed at half load, {what}"),
        adapter: place.adapter().into(),
        unit: "ms".into(),
        ceiling_is: "produce, consume, write one row, under the same load of a bare handler".into(),
        reach: Reach::AtMost(2.0),
        rounds,
    };
    let rows = vec![row("p50", p50), row("p99", p99)];
    rows.iter().for_each(say);
    Ok(rows)
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}

/// Posts of account 0 and reads of account 1, who follows them: one after the other.
async fn probe(place: &Place, window: Duration) -> Result<Histogram<u64>> {
    let (mut histogram, started, mut n) = (Histogram::new(3)?, Instant::now(), 0);
    while started.elapsed() < window {
        n += 1;
        let request_id = format!("probe-{}-{n}", place.numbers.load(std::sync::atomic::Ordering::Relaxed));
        let (text, languages) = (TEXT.to_owned(), vec!["en".to_owned()]);
        let message = CreatePostRequest { text, languages, request_id, at_least: Vec::new() };
        let created = place.target.create_post(0, message).await?;
        let (answered, token) = (Instant::now(), created.consistency_token);
        place.target.shown(1, token.clone()).await?;
        histogram.record(u64::try_from(answered.elapsed().as_micros())?)?;
        // Whether it is so; what a page takes is a row of its own.
        let page = place.target.page(1, vec![token]).await?;
        let made = created.post.context("a post without a post")?.post_id;
        let is_there = page.items.iter().any(|item| item.post.as_ref().is_some_and(|post| post.post_id == made));
        ensure!(is_there, "a page at least as new as a post is without it");
    }
    Ok(histogram)
}

/// A log and a raw store, without us.
struct Chain {
    log: Arc<dyn EventLog>,
    raw: Raw,
    _desk: Option<Desk>,
    _folder: tempfile::TempDir,
}

impl Chain {
    async fn new(live: Option<&Live>, place: &Place) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        ensure!(place.adapter() == adapter(live.is_some()), "a place of the other kind");
        let Some(live) = live else {
            let desk = Desk::new(None, 1, false).await?;
            let (log, raw) = (Arc::clone(&desk.ports.log), Raw::fjall(&folder.path().join("raw"))?);
            return Ok(Self { log, raw, _desk: Some(desk), _folder: folder });
        };
        let log = kith_tests::kafka_server::log(&live.kafka, crate::world::PARTITIONS)?;
        Ok(Self { log, raw: Raw::cql(&live.cql_address()).await?, _desk: None, _folder: folder })
    }

    /// A record at a time: from when it is durable until its row is written.
    async fn probe(&self, window: Duration) -> Result<Histogram<u64>> {
        let topic = topics::FEEDS;
        let partition = LogPartition::of_key(topic, KEY, self.log.partition_count());
        let head = self.log.heads(topic).await?[usize::from(partition.index)];
        let mut reader = self.log.read(partition, head).await?;
        let (mut histogram, started) = (Histogram::new(3)?, Instant::now());
        while started.elapsed() < window {
            let value = TEXT.as_bytes().to_vec().into();
            let record = NewRecord { topic, key: KEY.to_owned(), headers: Vec::new(), value };
            let appended = self.log.append(record).await?;
            let answered = Instant::now();
            loop {
                let records = reader.next().await.context("the reader ended")??;
                if records.iter().any(|record| record.position == appended) {
                    break;
                }
            }
            let key = appended.offset.to_be_bytes().to_vec();
            self.raw.write(KEY.as_bytes(), &[(key, TEXT.as_bytes().to_vec().into())]).await?;
            histogram.record(u64::try_from(answered.elapsed().as_micros())?)?;
        }
        Ok(histogram)
    }
}
