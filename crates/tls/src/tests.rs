use std::fs;
use std::sync::Arc;

use kith_authority::Authority;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::*;

/// A server and the authority of its clients, in files.
struct Place {
    folder: TempDir,
    ca: Authority,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), ca: Authority::default() };
        place.trust(&place.ca);
        place
    }

    fn trust(&self, ca: &Authority) {
        ca.write(self.ca_file());
    }

    fn issue(&self, ca: &Authority, name: &str, names: &[&str]) -> Identity {
        let (certificate, key) = ca.issue(self.folder.path(), name, names);
        Identity { certificate, key }
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn server(&self, clients: Clients) -> Arc<ServerTls> {
        let identity = self.issue(&self.ca, "server", &["kith.internal"]);
        ServerTls::open(ServerFiles { identity, clients }).unwrap()
    }

    fn client(&self, identity: Option<Identity>, server_name: Option<&str>) -> ClientTls {
        let ca = self.ca.write(self.folder.path().join("servers.pem"));
        ClientTls::open(ClientFiles { ca: Some(ca), identity, server_name: server_name.map(str::to_owned) }).unwrap()
    }
}

/// What the server knows of the client once both have talked; `Err`: one of them refused.
async fn talk(server: &ServerTls, client: &ClientTls, called: &str) -> Result<Option<Vec<String>>, String> {
    let (ours, theirs) = duplex(64 * 1024);
    let served = async {
        let mut accepted = server.accept(ours).await.map_err(|error| error.to_string())?;
        accepted.stream.write_all(b"x").await.map_err(|error| error.to_string())?;
        accepted.stream.flush().await.map_err(|error| error.to_string())?;
        Ok(accepted.names)
    };
    let asked = async {
        let called = ServerName::try_from(called.to_owned()).unwrap();
        let connected = TlsConnector::from(client.config()).connect(called, theirs).await;
        let mut stream = connected.map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())
    };
    let (names, read) = tokio::join!(served, asked);
    read.and(names)
}

#[tokio::test]
async fn a_client_is_known_by_the_names_of_its_certificate() {
    let place = Place::new();
    let server = place.server(Clients::Required(place.ca_file()));
    let own = place.issue(&place.ca, "web", &["spiffe://example.org/web", "web.internal"]);
    let client = place.client(Some(own), None);
    let names = vec!["spiffe://example.org/web".to_owned(), "web.internal".to_owned()];
    assert_eq!(talk(&server, &client, "kith.internal").await, Ok(Some(names)));
}

#[tokio::test]
async fn who_shows_no_certificate_or_a_strangers_is_refused() {
    let place = Place::new();
    let stranger = place.issue(&Authority::default(), "stranger", &["spiffe://example.org/web"]);
    let (nobody, stranger) = (place.client(None, None), place.client(Some(stranger), None));
    let required = place.server(Clients::Required(place.ca_file()));
    assert!(talk(&required, &nobody, "kith.internal").await.is_err());
    assert!(talk(&required, &stranger, "kith.internal").await.is_err());
    let optional = place.server(Clients::Optional(place.ca_file()));
    assert_eq!(talk(&optional, &nobody, "kith.internal").await, Ok(None));
    assert!(talk(&optional, &stranger, "kith.internal").await.is_err());
    let not_asked = place.server(Clients::NotAsked);
    assert_eq!(talk(&not_asked, &stranger, "kith.internal").await, Ok(None));
}

#[tokio::test]
async fn a_server_is_known_by_the_name_that_is_called_or_set() {
    let place = Place::new();
    let server = place.server(Clients::NotAsked);
    assert!(talk(&server, &place.client(None, None), "127.0.0.1").await.is_err());
    assert_eq!(talk(&server, &place.client(None, Some("kith.internal")), "127.0.0.1").await, Ok(None));
    assert!(talk(&server, &place.client(None, Some("other.internal")), "kith.internal").await.is_err());
    let impostor = Place { folder: tempfile::tempdir().unwrap(), ca: Authority::default() }.server(Clients::NotAsked);
    assert!(talk(&impostor, &place.client(None, None), "kith.internal").await.is_err());
}

#[tokio::test]
async fn files_that_change_are_used_by_the_next_connection_and_bad_ones_are_not() {
    let place = Place::new();
    let server = place.server(Clients::Required(place.ca_file()));
    let own = place.issue(&place.ca, "web", &["web.internal"]);
    let client = place.client(Some(own), None);
    assert_eq!(server.reload(), Ok(false));
    fs::write(place.ca_file(), "no certificate").unwrap();
    assert!(server.reload().unwrap_err().to_string().contains("ca.pem"));
    assert_eq!(server.reload(), Ok(false), "the same files are not tried twice");
    assert!(talk(&server, &client, "kith.internal").await.is_ok(), "the last good ones are in use");
    let next = Authority::default();
    place.trust(&next);
    assert_eq!(server.reload(), Ok(true));
    assert!(talk(&server, &client, "kith.internal").await.is_err(), "no session is resumed");
    place.issue(&next, "web", &["web.next"]);
    assert_eq!(client.reload(), Ok(true));
    assert_eq!(talk(&server, &client, "kith.internal").await, Ok(Some(vec!["web.next".to_owned()])));
    next.write(place.folder.path().join("servers.pem"));
    assert_eq!(client.reload(), Ok(true));
    assert!(talk(&server, &client, "kith.internal").await.is_err(), "the server's authority is not trusted any more");
}

#[test]
fn a_key_of_another_certificate_is_refused_by_name() {
    let place = Place::new();
    let ours = place.issue(&place.ca, "ours", &["kith.internal"]);
    let theirs = place.issue(&place.ca, "theirs", &["kith.internal"]);
    let mixed = Identity { key: theirs.key, ..ours };
    let error = ServerTls::open(ServerFiles { identity: mixed.clone(), clients: Clients::NotAsked }).unwrap_err();
    assert!(error.to_string().contains("ours.pem"), "{error}");
    let missing = Identity { key: place.folder.path().join("none.key"), ..mixed };
    let error = ServerTls::open(ServerFiles { identity: missing, clients: Clients::NotAsked }).unwrap_err();
    assert!(error.to_string().contains("none.key"), "{error}");
}
