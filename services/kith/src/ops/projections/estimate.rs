//! What a rebuild would take.

use kith_fold::{Measured, Projection};
use kith_proto::ops::v1 as proto;
use kith_service::Failure;
use kith_service::deadline::Deadline;

use super::shown::duration;
use super::{TIME_TO_ANSWER, now, now_ms};
use crate::ops::refusals::failed;

pub async fn estimate(projection: &Projection, deadline: Deadline) -> Result<proto::EstimateRebuildResponse, Failure> {
    let (group, generations) = (projection.group_name(), now(projection));
    let refusal = generations.start_rebuild(group, "", projection.build(), now_ms(projection)).err();
    let found = projection.estimate(deadline.at() - TIME_TO_ANSWER).await.map_err(failed)?;
    let source = found.rate.map_or(proto::RateSource::Unspecified, |rate| match rate.measured {
        Measured::Filling => proto::RateSource::LastFill,
        Measured::Folding => proto::RateSource::LiveFolds,
    });
    let rate = found.rate.map(|rate| rate.records_per_second);
    Ok(proto::EstimateRebuildResponse {
        service: group.to_owned(),
        generation: generations.next(),
        refusal: refusal.map(|why| why.to_string()).unwrap_or_default(),
        records_total: found.records,
        records_per_second: rate,
        rate_source: source.into(),
        duration: rate.and_then(|rate| duration((found.records as f64 / rate * 1_000.0) as u64)),
        live_bytes: found.live_bytes,
        live_generation: generations.live(),
    })
}
