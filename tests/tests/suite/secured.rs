//! The production profile: TLS on every port that callers and operators use.

use std::net::SocketAddr;
use std::time::Duration;

use kith_authority::Authority;
use kith_proto::feeds::v1::WaitForRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_runtime::Runtime;
use kith_service::keys::KeyFolder;
use kith_tests::kith::{self, ADMIN_PORT, Launch, OPS_PORT, PORT};
use kith_tests::secured::{Secured, Shown};
use kith_tests::suite::Suite;
use kith_tests::{http, wait};
use tonic::Code;
use tonic::transport::Channel;

/// Files are compared every 5 s.
const RELOADED_WITHIN: Duration = Duration::from_secs(30);

/// The demo calls as nobody whom production lets make accounts, and more than a person does.
async fn started(secured: &Secured) -> Suite {
    let launch = Launch::run("suite").set("profile", "production").set("sign_up", "open");
    let rates = ["rate_account", "rate_address", "rate_sign_up"];
    let launch = rates.into_iter().fold(launch, |launch, rate| launch.set(rate, "off"));
    Suite::of("suite", secured.launch(launch)).await.unwrap()
}

/// `Unauthenticated` is the answer of a handler: whoever gets it has been let in.
async fn answer(channel: Channel) -> Code {
    let mut feeds = FeedServiceClient::new(channel);
    feeds.wait_for(WaitForRequest::default()).await.unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn production_serves_callers_with_a_certificate_and_nobody_else() {
    let secured = Secured::new().unwrap();
    let mut suite = started(&secured).await;
    let caller = secured.show(&secured.callers, "spiffe://example.org/web");
    suite.demo_with(60, &secured.demo_flags(&caller)).await.unwrap();
    let process = suite.process("suite").unwrap();
    let (callers, admin) = (process.socket(PORT), process.socket(ADMIN_PORT));
    let stranger = secured.show(&Authority::default(), "spiffe://example.org/stranger");
    let operator = secured.show(&secured.operators, "spiffe://example.org/operator");
    for (shown, is_let_in) in [(Some(&caller), true), (Some(&stranger), false), (Some(&operator), false), (None, false)]
    {
        let answered = answer(secured.channel(callers, shown).unwrap()).await;
        assert_eq!(answered == Code::Unauthenticated, is_let_in, "{shown:?}: {answered:?}");
    }
    let plaintext = Channel::from_shared(format!("http://{callers}")).unwrap().connect_lazy();
    assert_ne!(answer(plaintext).await, Code::Unauthenticated);
    let metrics = http::get(admin, "/metrics").await.unwrap().body;
    let failed = metrics.lines().find_map(|line| line.strip_prefix("kith_tls_handshakes_failed_total "));
    assert!(failed.unwrap().parse::<u64>().unwrap() >= 4, "{failed:?}");
}

async fn projections(secured: &Secured, ops: SocketAddr, shown: Option<&Shown>) -> Result<String, String> {
    let mut command = tokio::process::Command::from(kith::command().await.unwrap());
    command.args(["projections", "--ops", &ops.to_string()]).kill_on_drop(true);
    command.envs(shown.map(|shown| secured.operator(shown)).into_iter().flatten());
    let output = command.output().await.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_need_a_certificate_of_their_own_authority() {
    let secured = Secured::new().unwrap();
    let mut suite = started(&secured).await;
    let ops = suite.process("suite").unwrap().socket(OPS_PORT);
    let operator = secured.show(&secured.operators, "spiffe://example.org/operator");
    assert!(projections(&secured, ops, Some(&operator)).await.unwrap().contains("feeds"));
    let caller = secured.show(&secured.callers, "spiffe://example.org/web");
    let (refused, plaintext) =
        tokio::join!(projections(&secured, ops, Some(&caller)), projections(&secured, ops, None));
    assert!(refused.unwrap_err().contains(&ops.to_string()));
    assert!(plaintext.unwrap_err().contains(&ops.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_without_a_restart() {
    let secured = Secured::new().unwrap();
    let mut suite = started(&secured).await;
    let callers = suite.process("suite").unwrap().socket(PORT);
    let old = secured.show(&secured.callers, "spiffe://example.org/web");
    assert_eq!(answer(secured.channel(callers, Some(&old)).unwrap()).await, Code::Unauthenticated);
    let next = Authority::default();
    let renewed = secured.show(&next, "spiffe://example.org/web-2");
    next.write(secured.folder().join("callers-ca.pem"));
    wait::until("the new authority is trusted", RELOADED_WITHIN, async || {
        let answered = answer(secured.channel(callers, Some(&renewed))?).await;
        Ok((answered == Code::Unauthenticated).then_some(()))
    })
    .await
    .unwrap();
    assert_ne!(answer(secured.channel(callers, Some(&old)).unwrap()).await, Code::Unauthenticated);
}

#[tokio::test]
async fn production_without_them_does_not_start_and_names_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::from(kith::command().await.unwrap());
    command.arg("run").current_dir(folder.path()).env("KITH_PROFILE", "production").kill_on_drop(true);
    let servers = [("KITH_LOG", "kafka:127.0.0.1:1"), ("KITH_TABLES", "cql:127.0.0.1:1")];
    let output = command.envs(servers).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for key in ["tls_certificate_file", "ops_client_ca_file", "kafka_ca_file", "cql_ca_file"] {
        assert!(said.contains(&format!("`{key}`")), "{key} is not in: {said}");
    }
}

#[tokio::test]
async fn production_over_kafka_and_cql_starts_and_waits_for_them() {
    let secured = Secured::new().unwrap();
    let password = secured.folder().join("password");
    std::fs::write(&password, "secret").unwrap();
    let (ca, password) = (secured.folder().join("suite-ca.pem"), password.display().to_string());
    let ca = ca.display().to_string();
    let launch = [
        ("profile", "production"),
        ("log", "kafka:127.0.0.1:1"),
        ("tables", "cql:127.0.0.1:1"),
        ("kafka_ca_file", &ca),
        ("kafka_user", "kith-posts"),
        ("kafka_password_file", &password),
        ("cql_ca_file", &ca),
        ("cql_user", "kith_posts"),
        ("cql_password_file", &password),
    ];
    let launch = launch.into_iter().fold(Launch::run("suite").alive(), |launch, (key, value)| launch.set(key, value));
    let keys = tempfile::tempdir().unwrap();
    KeyFolder::at(keys.path()).create_missing(&Runtime::system()).unwrap();
    let launch = launch.set("keys_dir", keys.path().display().to_string());
    let process = secured.launch(launch).start().await.unwrap();
    wait::until("it says what it waits for", RELOADED_WITHIN, async || {
        let answer = http::get(process.socket(ADMIN_PORT), "/readyz").await?;
        Ok((answer.status == 503 && answer.body.contains("is the broker up")).then_some(()))
    })
    .await
    .unwrap();
}
