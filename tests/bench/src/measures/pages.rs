//! Pages of home feeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use prost::Message;
use tonic::Status;

use crate::desk::{self, Desk, Live};
use crate::load::{self, Call};
use crate::measures::{rounds, say};
use crate::place::{BareWhat, Place};
use crate::raw::Raw;
use crate::recorder::Noted;
use crate::row::{Reach, Row};
use crate::world::{self, PARTITIONS, Thing, World};

const IN_FLIGHT: usize = 16;
const READS_IN_FLIGHT: usize = 32;
const WARM_UP: Duration = Duration::from_millis(300);
/// Readers of warm pages.
const WARM_READERS: u64 = 20;

/// Pages of fifty that were read just before, beside a bare handler that answers the same bytes.
pub async fn warm(place: &Place, window: Duration, count: usize) -> Result<Row> {
    let page = place.target.page(0, Vec::new()).await?;
    ensure!(page.items.len() == 50, "a page of {} items", page.items.len());
    ensure!(page.items.iter().all(|item| item.author.is_some() && item.counts.is_some()), "a page without authors");
    let bytes = page.encode_to_vec();
    let bare = place.bare(&BTreeMap::new(), BareWhat { page: bytes, ..BareWhat::default() }).await?;
    let (own, other) = (place.target.pages(WARM_READERS), bare.target.pages(WARM_READERS));
    let numbers = Arc::<AtomicU64>::default();
    load::closed(&own, IN_FLIGHT, WARM_UP, &numbers).await?.all_ok()?;
    load::closed(&other, IN_FLIGHT, WARM_UP, &numbers).await?.all_ok()?;
    let ceiling = async || Ok(load::closed(&other, IN_FLIGHT, window, &numbers).await?.all_ok()?.per_second());
    let ours = async || Ok(load::closed(&own, IN_FLIGHT, window, &numbers).await?.all_ok()?.per_second());
    let row = Row {
        measure: "home feed page of 50, warm".to_owned(),
        adapter: place.adapter().into(),
        unit: "/s".into(),
        ceiling_is: "a bare tonic handler that answers the same bytes".into(),
        reach: Reach::AtLeast(0.5),
        rounds: rounds(count, ceiling, ours).await?,
    };
    say(&row);
    Ok(row)
}

/// Pages of fifty of readers who have not read for long, beside the same reads of the same rows without us.
pub async fn cold(mut live: Option<&mut Live>, world: World, count: usize) -> Result<Row> {
    let readers = world.accounts / (2 * count as u64);
    let (written, pages) = noted(live.as_deref_mut(), world).await?;
    let place = Place::over(world, live.as_deref_mut(), &[]).await?;
    let folder = tempfile::tempdir()?;
    let raw = match live {
        None => Raw::fjall(&folder.path().join("raw"))?,
        Some(live) => Raw::cql(&live.cql_address()).await?,
    };
    fill(&raw, &written).await?;
    let (raw, pages) = (Arc::new(raw), Arc::new(pages));
    let raw_page: Call = Arc::new(move |n| {
        let (raw, pages) = (Arc::clone(&raw), Arc::clone(&pages));
        async move {
            let page = Arc::clone(&pages[n as usize % pages.len()]);
            let reads = (0..page.len()).map(|index| read(Arc::clone(&raw), Arc::clone(&page), index));
            let read = stream::iter(reads).buffer_unordered(READS_IN_FLIGHT);
            let read = read.try_fold(0, async |sum, bytes| Ok(sum + bytes)).await;
            read.map(|bytes| bytes.to_string()).map_err(|error| Status::unavailable(error.to_string()))
        }
        .boxed()
    });
    let own_page = place.target.pages(world.accounts);
    let numbers = [Arc::<AtomicU64>::default(), Arc::default()];
    let ceiling = async || each_once(&raw_page, readers, &numbers[0]).await;
    let ours = async || each_once(&own_page, readers, &numbers[1]).await;
    let row = Row {
        measure: "home feed page of 50, cold".to_owned(),
        adapter: place.adapter().into(),
        unit: "/s".into(),
        ceiling_is: "the same reads raw, without us".into(),
        reach: Reach::AtLeast(0.6),
        rounds: rounds(count, ceiling, ours).await?,
    };
    say(&row);
    Ok(row)
}

/// What the folds write of the world, and what a page of each reader reads.
async fn noted(live: Option<&mut Live>, world: World) -> Result<(Vec<Noted>, Vec<Arc<Vec<Noted>>>)> {
    let is_embedded = live.is_none();
    let desk = Desk::new(live, PARTITIONS, true).await?;
    let ports = &desk.ports;
    world::append(&ports.log, &ports.runtime, world.facts(ports.runtime.now_ms())).await?;
    let recorder = desk.recorder.as_ref().context("the desk has a recorder")?;
    let groups = [desk::feeds(PARTITIONS)];
    recorder.start();
    let (_, running) = desk.fold(&groups).await?;
    let written = recorder.take();
    desk::end(running).await;
    let [group] = groups;
    // Embedded tables are read by the process that folds them: what it has stored of how far it is may be a moment old.
    let projection = kith_stage::projection(ports, group, is_embedded).await?;
    projection.serving().context("no generation serves")?.lag.caught_up().await;
    let feeds = kith_projector::Feeds::new(kith_stage::kit(&projection, PARTITIONS, u64::MAX));
    let mut pages = Vec::new();
    for reader in 0..world.accounts {
        let message = GetHomeFeedRequest { include_shares: true, page_size: 50, ..GetHomeFeedRequest::default() };
        let request = kith_stage::by(world::id(Thing::Account, reader), message);
        recorder.start();
        let page = feeds.get_home_feed(request).await?.into_inner();
        let reads = recorder.take().into_iter().filter(|noted| !matches!(noted, Noted::Write { .. }));
        ensure!(page.items.len() == 50, "a page of {} items", page.items.len());
        pages.push(Arc::new(reads.collect()));
    }
    Ok((written, pages))
}

async fn fill(raw: &Raw, written: &[Noted]) -> Result<()> {
    let writes = written.iter().filter_map(|noted| match noted {
        Noted::Write { partition, cells } => Some(raw.write(partition, cells)),
        Noted::Get { .. } | Noted::Slice { .. } => None,
    });
    stream::iter(writes).buffer_unordered(READS_IN_FLIGHT).try_collect().await
}

async fn read(raw: Arc<Raw>, page: Arc<Vec<Noted>>, index: usize) -> Result<usize> {
    match &page[index] {
        Noted::Get { partition, keys } => raw.get(partition, keys).await,
        Noted::Slice { partition, from, limit } => raw.slice(partition, from, *limit).await,
        Noted::Write { .. } => Ok(0),
    }
}

/// The next `readers` pages, none of which was read before; gives pages a second.
async fn each_once(page: &Call, readers: u64, numbers: &AtomicU64) -> Result<f64> {
    let from = numbers.fetch_add(readers, Ordering::Relaxed);
    let started = tokio::time::Instant::now();
    let all = stream::iter(from..from + readers).map(|n| page(n)).buffer_unordered(IN_FLIGHT);
    let _tokens: Vec<String> = all.try_collect().await?;
    Ok(readers as f64 / started.elapsed().as_secs_f64())
}
