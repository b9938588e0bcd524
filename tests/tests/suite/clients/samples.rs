//! The sample backends of docs/clients, each over a real Kafka and Cassandra, by mTLS, with a replica killed in the middle of its calls.

mod friend;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::try_join_all;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::feeds::v1::{FeedItem, GetAuthorFeedRequest};
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::identity::v1::{CreateAccountRequest, CreateSessionRequest};
use kith_tests::http;
use kith_tests::kith::{self, ADMIN_PORT, Launch, OPS_PORT, PORT};
use kith_tests::secured::{NAME, Secured, Shown};
use kith_tests::server::Server;
use kith_tests::servers::{self, Shared};
use kith_tests::suite::{self, Suite};
use kith_tests::wait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Request;

use super::{root, skipped};
use crate::callers::issuer::{Issuer, PEOPLE};
use friend::Friend;

/// Of each sample: more than two pages of a feed.
const POSTS: usize = 220;
/// So many are made when a replica is killed; twice as many calls as a sample makes at a time follow at least.
const KILLED_AFTER: usize = 60;
/// The handle that every sample wants, and that somebody has.
const WANTED: &str = "grace";
/// The calling service, by its certificate.
const WEB: &str = "spiffe://example.org/web";
const OPERATOR: &str = "spiffe://example.org/operator";
const REPLICAS: [&str; 2] = ["posts", "posts-2"];
const TALKERS: [&str; 2] = ["messaging", "messaging-2"];
/// That are told to each sample.
const MESSAGES: u64 = 24;
/// So many are told when the process that tells them is killed; the others are written then.
const KILLED_AFTER_TOLD: u64 = 12;
/// Its packages are fetched and built in it the first time, beside other builds.
const SAMPLE_WITHIN: Duration = Duration::from_secs(900);
const CALLED_WITHIN: Duration = Duration::from_secs(10);
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

struct World {
    suite: Suite,
    secured: Secured,
    issuer: Issuer,
    web: Shown,
    operator: Shown,
    _keys: tempfile::TempDir,
    _servers: (Shared, Shared),
}

impl World {
    /// Two processes of posts and of messaging each, and one of all other services. `None`: no servers here.
    async fn start() -> Option<Self> {
        let (mut kafka, mut cassandra) = servers::both().await?;
        tokio::try_join!(kafka.wipe(), cassandra.wipe()).unwrap();
        let (secured, issuer, keys) = (Secured::new().unwrap(), Issuer::new(), tempfile::tempdir().unwrap());
        issuer.trust(&format!(
            "[[principal]]\nname = \"web\"\ntls = \"{WEB}\"\nrights = [\"read\", \"act-as\", \"create-accounts\"]\n\
             accounts = \"{PEOPLE}\"\nclient_id = \"web-app\"\n\
             [[principal]]\nname = \"operator\"\ntls = \"{OPERATOR}\"\nrights = [\"operate\"]\n"
        ));
        suite::init(&kafka, &cassandra, keys.path()).await.unwrap();
        let callers = issuer.file().display().to_string();
        let start = async |(name, services): (&str, &str)| {
            let settings = [("services", services), ("callers_file", &callers)];
            let launch = secured.launch(Suite::launch(name, &settings, &kafka, &cassandra, keys.path()));
            anyhow::Ok((name.to_owned(), launch.start().await?))
        };
        let others = [("others", "identity,engagement,projector")];
        let pairs = REPLICAS.map(|name| (name, "posts")).into_iter().chain(TALKERS.map(|name| (name, "messaging")));
        let processes = try_join_all(pairs.chain(others).map(start));
        let suite = Suite { processes: processes.await.unwrap().into_iter().collect() };
        let web = secured.show(&secured.callers, WEB);
        let operator = secured.show(&secured.operators, OPERATOR);
        Some(Self { suite, secured, issuer, web, operator, _keys: keys, _servers: (kafka, cassandra) })
    }

