use std::time::Duration;

use jsonwebtoken::Algorithm;
use kith_live::LOOK_EVERY;
use serde_json::{Value, json};

use super::super::Right;
use super::super::fetched::tests::{Server, hold_the_clock, pass, until};
use super::super::issuer::tests::{NAME, NOW_MS, Signer};
use super::*;

struct World {
    folder: tempfile::TempDir,
    signer: Signer,
    principals: Principals,
}

const WEB: &str = "[[principal]]\nname = \"web\"\nissuer = \"https://login.example\"\nsubject = \"web\"\n";

fn callers(rights: &str) -> String {
    let issuer = format!("[[issuer]]\nissuer = \"{NAME}\"\naudience = \"kith\"\nalgorithm = \"ES256\"\n");
    let mesh = "[[principal]]\nname = \"mesh\"\ntls = \"spiffe://example/mesh\"\nrights = [\"read\"]\n";
    format!("{issuer}jwks_file = \"login.json\"\n{WEB}rights = [{rights}]\n{mesh}")
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::of(Algorithm::ES256);
        std::fs::write(folder.path().join("login.json"), signer.set("k")).unwrap();
        std::fs::write(folder.path().join("callers.toml"), callers("\"read\"")).unwrap();
        let runtime = Runtime::simulated(1, NOW_MS);
        let file = folder.path().join("callers.toml");
        let principals = Principals::open(file, KeyTransport::LoopbackToo, runtime, CallersMetrics::default()).unwrap();
        Self { folder, signer, principals }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn of(&self, otherwise: &[(&str, Value)]) -> Option<Result<String, TokenRefused>> {
        let found = self.principals.of_token(&self.signer.token(otherwise))?;
        Some(found.map(|principal| principal.name().to_string()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_known_by_issuer_and_subject_or_by_its_certificate() {
    let world = World::new();
    assert_eq!(world.of(&[]), Some(Ok("web".to_owned())));
    assert_eq!(world.of(&[("sub", json!("other"))]), Some(Err(TokenRefused::Untrusted)), "trusted, and nobody");
    assert_eq!(world.of(&[("iss", json!("https://other.example"))]), None);
    assert!(world.principals.of_token("a.b.c").is_none());
    let named = |name: &str| {
        let peer = PeerIdentity { names: vec!["dns.example".to_owned(), name.to_owned()] };
        world.principals.of_peer(&peer).map(|principal| principal.name().to_string())
    };
    assert_eq!(named("spiffe://example/mesh"), Some("mesh".to_owned()));
    assert_eq!(named("web"), None);
    assert!(Principals::default().of_token(&world.signer.token(&[])).is_none());
    assert!(Principals::default().of_peer(&PeerIdentity { names: vec![String::new()] }).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_verified_expires_nevertheless() {
    let world = World::new();
    assert_eq!(world.of(&[]), Some(Ok("web".to_owned())));
    // A minute, and the leeway.
    tokio::time::sleep(Duration::from_secs(89)).await;
    assert_eq!(world.of(&[]), Some(Ok("web".to_owned())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.of(&[]), Some(Err(TokenRefused::Expired)));
}

#[tokio::test(start_paused = true)]
async fn rights_and_keys_are_read_again_when_a_file_changes() {
    let world = World::new();
    let may = |right| world.principals.of_token(&world.signer.token(&[])).unwrap().unwrap().may(right).is_ok();
    assert!(may(Right::Read) && !may(Right::ActAs));
    world.write("callers.toml", "[[principal]]");
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert!(may(Right::Read), "a file that does not read changes nothing");
    world.write("callers.toml", &callers("\"act-as\""));
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert!(!may(Right::Read) && may(Right::ActAs));

    world.write("login.json", &world.signer.set("another"));
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert_eq!(world.of(&[]), Some(Err(TokenRefused::KeyUnknown)), "also though it was remembered");
}

#[test]
fn a_file_or_a_key_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callers.toml");
    let error = |file: &Path| Principals::check(file, KeyTransport::LoopbackToo).err().unwrap().to_string();
    assert!(error(&file).contains("callers.toml"));
    std::fs::write(&file, callers("")).unwrap();
    assert!(error(&file).contains("login.json"));
    std::fs::write(folder.path().join("login.json"), Signer::of(Algorithm::RS256).set("k")).unwrap();
    assert!(error(&file).contains("no JWK set with a key for ES256"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_verified_is_good_no_longer_than_the_fetched_keys() {
    let _clock = hold_the_clock();
    let (world, server) = (World::new(), Server::start(None).await);
    let by_url =
        |url: &str| callers("\"read\"").replace("jwks_file = \"login.json\"", &format!("jwks_url = \"{url}\""));
    world.write("callers.toml", &by_url(&format!("http://{}/keys", server.address)));
    server.has_keys(&world.signer.set("k"));
    // Valid for longer than keys live.
    let token = [("exp", json!(NOW_MS / 1_000 + 24 * 3_600))];
    pass(6).await;
    until("the fetched keys", || server.asked() == 1 && world.of(&token) == Some(Ok("web".to_owned()))).await;
    // Another name for the file's other entries: the keys are not fetched anew.
    let text = by_url(&format!("http://{}/keys", server.address)).replace("mesh", "mash");
    world.write("callers.toml", &text);
    pass(6).await;
    assert_eq!((world.of(&token), server.asked()), (Some(Ok("web".to_owned())), 1));

    server.has_keys(&world.signer.set("another"));
    pass(375).await;
    until("the other keys", || world.of(&token) == Some(Err(TokenRefused::KeyUnknown))).await;
    server.has_keys(&world.signer.set("k"));
    pass(31).await;
    until("the first keys", || world.of(&token) == Some(Ok("web".to_owned()))).await;
    server.answers("");
    pass(24 * 3_600 - 500).await;
    assert_eq!(world.of(&token), Some(Ok("web".to_owned())));
    pass(500).await;
    assert_eq!(world.of(&token), Some(Err(TokenRefused::KeysStale)), "also though it was remembered");
}
