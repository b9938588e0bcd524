//! A release with one more view, one more fold group and other rules for edits, over and back under load: as docs/upgrades.md says,
//! on both adapters.
//!
//! What clients were told must agree with the log, and the tables of each release with a fresh fold by that release: so the
//! new view has its whole history, and so has the new group. The groups that the release does not change go on in their tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kith_log::embedded::EmbeddedLog;
use kith_log::{EventLog as _, RecordId};
use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1::CreateAccountRequest;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_proto::posts::v1::{CreatePostRequest, EditPostRequest};
use kith_runtime::Runtime;
use kith_service::auth::{SessionRef, TokenIssuer};
use kith_service::keys::KeyFolder;
use kith_tests::kith::{self, ADMIN_PORT, Launch};
use kith_tests::server::Server;
use kith_tests::simulation::Lasts;
use kith_tests::suite::{self, Suite, groups};
use kith_tests::{digests, http, kafka_server, next, records, servers, wait};
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const SESSION: SessionRef = SessionRef { id: RecordId([3; 16]), made_at: 0 };
const SEED: u64 = 15;
const PEOPLE: usize = 60;
/// Folded by a release before the next one comes.
const RECORDS_BETWEEN: u64 = 300;
/// A process is killed so much later after each start, until it gets through before.
const KILLED_LATER_BY: Duration = Duration::from_millis(150);
const WITHIN: Duration = Duration::from_secs(240);
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// The groups whose folds the next release changes, and the services that host them.
const CHANGED: [(&str, &str); 2] = [("posts", "posts"), ("feeds", "projector")];
/// The one that only it has.
const NEW: (&str, &str) = (next::edits::GROUP, "projector");
const UNCHANGED: [&str; 3] = ["identity", "engagement", "messaging"];

/// A path where one of two releases is installed.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new(binary: &Path) -> Self {
        let installed = Self { folder: tempfile::tempdir().unwrap() };
        installed.replace(binary);
        installed
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kith")
    }

    fn replace(&self, binary: &Path) {
        let link = self.folder.path().join("new");
        std::os::unix::fs::symlink(binary, &link).unwrap();
        std::fs::rename(link, self.path()).unwrap();
    }
}

/// Starts what is installed there, and kills it later and later, until it is ready before it is killed.
async fn start_through_kills(process: &mut Server) {
    let mut lives = KILLED_LATER_BY;
    loop {
        process.kill_9().unwrap();
        process.launch().unwrap();
        let ready = tokio::time::timeout(lives, process.ready()).await;
        if let Ok(ready) = ready {
            return ready.unwrap();
        }
        lives += KILLED_LATER_BY;
    }
}

/// Each group's tables against a fresh fold by the process's own release, which is dropped afterwards.
async fn are_as_folded_anew(suite: &Suite, groups: &[(&str, &str)]) {
    for (service, process) in groups {
        decided(suite, process, &["rebuild", service]).await;
        let said = decided(suite, process, &["verify", service]).await;
        let verdict: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(verdict["equal"], true, "{service}: {said}");
        let fresh = verdict["generations"][1].to_string();
        suite.operate(process, &["drop-generation", service, "--generation", &fresh]).await.unwrap();
    }
}

/// The number of the generation of that service that serves, and the version of the folds that fill it.
async fn live(suite: &Suite, process: &str, service: &str) -> (u64, u64) {
    let said = suite.operate(process, &["projections", service]).await.unwrap();
    let all: Value = serde_json::from_str(&said).unwrap();
    let live = all["projections"].as_array().unwrap().iter().find(|one| one["state"] == "live").unwrap();
    (live["generation"].as_u64().unwrap(), live["folds_version"].as_u64().unwrap())
}

/// No other generation of the group was ever begun: it is not filled anew.
async fn was_never_filled_anew(suite: &Suite, process: &str, group: &str) {
    let said = suite.operate(process, &["projections", group]).await.unwrap();
    let all: Value = serde_json::from_str(&said).unwrap();
    let numbers: Vec<_> = all["projections"].as_array().unwrap().iter().map(|one| &one["generation"]).collect();
    assert_eq!(numbers, [1], "{group}");
}

async fn is_unknown(suite: &Suite, process: &str, group: &str) {
    let refused = suite.operate(process, &["projections", group]).await.unwrap_err().to_string();
    assert!(refused.contains("is no fold group that runs in this process"), "{refused}");
}