    fn socket(&self, process: &str) -> SocketAddr {
        self.suite.processes[process].socket(PORT)
    }

    /// Somebody without rights of a service takes the handle; gives the way to write as that one.
    async fn take_handle(&self) -> Friend {
        let stranger = self.secured.show(&self.secured.callers, "spiffe://example.org/stranger");
        let channel = self.secured.channel(self.socket("others"), Some(&stranger)).unwrap();
        let create =
            CreateAccountRequest { handle: WANTED.into(), password: "correct horse".into(), ..Default::default() };
        let made = AccountServiceClient::new(channel.clone()).create_account(create).await.unwrap().into_inner();
        let at_least = vec![made.consistency_token];
        let create = CreateSessionRequest {
            handle: WANTED.into(),
            password: "correct horse".into(),
            at_least,
            ..Default::default()
        };
        let session = SessionServiceClient::new(channel).create_session(create).await.unwrap().into_inner();
        let channels = TALKERS.map(|name| self.secured.channel(self.socket(name), Some(&stranger)).unwrap());
        Friend { bearer: session.access_token, channels }
    }

    /// The process of messaging that tells the sample its updates.
    async fn teller(&self) -> &'static str {
        wait::until("a stream is open", CALLED_WITHIN, async || {
            for name in TALKERS {
                let metrics = http::get(self.suite.processes[name].socket(ADMIN_PORT), "/metrics").await?;
                let open = metrics.body.lines().find_map(|line| line.strip_prefix("kith_streams_open "));
                if open.is_some_and(|open| open != "0") {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        })
        .await
        .unwrap()
    }

    /// The file that a sample reads.
    fn config(&self, language: &str) -> PathBuf {
        let folder = self.secured.folder();
        let token = folder.join(format!("{language}.token"));
        std::fs::write(&token, self.issuer.token(PEOPLE, language, &[("azp", "web-app".into())])).unwrap();
        let others = format!("ipv4:{}", self.socket("others"));
        let all = |names: [&str; 2]| format!("ipv4:{}", names.map(|name| self.socket(name).to_string()).join(","));
        let (posts, messaging) = (all(REPLICAS), all(TALKERS));
        let config = json!({
            "services": {"identity": others, "posts": posts, "engagement": others, "messaging": messaging, "feeds": others},
            "ca_file": folder.join("suite-ca.pem"),
            "certificate_file": self.web.certificate,
            "key_file": self.web.key,
            "server_name": NAME,
            "service_config_file": root().join("proto/service_config.json").canonicalize().unwrap(),
            "subject_token_file": token,
            "handle": WANTED,
            "job": job(language),
            "posts": POSTS,
            "messages": MESSAGES,
        });
        let file = folder.join(format!("{language}.json"));
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// The whole feed of the account, as the service sees it.
    async fn author_feed(&self, account_id: &str) -> Vec<FeedItem> {
        let channel = self.secured.channel(self.socket("others"), Some(&self.web)).unwrap();
        let (mut feeds, mut found, mut page_token) = (FeedServiceClient::new(channel), Vec::new(), String::new());
        loop {
            let get = GetAuthorFeedRequest { account_id: account_id.into(), page_token, ..Default::default() };
            let page = feeds.get_author_feed(Request::new(get)).await.unwrap().into_inner();
            found.extend(page.items);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    }

    /// What `kith events` shows of the log of posts: by id the service that asked, for every post of the account.
    async fn logged(&self, account_id: &str) -> Vec<(String, String)> {
        let ops = self.suite.processes[REPLICAS[0]].socket(OPS_PORT).to_string();
        let mut command = tokio::process::Command::from(kith::command().await.unwrap());
        command.args(["events", "--topic", "kith.posts.v1", "--limit", "5000", "--json", "--ops", &ops]);
        let output = command.envs(self.secured.operator(&self.operator)).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = said["events"].as_array().unwrap().iter();
        let by_account = events.filter(|event| event.to_string().contains(account_id));
        by_account.map(|event| (text(&event["key"]), text(&event["principal"]))).collect()
    }
}

/// What its request ids and its texts begin with.
fn job(language: &str) -> String {
    format!("{language}-job")
}

/// Runs a sample to its end. Gives what it says that it did, and `None` where its language is not here.
async fn run(language: &str, config: &Path, trouble: Option<(&mut World, &Friend)>) -> Option<Value> {
    let ended = tokio::time::timeout(SAMPLE_WITHIN, run_through(language, config, trouble));
    ended.await.unwrap_or_else(|_| panic!("the sample in {language} does not end"))
}

/// With trouble, a replica of posts is killed once some posts are made; a friend writes, and in the middle the process of messaging is
/// killed that tells it.
async fn run_through(language: &str, config: &Path, mut trouble: Option<(&mut World, &Friend)>) -> Option<Value> {
    let mut command = tokio::process::Command::new(root().join("docs/clients").join(language).join("run"));
    command.arg(config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut said, mut account, mut killed) = (String::new(), String::new(), 0);
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((world, friend)) = &mut trouble {
            if let Some(made) = line.strip_prefix("account ") {
                account = made.split(' ').next().unwrap().to_owned();
            } else if line == format!("posted {POSTS}") {
                friend.write_to(&account, 1..=KILLED_AFTER_TOLD);
            } else if line == format!("posted {KILLED_AFTER}") {
                kill_in_the_middle(world.suite.process(REPLICAS[1]).unwrap()).await;
                killed += 1;
            } else if line == format!("told {KILLED_AFTER_TOLD}") {
                let teller = world.teller().await;
                world.suite.process(teller).unwrap().kill_9().unwrap();
                killed += 1;
                friend.write_to(&account, KILLED_AFTER_TOLD + 1..=MESSAGES);
            }
        }
        said = said + &line + "\n";
    }
    let output = child.wait_with_output().await.unwrap();
    if skipped(&format!("sample in {language}"), output.status, &said) {
        return None;
    }
    assert!(output.status.success(), "{language}: {}\n{said}", output.status);
    assert!(trouble.is_none() || killed == 2, "{language}: {killed} were killed\n{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Kills it while calls are under way in it: one at least was sent to it and not read.
async fn kill_in_the_middle(replica: &mut Server) {
    replica.pause().await.unwrap();
    let socket = replica.socket(PORT);
    wait::until("a call waits in it", CALLED_WITHIN, async || Ok((unread_bytes(socket)? > 0).then_some(())))
        .await
        .unwrap();
    replica.kill_9().unwrap();
}

/// What has come over connections to this address and was not read yet (proc(5): net/tcp).
fn unread_bytes(socket: SocketAddr) -> anyhow::Result<u64> {
    let IpAddr::V4(address) = socket.ip() else { anyhow::bail!("{socket} is none of IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), socket.port());
    let mut unread = 0;
    for line in std::fs::read_to_string("/proc/net/tcp")?.lines() {
        // Number, local and remote address, state (01: established), unsent:unread.
        if let [_, of, _, "01", queues, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            && of == local
        {
            unread += u64::from_str_radix(queues.rsplit(':').next().unwrap_or_default(), 16)?;
        }
    }
    Ok(unread)
}

/// Compares what a sample says with what the suite shows: every post is there, once, under the account and by the service.
async fn check(world: &World, language: &str, did: &Value) {
    let account_id = did["account_id"].as_str().unwrap();
    let feed: Vec<_> = world.author_feed(account_id).await.into_iter().map(|item| item.post.unwrap()).collect();
    let texts: BTreeSet<_> = feed.iter().map(|post| post.text.clone()).collect();
    let expected: BTreeSet<_> = (1..=POSTS).map(|number| format!("{} post {number}", job(language))).collect();
    assert_eq!((texts, feed.len()), (expected, POSTS), "{language}: each once");
    let ids: BTreeSet<_> = feed.iter().map(|post| post.post_id.as_str()).collect();
    for list in ["posts", "in_feed"] {
        let said: Vec<_> = did[list].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(said.len(), POSTS, "{language}: {list}");
        assert_eq!(said.into_iter().collect::<BTreeSet<_>>(), ids, "{language}: {list}");
    }
    // One record each, or two of which the second is a repeat of the first that the folds know by its id.
    let logged = world.logged(account_id).await;
    let logged_ids: BTreeSet<_> = logged.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(logged_ids, ids, "{language}: what is logged");
    assert!(logged.iter().all(|(_, principal)| principal == "web"), "{language}: {logged:?}");
    // The sample has no more to do with when feeds know of its reaction.
    let likes = wait::until("the like shows", SHOWN_WITHIN, async || {
        let feed = world.author_feed(account_id).await;
        let liked = feed.into_iter().find(|item| item.post.as_ref().unwrap().post_id == did["liked"]).unwrap();
        Ok(Some(liked.counts.unwrap().reaction_count).filter(|count| *count > 0))
    });
    assert_eq!(likes.await.unwrap(), 1, "{language}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_lose_and_double_nothing_while_a_replica_is_killed() {
    let Some(mut world) = World::start().await else { return };
    let friend = world.take_handle().await;
    let mut refused = Vec::new();
    for language in ["python", "go", "typescript"] {
        let config = world.config(language);
        let Some(did) = run(language, &config, Some((&mut world, &friend))).await else {
            continue;
        };
        // Everybody before has a handle that it wants.
        refused.push("HANDLE_TAKEN");
        assert_eq!(did["handle"], format!("{WANTED}_{}", refused.len() + 1));
        assert_eq!((&did["refused"], &did["same_account_again"]), (&json!(refused), &json!(true)));
        assert_eq!(did["told"], json!((1..=MESSAGES).collect::<Vec<_>>()), "{language}: each message once, in order");
        assert_eq!(did["conversations"], 1, "{language}: it was accepted");
        check(&world, language, &did).await;
        for replica in [REPLICAS[1]].into_iter().chain(TALKERS) {
            let replica = world.suite.process(replica).unwrap();
            if replica.process().is_err() {
                replica.restart().await.unwrap();
            }
        }
        assert_eq!(run(language, &config, None).await.unwrap(), did, "{language}: the job run again does nothing");
        check(&world, language, &did).await;
    }
}

/// As docs/clients/README.md says to try a sample, but for the suite's address.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_for_a_company_is_all_that_a_sample_needs() {
    let folder = tempfile::tempdir().unwrap();
    let mut stand_in = tokio::process::Command::new(root().join("docs/clients/stand-in"));
    let made = stand_in.arg(folder.path()).arg("ada").output().await.unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    if skipped("stand-in", made.status, &said) {
        return;
    }
    assert!(made.status.success(), "{said}");
    let settings = std::fs::read_to_string(folder.path().join("suite.env")).unwrap();
    let set = settings.lines().map(|line| line.split_once('=').unwrap());
    let launch = set.fold(Launch::run("suite"), |launch, (name, value)| launch.environment(name, value));
    let suite = Suite::of("suite", launch).await.unwrap();
    let config = folder.path().join("ada.json");
    let mut given: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    let address = format!("ipv4:{}", suite.processes["suite"].socket(PORT));
    given["services"].as_object_mut().unwrap().values_mut().for_each(|at| *at = address.clone().into());
    given["server_name"] = "localhost".into();
    std::fs::write(&config, given.to_string()).unwrap();
    let Some(did) = run("python", &config, None).await else { return };
    assert_eq!((&did["handle"], &did["refused"]), (&json!("ada"), &json!([])));
    assert_eq!(json!(did["posts"].as_array().unwrap().len()), given["posts"]);
}
