//! An issuer whose keys are at a URL, and one whose keys never come.

use kith_runtime::Runtime;
use kith_tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::Code;

use super::issuer::{PEOPLE, STAFF};
use super::{READ_AGAIN_WITHIN, World, all_principals, refused};

/// A server of these keys; gives its URL.
async fn serve(json: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len());
    Runtime::system().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_known_by_keys_from_a_url() {
    let world = World::embedded().await;
    let (_, ada) = world.person("ada").await;
    let post = ada.post("hello", "").await.unwrap().post_id;
    let url = serve(world.issuer.public_keys()).await;
    let at = |url: &str| format!("jwks_url = \"{url}\"");
    world.issuer.trust_by([&at(&url), &at("http://127.0.0.1:1/keys")], &all_principals(&["read"]));
    let failed = format!("kith_issuer_key_fetches_failed_total{{issuer=\"{PEOPLE}\"}}");
    wait::until("the keys are asked for", READ_AGAIN_WITHIN, async || Ok(world.metric(&failed).await.then_some(())))
        .await
        .unwrap();
    let reader = world.service("reader");
    wait::until("the keys are there", READ_AGAIN_WITHIN, async || Ok(reader.get_post(&post).await.ok())).await.unwrap();
    let person = world.issuer.token(PEOPLE, "ada", &[]);
    refused(world.anyone().with(&person).get_post(&post).await, Code::Unavailable, "ISSUER_KEYS_MISSING");
    refused(ada.link(&person).await, Code::Unavailable, "ISSUER_KEYS_MISSING");
    for issuer in [STAFF, PEOPLE] {
        assert!(world.metric(&format!("kith_issuer_keys_age_seconds{{issuer=\"{issuer}\"}}")).await);
    }
}
