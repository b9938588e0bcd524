use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use kith_authority::Authority;
use kith_tls::{Clients, Identity, ServerFiles, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::issuer::KeySource;
use super::super::issuer::tests::{NAME, NOW_MS, Signer};
use super::super::key_url::KeyTransport;
use super::*;
use crate::Failure;
use crate::keys::secret::Secret;
use crate::limits::{ISSUER_KEYS_BYTES, ISSUER_KEYS_EVERY_SECONDS};
use crate::metrics::Metrics;

/// A server of keys.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// With a certificate for that name, if there is one.
    pub async fn start(tls: Option<Arc<ServerTls>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, answer: Arc::default(), asked: Arc::default() };
        let serving = server.clone();
        Runtime::system().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => serving.serve(stream).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(accepted) => serving.serve(accepted.stream).await,
                        Err(_) => continue,
                    },
                }
            }
        });
        server
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let answer = self.answer.lock().unwrap().clone();
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Whoever has read enough may be gone.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }

    pub fn answers(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    pub fn has_keys(&self, json: &str) {
        self.answers(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len()));
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn url(&self, scheme: &str, ca: Option<&std::path::Path>) -> KeyUrl {
        let text = format!("{scheme}://{}/keys", self.address);
        KeyUrl::parse(&text, ca.map(Into::into), KeyTransport::LoopbackToo).unwrap()
    }
}

fn issuer(url: &KeyUrl) -> Issuer {
    Issuer {
        name: NAME.into(),
        audience: "kith".to_owned(),
        algorithm: Algorithm::EdDSA,
        keys: KeySource::Url(url.clone()),
        subject_claim: "sub".to_owned(),
        leeway_seconds: 30,
    }
}

async fn looked(url: &KeyUrl) -> Result<usize, String> {
    look(&issuer(url), url, &Runtime::system()).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn keys_come_over_tls_from_a_server_of_the_stated_authority() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Authority::default());
    let signer = Signer::of(Algorithm::EdDSA);
    let serving = async |names: &[&str]| {
        let (certificate, key) = ca.issue(folder.path(), names[0], names);
        let files = ServerFiles { identity: Identity { certificate, key }, clients: Clients::NotAsked };
        let server = Server::start(Some(ServerTls::open(files).unwrap())).await;
        server.has_keys(&signer.set("k"));
        server
    };
    let ours = ca.write(folder.path().join("ca.pem"));
    let strangers = Authority::default().write(folder.path().join("strangers.pem"));
    let server = serving(&["127.0.0.1"]).await;
    assert_eq!(looked(&server.url("https", Some(&ours))).await, Ok(1));
    let refused = looked(&server.url("https", Some(&strangers))).await.unwrap_err();
    assert!(refused.contains("handshake"), "{refused}");
    let refused = looked(&server.url("https", None)).await.unwrap_err();
    assert!(refused.contains("handshake") || refused.contains("operating system"), "{refused}");
    let missing = folder.path().join("none.pem");
    assert!(looked(&server.url("https", Some(&missing))).await.unwrap_err().contains("none.pem"));
    let other = serving(&["login.example"]).await;
    let refused = looked(&other.url("https", Some(&ours))).await.unwrap_err();
    assert!(refused.contains("handshake"), "{refused}");
    assert_eq!((server.asked(), other.asked()), (1, 0));
}

#[tokio::test]
async fn only_a_whole_short_answer_with_fitting_keys_counts() {
    let (server, elsewhere) = (Server::start(None).await, Server::start(None).await);
    let set = Signer::of(Algorithm::EdDSA).set("k");
    elsewhere.has_keys(&set);
    let found =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{}/keys\r\ncontent-length: 0\r\n\r\n", elsewhere.address);
    let long = " ".repeat(ISSUER_KEYS_BYTES);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}{set}\r\n0\r\n\r\n",
        long.len() + set.len()
    );
    let cut = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len() + 1);
    let rsa = Signer::of(Algorithm::RS256).set("k");
    let headers = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(100));
    for (answer, why) in [
        (found, "302 Found, not 200; redirects are not followed"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(), "404 Not Found"),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}{long}", set.len() + long.len()), "longer than"),
        (chunked, "longer than"),
        (cut, "does not read"),
        (headers, "does not read"),
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), "does not read"),
        (String::new(), "does not read"),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{rsa}", rsa.len()), "no JWK set with a key for EdDSA"),
    ] {
        server.answers(answer.clone());
        let error = looked(&server.url("http", None)).await.unwrap_err();
        assert!(error.contains(why), "{answer}: {error}");
    }
    server.has_keys(&set);
    assert_eq!(looked(&server.url("http", None)).await, Ok(1));
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let url = KeyUrl::parse(&url, None, KeyTransport::LoopbackToo).unwrap();
    let began = Instant::now();
    assert!(looked(&url).await.unwrap_err().contains("within 10 s"));
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// While it lives, the paused clock moves only when a test moves it: sockets are outside of it.
pub struct Held(#[allow(dead_code, reason = "it is dropped")] Sender<()>);

#[allow(clippy::disallowed_methods, reason = "a blocking task is what holds the clock")]
pub fn hold_the_clock() -> Held {
    let (held, released) = channel();
    tokio::task::spawn_blocking(move || released.recv());
    Held(held)
}

/// Lets the other tasks run until it is so.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::task::yield_now().await;
    }
}

