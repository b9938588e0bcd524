//! `OpenEvents`: from that decision on, processes append records that need a later version of the events.

use kith_fold::{Build, Operations};
use kith_service::Failure;

use super::refusals::{stood, undecided};

/// What this release brings to every fold group of the suite, whether the group runs in this process or not.
pub type Builds = Vec<(&'static str, Build)>;

/// The newest version of the events that all groups of this release read.
pub fn newest(builds: &Builds) -> u32 {
    builds.iter().map(|(_, build)| build.reads).min().unwrap_or_default()
}

/// Opens `version` as the decision of `by`, unless it is open: see [`Operations::open_events`].
pub async fn open(builds: &Builds, operations: &Operations, version: u32, by: &str) -> Result<(), Failure> {
    let newest = newest(builds);
    if version == 0 || version > newest {
        return Err(Failure::field_invalid("version", &format!("is from 1 to {newest}, which this release reads")));
    }
    if version > operations.events() {
        operations.open_events(version, builds, by).await.map_err(undecided)?;
    }
    stood(operations.events() >= version)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kith_log::embedded::EmbeddedLog;
    use kith_log::{EventLog, topics};
    use kith_proto::ops::v1::EventsOpened;
    use kith_proto::ops::v1::ops_event::Event;
    use kith_runtime::Runtime;

    use super::*;

    #[tokio::test]
    async fn events_are_opened_once_no_other_release_has_a_generation() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(folder.path(), 1, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let operations = Operations::open(Arc::clone(&log) as Arc<dyn EventLog>, runtime).await.unwrap();
        let build = |folds_version| Build { folds_version, reads: 2 };
        let builds = vec![("posts", build(2)), ("identity", build(1))];
        let refused = async |version| format!("{:?}", open(&builds, &operations, version, "ada").await.unwrap_err());

        for none in [0, 3] {
            assert!(refused(none).await.contains("from 1 to 2"));
        }
        assert!(refused(2).await.contains("promote one of this release first"));
        open(&builds, &operations, 1, "ada").await.unwrap();
        let posts = || operations.generations("posts");
        operations.announce(posts().start_rebuild("posts", "", build(2), 5).unwrap()).await.unwrap();
        operations.announce(posts().promote("posts", 2, 6).unwrap()).await.unwrap();
        assert!(refused(2).await.contains("generation 1 of posts is of another release: drop it"), "for a rollback");
        operations.announce(posts().drop("posts", 1, 7).unwrap()).await.unwrap();
        operations.announce(posts().start_rebuild("posts", "", build(1), 8).unwrap()).await.unwrap();
        let missed = EventsOpened { version: 2, known_until: 3, ..EventsOpened::default() };
        operations.announce(Event::EventsOpened(missed)).await.unwrap();
        assert_eq!(operations.events(), 1, "a generation was begun after the look");
        operations.announce(posts().drop("posts", 3, 9).unwrap()).await.unwrap();
        for _ in 0..2 {
            open(&builds, &operations, 2, "ada").await.unwrap();
            assert_eq!(operations.events(), 2);
        }
    }
}