async fn is_ready(process: &Server) {
    wait::until("it is ready", WITHIN, async || {
        let ready = http::get(process.socket(ADMIN_PORT), "/readyz").await;
        Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .await
    .unwrap();
}

async fn is_filled(suite: &Suite, process: &str, service: &str) {
    wait::until("the generation is filled", WITHIN, async || {
        let status = decided(suite, process, &["rebuild", service, "--status"]).await;
        Ok(status.contains("\"caught_up\":true").then_some(()))
    })
    .await
    .unwrap();
}

/// An operator's command, again while it is refused with "not now".
async fn decided(suite: &Suite, process: &str, arguments: &[&str]) -> String {
    let decide = async || suite.operate_unless_refused(process, arguments).await;
    wait::until("a command is not refused", WITHIN, decide).await.unwrap()
}

/// That it is not ready, and why.
async fn says_that_it_waits(process: &Server, why: &str) {
    wait::until("it says for what it waits", WITHIN, async || {
        let ready = http::get(process.socket(ADMIN_PORT), "/readyz").await;
        Ok(ready.is_ok_and(|answer| answer.status == 503 && answer.body.contains(why)).then_some(()))
    })
    .await
    .unwrap();
}

/// Opens the events of the next release, which its operators are refused while `kept`, a generation of a service, is there.
async fn open_events(suite: &Suite, process: &str, kept: &[(&str, u64)]) {
    for (service, generation) in kept {
        let refused = suite
            .operate(process, &["open-events", "--version", &next::EVENTS.to_string()])
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("GENERATION_STATE") && refused.contains("drop it"), "{refused}");
        let of = process_of(service, process);
        decided(suite, of, &["drop-generation", service, "--generation", &generation.to_string()]).await;
    }
    for _ in 0..2 {
        let opened = suite.operate(process, &["open-events", "--version", &next::EVENTS.to_string()]).await.unwrap();
        assert_eq!(opened.trim(), format!("{{\"events_version_open\":{}}}", next::EVENTS));
    }
}

/// The process that answers for a group: its own, where each has one.
fn process_of<'a>(service: &str, otherwise: &'a str) -> &'a str {
    let own = CHANGED.into_iter().find(|(changed, _)| *changed == service && otherwise != "suite");
    own.map_or(otherwise, |(_, process)| process)
}

