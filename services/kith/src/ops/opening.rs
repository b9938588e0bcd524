//! `OpenEvents`: from that decision on, processes append records that need a later version of the events.

use kith_fold::{Build, Operations};
use kith_log::RecordId;
use kith_proto::errors::v1::Reason;
use kith_proto::ops::v1::EventsOpened;
use kith_proto::ops::v1::ops_event::Event;
use kith_proto::time;
use kith_runtime::Runtime;
use kith_service::Failure;

/// What this release brings to every fold group of the suite, whether the group runs in this process or not.
pub type Builds = Vec<(&'static str, Build)>;

/// The newest version of the events that all groups of this release read.
pub fn newest(builds: &Builds) -> u32 {
    builds.iter().map(|(_, build)| build.reads).min().unwrap_or_default()
}

/// The decision that opens `version`, or the newest for 0; `None`: it is open. Refused while a generation is left that no
/// process of this release folds: those that fold it, or would after a rollback, may not read that version.
pub fn open(
    builds: &Builds,
    operations: &Operations,
    version: u32,
    runtime: &Runtime,
) -> Result<Option<Event>, Failure> {
    let newest = newest(builds);
    let version = if version == 0 { newest } else { version };
    if version > newest {
        return Err(refused(format!("this release reads version {newest} of the events: ask a later one")));
    }
    if version <= operations.events() {
        return Ok(None);
    }
    for (group, build) in builds {
        if let Some(number) = operations.generations(group).foreign_to(build.folds_version) {
            let command = format!("kith drop-generation {group} --generation {number}");
            return Err(refused(format!("generation {number} of {group} is of another release: {command}")));
        }
    }
    let mut id = [0; 16];
    runtime.fill_random(&mut id).map_err(|error| Failure::defect("a request id", &error))?;
    let (request_id, open_time) = (RecordId(id).to_string(), Some(time::timestamp(runtime.now_ms())));
    Ok(Some(Event::EventsOpened(EventsOpened { version, request_id, open_time })))
}

fn refused(why: String) -> Failure {
    Failure::new(Reason::GenerationState, why)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kith_log::embedded::EmbeddedLog;
    use kith_log::{EventLog, topics};

    use super::*;

    #[tokio::test]
    async fn events_are_opened_once_no_other_release_has_a_generation() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let log = EmbeddedLog::open(folder.path(), 1, runtime.clone()).unwrap();
        log.create_topics(&topics::ALL).await.unwrap();
        let operations = Operations::open(Arc::clone(&log) as Arc<dyn EventLog>, runtime.clone()).await.unwrap();
        let build = |folds_version| Build { folds_version, reads: 2 };
        let builds = vec![("posts", build(2)), ("identity", build(1))];
        let open = |version| open(&builds, &operations, version, &runtime);
        let refused = |version| format!("{:?}", open(version).unwrap_err());

        assert!(refused(3).contains("ask a later one"));
        assert!(refused(0).contains("kith drop-generation posts --generation 1"));
        assert_eq!(open(1).unwrap(), None, "it needs no opening");
        let posts = || operations.generations("posts");
        operations.announce(posts().start_rebuild("posts", "", 2, 5).unwrap()).await.unwrap();
        operations.announce(posts().promote("posts", 2, 6).unwrap()).await.unwrap();
        assert!(refused(2).contains("kith drop-generation posts --generation 1"), "kept for a rollback");
        operations.announce(posts().drop("posts", 1, 7).unwrap()).await.unwrap();
        operations.announce(open(0).unwrap().unwrap()).await.unwrap();
        assert_eq!((operations.events(), open(2).unwrap()), (2, None));
    }
}
