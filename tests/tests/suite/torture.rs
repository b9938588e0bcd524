//! A fixed share of `make torture`: real faults, seconds of each.

use std::time::{Duration, Instant};

use kith_tests::servers;
use kith_tests::torture::{self, How, Report, Rounds};

const SEED: u64 = 20;
/// A fault over real servers, and its end, takes some ten seconds, a minute on a machine with other work.
const LIVE_FAULTS: u64 = 3;
const LIVE_WITHIN: Duration = Duration::from_secs(600);

fn passed(report: &Report) {
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_loses_nothing() {
    let mut report = Report::default();
    for how in How::ALL {
        torture::every_write(how, 1, 40, 20, &mut report).await;
    }
    torture::embedded_rounds(SEED, 60, Instant::now() + Duration::from_secs(10), &mut report).await;
    passed(&report);
    for kind in torture::embedded_kinds() {
        assert!(report.inflicted(kind) > 0, "no {kind}:\n{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_servers_that_fail_lose_nothing() {
    if servers::why_not_live().is_some() {
        return;
    }
    let mut report = Report::default();
    let started = Instant::now();
    let enough = |report: &Report| report.inflicted_of_all() >= LIVE_FAULTS || started.elapsed() >= LIVE_WITHIN;
    torture::live_rounds(Rounds { seed: SEED, accounts: 60, enough: &enough, only: "" }, &mut report).await.unwrap();
    passed(&report);
    // Some of the kinds only.
    assert!(report.inflicted_of_all() >= LIVE_FAULTS, "{report}");
}
