//! What an account and a hundred others are to each other, in one call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_proto::feeds::v1::GetHomeFeedResponse;
use prost::Message;

use crate::load;
use crate::measures::{rounds, say};
use crate::place::{BareWhat, Place};
use crate::row::{Reach, Row};
use crate::world::ACCOUNTS;

const IN_FLIGHT: usize = 16;
const WARM_UP: Duration = Duration::from_millis(300);

/// `BatchGetRelationships` of a hundred, beside a bare handler that answers as many bytes. Ours looks at 300 rows in three reads.
pub async fn of_a_hundred(place: &Place, window: Duration, count: usize) -> Result<Row> {
    let told = place.target.relationship(0).await?;
    ensure!(told.relationships.len() == 100, "{} relationships", told.relationships.len());
    ensure!(told.relationships.iter().any(|with| with.following || with.followed_by), "nobody follows anybody");
    let page = GetHomeFeedResponse { as_of: "a".repeat(told.encoded_len()), ..GetHomeFeedResponse::default() };
    let bare = place.bare(&BTreeMap::new(), BareWhat { page: page.encode_to_vec(), ..BareWhat::default() }).await?;
    let (own, other) = (place.target.relationships(ACCOUNTS), bare.target.pages(ACCOUNTS));
    let numbers = Arc::<AtomicU64>::default();
    load::closed(&own, IN_FLIGHT, WARM_UP, &numbers).await?.all_ok()?;
    load::closed(&other, IN_FLIGHT, WARM_UP, &numbers).await?.all_ok()?;
    let ceiling = async || Ok(load::closed(&other, IN_FLIGHT, window, &numbers).await?.all_ok()?.per_second());
    let ours = async || Ok(load::closed(&own, IN_FLIGHT, window, &numbers).await?.all_ok()?.per_second());
    let row = Row {
        measure: "relationships of 100".to_owned(),
        adapter: place.adapter().into(),
        unit: "/s".into(),
        ceiling_is: "a bare tonic handler that answers as many bytes".into(),
        reach: Reach::AtLeast(0.1),
        rounds: rounds(count, ceiling, ours).await?,
    };
    say(&row);
    Ok(row)
}