/// Writes a post and edits it without naming a revision: whether the edit wins, which the rules of the next release forbid.
async fn unnamed_edit_wins(suite: &Suite, keys: &Path, when: &str) -> bool {
    let issuer = TokenIssuer::new(KeyFolder::at(keys).signing_key().unwrap(), Runtime::system());
    let bearer = format!("Bearer {}", issuer.issue(RecordId([7; 16]), SESSION).unwrap().text);
    let socket = suite.sockets()["posts"];
    let channel = Endpoint::from_shared(format!("http://{socket}")).unwrap().connect().await.unwrap();
    let by_author = move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        Ok(request)
    };
    let mut posts = PostServiceClient::with_interceptor(channel, by_author);
    let written = CreatePostRequest { text: format!("written {when}"), ..CreatePostRequest::default() };
    let written = posts.create_post(written).await.unwrap().into_inner();
    let (post_id, at_least) = (written.post.unwrap().post_id, vec![written.consistency_token]);
    let edit = EditPostRequest { post_id, text: format!("edited {when}"), at_least, ..EditPostRequest::default() };
    match posts.edit_post(edit).await {
        Ok(_) => true,
        Err(status) if status.code() == Code::Aborted => false,
        Err(status) => panic!("{status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_suite_goes_over_and_back_through_kills() {
    let (base, later) = (kith::binary().await.unwrap(), kith::next_binary().await.unwrap());
    let installed = Installed::new(&base);
    let launch = Launch::run("suite").binary(&installed.path());
    let mut suite = Suite::of("suite", launch).await.unwrap();
    let keys = suite.process("suite").unwrap().folder().join(".kith/keys");
    let mut clients = suite.start_workload(&keys, SEED, PEOPLE, Lasts::UntilTold).unwrap();
    let before = async |suite: &Suite| live(suite, "suite", "posts").await;
    let (first, version) = before(&suite).await;
    suite.folded("suite", RECORDS_BETWEEN).await.unwrap();
    for (release, serves) in
        [(&later, (first + 1, version + 1)), (&base, (first, version)), (&later, (first + 1, version + 1))]
    {
        installed.replace(release);
        start_through_kills(suite.process("suite").unwrap()).await;
        assert_eq!(before(&suite).await, serves);
        for group in UNCHANGED {
            was_never_filled_anew(&suite, "suite", group).await;
        }
        are_as_folded_anew(&suite, &CHANGED.map(|(group, _)| (group, "suite"))).await;
        match release == &later {
            true => assert_eq!(live(&suite, "suite", NEW.0).await, (1, 1)),
            false => is_unknown(&suite, "suite", NEW.0).await,
        }
        suite.folded("suite", RECORDS_BETWEEN).await.unwrap();
    }
    assert!(unnamed_edit_wins(&suite, &keys, "before").await);
    open_events(&suite, "suite", &CHANGED.map(|(service, _)| (service, first))).await;
    assert!(!unnamed_edit_wins(&suite, &keys, "after").await);
    // There is no way back any more, and nobody is given anything wrong.
    installed.replace(&base);
    suite.process("suite").unwrap().kill_9().unwrap();
    suite.process("suite").unwrap().launch().unwrap();
    says_that_it_waits(suite.process("suite").unwrap(), "run a later release").await;
    installed.replace(&later);
    suite.process("suite").unwrap().restart().await.unwrap();
    assert!(!unnamed_edit_wins(&suite, &keys, "at last").await);
    clients.end(WITHIN).await.unwrap();
    let process = suite.process("suite").unwrap();
    process.kill_9().unwrap();
    let log = EmbeddedLog::open(&process.folder().join(".kith/log"), digests::PARTITIONS, Runtime::system()).unwrap();
    let all = records::of(&*log).await.unwrap();
    drop(log);
    process.restart().await.unwrap();
    assert!(clients.holds(&all).await.unwrap() > 0);
    was_never_filled_anew(&suite, "suite", NEW.0).await;
    let all: Vec<_> = groups().unwrap().into_iter().chain([NEW]).map(|(group, _)| (group, "suite")).collect();
    are_as_folded_anew(&suite, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_run_side_by_side_over_real_servers() {
    let Some((mut kafka, mut cassandra)) = servers::both().await else { return };
    let (base, later) = (kith::binary().await.unwrap(), kith::next_binary().await.unwrap());
    let keys = tempfile::tempdir().unwrap();
    let mut suite = Suite::live(&mut kafka, &mut cassandra, keys.path()).await.unwrap();
    let start = async |name: &str, process: &str, binary: &Path| {
        let launch = Suite::launch(name, &[("services", process)], &kafka, &cassandra, keys.path());
        launch.binary(binary).alive().start().await.unwrap()
    };
    // Where callers call, releases come and go; the others are beside.
    let installed = Installed::new(&base);
    for (_, process) in CHANGED {
        suite.remove(process);
        let server = start(process, process, &installed.path()).await;
        is_ready(&server).await;
        suite.processes.insert(process.to_owned(), server);
    }
    let mut clients = suite.start_workload(keys.path(), SEED, PEOPLE, Lasts::UntilTold).unwrap();
    suite.folded("posts", RECORDS_BETWEEN).await.unwrap();
    suite::init_by(&later, &kafka, &cassandra, keys.path()).await.unwrap();
    let mut were = Vec::new();
    for (service, process) in CHANGED {
        let beside = format!("{process}-next");
        let server = start(&beside, process, &later).await;
        says_that_it_waits(&server, "this release has folds").await;
        suite.processes.insert(beside.clone(), server);
        were.push(live(&suite, &beside, service).await);
        suite.operate(&beside, &["rebuild", service, "--no-wait"]).await.unwrap();
        // Killed while it fills, and right after the promotion.
        suite.process(&beside).unwrap().restart().await.unwrap();
        is_filled(&suite, &beside, service).await;
        decided(&suite, &beside, &["promote", service]).await;
        suite.process(&beside).unwrap().restart().await.unwrap();
        is_ready(suite.process(&beside).unwrap()).await;
        // The old one answers on.
        is_ready(suite.process(process).unwrap()).await;
    }
    installed.replace(&later);
    for ((service, process), (first, version)) in CHANGED.into_iter().zip(&were) {
        suite.process(process).unwrap().restart().await.unwrap();
        is_ready(suite.process(process).unwrap()).await;
        assert_eq!(live(&suite, process, service).await, (first + 1, version + 1));
        suite.remove(&format!("{process}-next"));
    }
    suite.folded("posts", RECORDS_BETWEEN).await.unwrap();
    assert_eq!(live(&suite, NEW.1, NEW.0).await, (1, 1));
    are_as_folded_anew(&suite, &[&CHANGED[..], &[NEW]].concat()).await;
    for group in UNCHANGED {
        was_never_filled_anew(&suite, group, group).await;
    }
    installed.replace(&base);
    for ((service, process), was) in CHANGED.into_iter().zip(&were) {
        let beside = format!("{process}-too");
        let server = start(&beside, process, &base).await;
        is_ready(&server).await;
        suite.processes.insert(beside.clone(), server);
        decided(&suite, &beside, &["rollback", service]).await;
        suite.process(process).unwrap().restart().await.unwrap();
        is_ready(suite.process(process).unwrap()).await;
        assert_eq!(live(&suite, process, service).await, *was);
    }
    is_unknown(&suite, NEW.1, NEW.0).await;
    clients.end(WITHIN).await.unwrap();
    let log = kafka_server::log(&kafka, digests::PARTITIONS).unwrap();
    let all = records::of(&*log).await.unwrap();
    log.close(CLOSED_WITHIN).await;
    assert!(clients.holds(&all).await.unwrap() > 0);
    are_as_folded_anew(&suite, &CHANGED).await;
    goes_over_for_good(&mut suite, (&base, &later), &installed, &were, keys.path(), start).await;
}

/// Over again, and no way back: every process is of the next release then, at addresses that no client knows.
async fn goes_over_for_good(
    suite: &mut Suite,
    (base, later): (&Path, &Path),
    installed: &Installed,
    were: &[(u64, u64)],
    keys: &Path,
    start: impl AsyncFn(&str, &str, &Path) -> Server,
) {
    assert!(unnamed_edit_wins(suite, keys, "before").await);
    installed.replace(later);
    for ((service, process), (first, version)) in CHANGED.into_iter().zip(were) {
        suite.process(process).unwrap().restart().await.unwrap();
        is_ready(suite.process(process).unwrap()).await;
        decided(suite, process, &["rollback", service]).await;
        suite.remove(&format!("{process}-too"));
        assert_eq!(live(suite, process, service).await, (first + 1, version + 1));
    }
    for process in UNCHANGED {
        suite.remove(process);
        let server = start(process, process, later).await;
        is_ready(&server).await;
        suite.processes.insert(process.to_owned(), server);
    }
    let kept: Vec<_> = CHANGED.into_iter().zip(were).map(|((service, _), (first, _))| (service, *first)).collect();
    open_events(suite, "identity", &kept).await;
    assert!(!unnamed_edit_wins(suite, keys, "after").await);
    let server = start("identity-old", "identity", base).await;
    says_that_it_waits(&server, "run a later release").await;
    drop(server);
    are_as_folded_anew(suite, &CHANGED).await;
}

/// What a process answers to a caller of feeds.
async fn feeds(suite: &Suite, account: &str, keys: &Path) -> Result<(), Status> {
    let runtime = Runtime::system();
    let issuer = TokenIssuer::new(KeyFolder::at(keys).signing_key().unwrap(), runtime);
    let token = issuer.issue(RecordId::parse(account).unwrap(), SESSION).unwrap();
    let mut request = Request::new(GetHomeFeedRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.text).parse().unwrap());
    let mut feeds = FeedServiceClient::connect(format!("http://{}", suite.addresses())).await.unwrap();
    feeds.get_home_feed(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_waits_leaves_the_others_serving() {
    let (base, later) = (kith::binary().await.unwrap(), kith::next_binary().await.unwrap());
    let installed = Installed::new(&base);
    let mut suite = Suite::of("suite", Launch::run("suite").binary(&installed.path()).alive()).await.unwrap();
    is_ready(suite.process("suite").unwrap()).await;
    suite.demo(20).await.unwrap();
    // The next release cannot fill its tables of feeds.
    suite.operate("suite", &["pause", "feeds"]).await.unwrap();
    installed.replace(&later);
    let process = suite.process("suite").unwrap();
    process.restart().await.unwrap();
    let keys = process.folder().join(".kith/keys");
    wait::until("it says that one group waits, and no other", WITHIN, async || {
        let ready = http::get(process.socket(ADMIN_PORT), "/readyz").await?;
        let report: Value = serde_json::from_str(&ready.body)?;
        let checks = report["checks"].as_array().context("no checks")?;
        let wait = checks.iter().filter(|check| check["ready"] == false).map(|check| &check["name"]);
        Ok((ready.status == 503 && wait.eq(["feeds"])).then_some(()))
    })
    .await
    .unwrap();
    let mut accounts = AccountServiceClient::connect(format!("http://{}", suite.addresses())).await.unwrap();
    let asked = CreateAccountRequest { handle: "ada".into(), password: "correct horse".into(), ..Default::default() };
    let ada = accounts.create_account(asked).await.unwrap().into_inner().account.unwrap().account_id;
    let refused = feeds(&suite, &ada, &keys).await.unwrap_err();
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!((refused.code(), &*reason), (Code::Unavailable, "TABLES_BEING_FILLED"));
    suite.operate("suite", &["resume", "feeds"]).await.unwrap();
    is_ready(suite.process("suite").unwrap()).await;
    feeds(&suite, &ada, &keys).await.unwrap();
}