/// Moves the clock, and lets what is due begin.
pub async fn pass(seconds: u64) {
    let settle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    // Waits begin when their tasks first run.
    settle().await;
    tokio::time::advance(Duration::from_secs(seconds)).await;
    settle().await;
}

struct World {
    server: Server,
    signer: Signer,
    url: KeyUrl,
    keys: Arc<FetchedKeys>,
    metrics: Metrics,
    security: Security,
    _clock: Held,
}

impl World {
    async fn new(answer: Option<&str>) -> Self {
        let clock = hold_the_clock();
        let (server, signer) = (Server::start(None).await, Signer::of(Algorithm::EdDSA));
        answer.into_iter().for_each(|kid| server.has_keys(&signer.set(kid)));
        let (url, metrics) = (server.url("http", None), Metrics::default());
        let runtime = Runtime::simulated(1, NOW_MS);
        let security = Security::open(&runtime, &Secret::from(&[7; 32]), &metrics).unwrap();
        let keys = FetchedKeys::follow(&issuer(&url), &url, &runtime, &KeyFetches::register(&metrics), &security);
        Self { server, signer, url, keys, metrics, security, _clock: clock }
    }

    async fn until_asked(&self, times: usize) {
        until(&format!("{times} fetches"), || self.server.asked() >= times).await;
    }

    fn reason(&self) -> &'static str {
        self.keys.current().map_or_else(|refused| Failure::from(refused).reason_name(), |_| "OK")
    }

    fn verified(&self) -> Result<(), TokenRefused> {
        let (keys, _) = self.keys.current()?;
        issuer(&self.url).verify(&keys, &self.signer.token(&[]), NOW_MS).map(drop)
    }

    /// How often it was noted that keys were read.
    fn noted(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with("kith_security_events_total{kind=\"KEYS_READ\"}"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{issuer=\"{NAME}\"}}")))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_never_came_are_missing_and_then_there() {
    let world = World::new(None).await;
    assert_eq!(world.reason(), "ISSUER_KEYS_MISSING");
    world.until_asked(1).await;
    until("a failure", || world.metric("kith_issuer_key_fetches_failed_total") == Some(1)).await;
    assert_eq!(world.reason(), "ISSUER_KEYS_MISSING");
    world.server.has_keys(&world.signer.set("k"));
    pass(29).await;
    assert_eq!((world.server.asked(), world.metric("kith_issuer_keys_age_seconds")), (1, Some(29)));
    // Half a minute, a quarter more at most, and a moment.
    pass(1).await;
    pass(8).await;
    until("keys", || world.verified() == Ok(())).await;
    assert_eq!(world.metric("kith_issuer_keys_age_seconds"), Some(0));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_fetched_early_and_not_too_early() {
    let world = World::new(Some("old")).await;
    until("keys", || world.reason() == "OK").await;
    assert_eq!((world.noted(), world.keys.current().unwrap().0.ids()), (1, "old".to_owned()));
    assert_eq!(world.verified(), Err(TokenRefused::KeyUnknown));
    world.server.has_keys(&world.signer.set("k"));
    for _ in 0..29 {
        world.keys.want();
        pass(1).await;
        assert_eq!(world.server.asked(), 1);
    }
    pass(1).await;
    until("the new keys", || world.verified() == Ok(())).await;
    assert_eq!(world.server.asked(), 2);
    // What was wanted is there: the next fetch but one has its regular time.
    pass(ISSUER_KEYS_EVERY_SECONDS - 1).await;
    assert!(world.server.asked() <= 3);
    assert_eq!(world.noted(), 2, "the same keys are noted once");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_live_a_day_whatever_the_server_says_then() {
    let world = World::new(Some("k")).await;
    until("keys", || world.verified() == Ok(())).await;
    world.server.answers("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n");
    let mut passed = 0;
    while passed < 24 * 3_600 - 300 {
        pass(300).await;
        passed += 300;
        assert_eq!(world.verified(), Ok(()), "after {passed} s");
    }
    until("failures", || world.metric("kith_issuer_key_fetches_failed_total") > Some(9)).await;
    pass(300).await;
    assert_eq!(world.reason(), "ISSUER_KEYS_STALE");
    assert!(world.metric("kith_issuer_keys_age_seconds") >= Some(24 * 3_600));
    world.server.has_keys(&world.signer.set("k"));
    pass(375).await;
    pass(375).await;
    until("keys again", || world.verified() == Ok(())).await;
}

#[tokio::test(start_paused = true)]
async fn an_issuer_with_another_url_has_one_age() {
    let world = World::new(Some("k")).await;
    until("keys", || world.reason() == "OK").await;
    pass(100).await;
    let other = world.server.url("http", None);
    let runtime = Runtime::simulated(1, NOW_MS);
    let next = FetchedKeys::follow(&issuer(&other), &other, &runtime, &world.keys.metrics, &world.security);
    let name = "kith_issuer_keys_age_seconds{";
    assert_eq!(world.metrics.encode().unwrap().matches(name).count(), 1);
    assert_eq!(world.metric("kith_issuer_keys_age_seconds"), Some(0));
    drop(next);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_for_nobody() {
    let world = World::new(Some("k")).await;
    until("keys", || world.reason() == "OK").await;
    let World { server, keys, _clock, .. } = world;
    drop(keys);
    for _ in 0..10 {
        pass(ISSUER_KEYS_EVERY_SECONDS).await;
    }
    assert_eq!(server.asked(), 1);
}
