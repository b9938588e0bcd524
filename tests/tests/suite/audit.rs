//! Security events and operators' names, through the running suite: what is in the audit, who is in it, and what is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::session_service_client::SessionServiceClient;
use kith_proto::posts::v1::GetPostRequest;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_service::limits::GUESSES_FREE;
use kith_tests::kith::{self, Launch, OPS_PORT, PORT};
use kith_tests::secured::{Secured, Shown};
use kith_tests::suite::Suite;
use kith_tests::wait;
use serde_json::Value;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::callers::issuer::{Issuer, STAFF, principal};

const HANDLE: &str = "grace_hopper";
const PASSWORD: &str = "a secret phrase";
const GUESS: &str = "not the secret phrase";
/// Over all accounts an address may send 30 at once: the rest is refused for that, and noted too.
const GUESSES: u64 = 400;
/// The sums of a minute are written at its end.
const SUMMED_WITHIN: Duration = Duration::from_secs(90);

/// A command to the process at `ops`, with these variables; what it printed, or what it said.
async fn kith(ops: &str, arguments: &[&str], environment: &[(&str, String)]) -> Result<String, String> {
    let mut command = tokio::process::Command::from(kith::command().await.unwrap());
    command.args(arguments).args(["--ops", ops]).envs(environment.iter().map(|(name, value)| (name, value)));
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// The audit's entries.
async fn audit(ops: &str, arguments: &[&str], environment: &[(&str, String)]) -> Vec<Value> {
    let arguments = [&["audit", "--json", "--limit", "1000"], arguments].concat();
    let said = kith(ops, &arguments, environment).await.unwrap();
    serde_json::from_str::<Value>(&said).unwrap()["entries"].as_array().unwrap().clone()
}

fn count_of(entries: &[Value], kind: &str) -> u64 {
    let of_kind = entries.iter().filter(|entry| entry["event"]["kind"] == format!("SECURITY_KIND_{kind}"));
    of_kind.map(|entry| entry["event"]["count"].as_str().unwrap().parse::<u64>().unwrap()).sum()
}

/// A suite in development that trusts an issuer, and operators of it.
struct World {
    suite: Suite,
    issuer: Issuer,
    ops: String,
    channel: Channel,
}

impl World {
    async fn start() -> Self {
        let issuer = Issuer::new();
        issuer.trust(&(principal("ada", &["operate"], "any") + &principal("reader", &["read"], "any")));
        let launch = Launch::run("suite").set("callers_file", issuer.file().display().to_string());
        let suite = Suite::of("suite", launch).await.unwrap();
        let ops = suite.processes["suite"].socket(OPS_PORT).to_string();
        let channel = Endpoint::from_shared(format!("http://{}", suite.processes["suite"].socket(PORT))).unwrap();
        Self { suite, issuer, ops, channel: channel.connect_lazy() }
    }

    /// The variable that has commands bring a token of that principal.
    fn token_of(&self, name: &str) -> [(&'static str, String); 1] {
        [("KITH_OPS_TOKEN_FILE", token_file(&self.issuer, self.issuer.file().parent().unwrap(), name))]
    }

    async fn sign_in(&self, handle: &str, password: &str) -> Result<identity::CreateSessionResponse, Code> {
        let request =
            identity::CreateSessionRequest { handle: handle.into(), password: password.into(), ..Default::default() };
        let answer = SessionServiceClient::new(self.channel.clone()).create_session(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status.code())
    }
}

fn token_file(issuer: &Issuer, folder: &Path, name: &str) -> String {
    let file: PathBuf = folder.join(format!("{name}.token"));
    std::fs::write(&file, issuer.token(STAFF, name, &[])).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_decided_is_in_the_audit_with_names_and_without_personal_content() {
    let mut world = World::start().await;
    let create =
        identity::CreateAccountRequest { handle: HANDLE.into(), password: PASSWORD.into(), ..Default::default() };
    let made = AccountServiceClient::new(world.channel.clone()).create_account(create).await.unwrap().into_inner();
    let account_id = made.account.unwrap().account_id;
    let mut session = Err(Code::Unknown);
    while session.is_err() {
        session = world.sign_in(HANDLE, PASSWORD).await;
    }
    for _ in 0..GUESSES_FREE {
        assert_eq!(world.sign_in(HANDLE, GUESS).await.unwrap_err(), Code::Unauthenticated);
    }
    let revoke = identity::RevokeAllSessionsRequest { include_current: true, ..Default::default() };
    let mut revoke = Request::new(revoke);
    let bearer = format!("Bearer {}", session.unwrap().access_token);
    revoke.metadata_mut().insert("authorization", bearer.parse().unwrap());
    SessionServiceClient::new(world.channel.clone()).revoke_all_sessions(revoke).await.unwrap();
    let mut forged = Request::new(GetPostRequest { post_id: "0".repeat(32), ..Default::default() });
    forged.metadata_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
    assert!(PostServiceClient::new(world.channel.clone()).get_post(forged).await.is_err());

    let (ada, reader) = (world.token_of("ada"), world.token_of("reader"));
    kith(&world.ops, &["pause", "feeds", "--note", "by ada"], &ada).await.unwrap();
    for arguments in [&["resume", "feeds"][..], &["projections"], &["audit"]] {
        let refused = kith(&world.ops, arguments, &reader).await.unwrap_err();
        assert!(refused.contains("RIGHT_MISSING"), "{arguments:?}: {refused}");
    }
    // Development asks for no proof, and says so.
    kith(&world.ops, &["resume", "feeds"], &[]).await.unwrap();
    let decisions = kith(&world.ops, &["events", "--topic", "kith.ops.v1", "--json"], &ada).await.unwrap();
    let decisions: Value = serde_json::from_str(&decisions).unwrap();
    let by = |name: &str| {
        let mut events = decisions["events"].as_array().unwrap().iter();
        events.find(|event| !event["event"][name].is_null()).unwrap()["principal"].clone()
    };
    assert_eq!([by("projectionPaused"), by("projectionResumed")], ["ada", "anyone"].map(Value::from));

    // A stop writes the sums of the running minute.
    world.suite.process("suite").unwrap().stop(SUMMED_WITHIN).await.unwrap();
    world.suite.process("suite").unwrap().restart().await.unwrap();
    let all = audit(&world.ops, &[], &ada).await;
    let counts =
        ["LOGIN_REFUSED", "TOKEN_REFUSED", "SESSION_ENDED", "OPERATOR_DECIDED"].map(|kind| count_of(&all, kind));
    assert!(counts[0] >= u64::from(GUESSES_FREE) && counts[1..3] == [1, 1] && counts[3] >= 2, "{all:#?}");
    assert!(count_of(&all, "KEYS_READ") >= 4, "two at each start: {all:#?}");
    let of_account = audit(&world.ops, &["--account", &account_id, "--kind", "login-refused"], &ada).await;
    assert_eq!(count_of(&of_account, "LOGIN_REFUSED"), u64::from(GUESSES_FREE), "{of_account:#?}");
    let of_reader = audit(&world.ops, &["--principal", "reader"], &ada).await;
    assert_eq!(count_of(&of_reader, "RIGHT_REFUSED"), 3, "{of_reader:#?}");
    assert!(of_reader.iter().all(|entry| entry["event"]["reason"] == "operate"));
    let raw = kith(&world.ops, &["events", "--topic", "kith.security.v1", "--json"], &ada).await.unwrap();
    let said = raw + &serde_json::to_string(&all).unwrap();
    let address = world.ops.rsplit_once(':').unwrap().0;
    for clear in [HANDLE, PASSWORD, GUESS, "a.b.c", &*bearer, address, "argon2"] {
        assert!(!said.contains(clear), "{clear} is in the log");
    }
    assert_eq!(count_of(&all, "GUESSES_SLOWED"), 1, "a threshold is a record: {all:#?}");
    // Who had to wait before the restart has no free guesses after it.
    let again = [world.sign_in(HANDLE, GUESS).await, world.sign_in(HANDLE, GUESS).await];
    assert!(again.iter().any(|answer| *answer.as_ref().unwrap_err() == Code::ResourceExhausted), "{again:?}");
    let letters = kith(&world.ops, &["dead-letters", "--json"], &ada).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&letters).unwrap()["letters"], Value::Array(Vec::new()));
}

/// RULES: an attacker must not be able to fill the topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_logins_is_few_records_that_lose_no_count() {
    let mut world = World::start().await;
    let attack = (0..GUESSES).map(|n| {
        let world = &world;
        async move { world.sign_in(&format!("nobody_{n}"), GUESS).await.unwrap_err() }
    });
    let answers = futures::future::join_all(attack).await;
    let noted = |code| answers.iter().filter(|answer| **answer == code).count() as u64;
    let compared = noted(Code::Unauthenticated);
    assert!(compared >= 5, "{answers:?}");
    world.suite.process("suite").unwrap().stop(SUMMED_WITHIN).await.unwrap();
    world.suite.process("suite").unwrap().restart().await.unwrap();
    let all = audit(&world.ops, &["--kind", "login-refused", "--kind", "limit-met"], &[]).await;
    let sources: BTreeSet<_> = all.iter().map(|entry| entry["event"]["source"].to_string()).collect();
    assert_eq!((count_of(&all, "LOGIN_REFUSED"), sources.len()), (compared, 1), "{all:#?}");
    // Shed calls are refused for the load, before anybody looks at them, and noted nowhere.
    let limits = count_of(&all, "LIMIT_MET");
    assert!(limits > 0 && compared + limits <= GUESSES, "{limits}");
    // Two kinds, each with one reason, over two minutes at the most.
    assert!(all.len() <= 2 * 2 * 2, "{} records", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_in_production_is_a_principal_with_the_right_whatever_its_certificate() {
    let (secured, issuer) = (Secured::new().unwrap(), Issuer::new());
    let by_certificate = |name: &str, rights: &str| {
        format!("[[principal]]\nname = \"{name}\"\ntls = \"spiffe://example.org/{name}\"\nrights = [{rights}]\n")
    };
    issuer.trust(
        &(by_certificate("grace", "\"operate\"")
            + &by_certificate("web", "\"read\"")
            + &principal("ada", &["operate"], "any")),
    );
    let launch = Launch::run("suite").set("profile", "production").set("ops_client_certificates", "optional");
    let launch = launch.set("callers_file", issuer.file().display().to_string());
    let mut suite = Suite::of("suite", secured.launch(launch)).await.unwrap();
    let ops = suite.process("suite").unwrap().socket(OPS_PORT).to_string();
    let shown = |name: &str| secured.show(&secured.operators, &format!("spiffe://example.org/{name}"));
    let show = |shown: &Shown| secured.operator(shown).to_vec();
    let [grace, web, eve] = ["grace", "web", "eve"].map(|name| show(&shown(name)));
    let token = |name: &str| ("KITH_OPS_TOKEN_FILE", token_file(&issuer, secured.folder(), name));
    let without: Vec<_> = grace
        .iter()
        .filter(|(name, _)| !["KITH_OPS_CERTIFICATE_FILE", "KITH_OPS_KEY_FILE"].contains(name))
        .cloned()
        .collect();
    for (environment, reason) in [
        (web.clone(), "RIGHT_MISSING"),
        (eve.clone(), "RIGHT_MISSING"),
        (without.clone(), "UNAUTHENTICATED"),
        ([&without[..], &[token("nobody")]].concat(), "UNAUTHENTICATED"),
    ] {
        let refused = kith(&ops, &["pause", "feeds"], &environment).await.unwrap_err();
        assert!(refused.contains(reason), "{environment:?}: {refused}");
    }
    kith(&ops, &["pause", "feeds", "--note", "one"], &grace).await.unwrap();
    kith(&ops, &["pause", "feeds", "--note", "two"], &[&without[..], &[token("ada")]].concat()).await.unwrap();
    // The token goes before the certificate.
    kith(&ops, &["resume", "feeds"], &[&web[..], &[token("ada")]].concat()).await.unwrap();
    let decided = audit(&ops, &["--kind", "operator-decided"], &grace).await;
    let by: Vec<_> = decided.iter().map(|entry| entry["event"]["principal"].as_str().unwrap()).collect();
    assert!(by.ends_with(&["grace", "ada", "ada"]), "{decided:#?}");
    wait::until("refusals are noted", SUMMED_WITHIN, async || {
        let refused = audit(&ops, &["--kind", "right-refused", "--kind", "token-refused"], &grace).await;
        let by: BTreeSet<_> = refused.iter().map(|entry| entry["event"]["principal"].to_string()).collect();
        let all = ["\"\"", "\"spiffe://example.org/eve\"", "\"web\""];
        Ok((Vec::from_iter(&by) == all).then_some(()))
    })
    .await
    .unwrap();
}
