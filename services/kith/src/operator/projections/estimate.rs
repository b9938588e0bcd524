//! `kith rebuild GROUP --dry-run`.

use kith_proto::ops::v1 as proto;
use serde_json::{Value, json};

use super::Desk;
use crate::operator::client::{OpsOptions, request};

/// Asks what a rebuild would take, and prints it.
pub async fn show(desk: &mut Desk, ops: &OpsOptions) -> anyhow::Result<()> {
    let asked = proto::EstimateRebuildRequest { service: desk.group.clone() };
    let answer = desk.client.estimate_rebuild(request(asked)).await;
    let found = answer.map_err(|status| desk.process.refused(&status))?.into_inner();
    match ops.json {
        true => say!("{}", document(&found)),
        false => crate::terminal::text(&text(&found)),
    }
    Ok(())
}

fn text(found: &proto::EstimateRebuildResponse) -> String {
    let (group, generation, records) = (&found.service, found.generation, found.records_total);
    let time = match (found.duration, found.records_per_second) {
        (Some(duration), Some(rate)) => {
            let measured = match found.rate_source() {
                proto::RateSource::LastFill => "measured when a generation was last filled here",
                proto::RateSource::LiveFolds => "of the live folds; a rebuild is usually several times faster",
                proto::RateSource::Unspecified => "measured",
            };
            format!("about {} s, at {rate:.0} records a second ({measured})", duration.seconds.max(1))
        }
        _ => "not known: this process has folded too few records to measure".to_owned(),
    };
    let space = match found.live_bytes {
        Some(bytes) => format!("about {}, as generation {} takes", readable(bytes), found.live_generation),
        None => "not known: the store does not say, or not in time".to_owned(),
    };
    let start = match &*found.refusal {
        "" => "nothing was started".to_owned(),
        refusal => format!("a rebuild would be refused now: {refusal}"),
    };
    format!("{group}: generation {generation} would fold {records} records\ntime:  {time}\nspace: {space}\n{start}\n")
}

fn document(found: &proto::EstimateRebuildResponse) -> Value {
    let source = match found.rate_source() {
        proto::RateSource::LastFill => Some("last fill"),
        proto::RateSource::LiveFolds => Some("live folds"),
        proto::RateSource::Unspecified => None,
    };
    json!({
        "group": found.service, "generation": found.generation, "records_total": found.records_total,
        "records_per_second": found.records_per_second, "rate_source": source,
        "seconds": found.duration.map(|duration| duration.seconds), "live_bytes": found.live_bytes,
        "live_generation": found.live_generation,
        "refusal": (!found.refusal.is_empty()).then_some(&found.refusal),
    })
}

/// Three digits, in decimal units.
fn readable(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut figure, mut unit) = (bytes as f64, 0);
    while figure >= 1_000.0 && unit + 1 < units.len() {
        (figure, unit) = (figure / 1_000.0, unit + 1);
    }
    let digits = if unit == 0 || figure >= 100.0 { 0 } else { 1 };
    format!("{figure:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said() {
        let known = proto::EstimateRebuildResponse {
            service: "feeds".to_owned(),
            generation: 2,
            records_total: 6_000,
            records_per_second: Some(2_000.0),
            rate_source: proto::RateSource::LastFill.into(),
            duration: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            live_bytes: Some(12_345_678),
            live_generation: 1,
            ..Default::default()
        };
        let said = text(&known);
        assert!(
            said.contains("6000 records") && said.contains("about 3 s, at 2000") && said.contains("12.3 MB"),
            "{said}"
        );
        assert!(said.contains("nothing was started"), "{said}");
        let unknown = proto::EstimateRebuildResponse { records_total: 6_000, ..Default::default() };
        assert_eq!(text(&unknown).matches("not known").count(), 2);
        assert_eq!((&document(&unknown)["seconds"], &document(&unknown)["live_bytes"]), (&Value::Null, &Value::Null));
        let refused = proto::EstimateRebuildResponse { refusal: "one is filled".to_owned(), ..known };
        assert!(text(&refused).contains("would be refused now: one is filled"));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 45_300_000, 999_999_999_999_999].map(readable),
            ["0 bytes", "999 bytes", "1.0 kB", "45.3 MB", "1000 TB"]
        );
    }
}
