//! The callers' port over TLS.

use kith_authority::Authority;
use kith_tls::{Clients, Identity, ServerFiles, ServerTls};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::*;
use crate::limits::TLS_HANDSHAKES;

struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), authority: Authority::default() }
    }

    /// A server for callers with a certificate of the authority.
    async fn start(&self) -> Running {
        let (certificate, key) = self.authority.issue(self.folder.path(), "server", &["127.0.0.1"]);
        let clients = Clients::Required(self.authority.write(self.folder.path().join("ca.pem")));
        let files = ServerFiles { identity: Identity { certificate, key }, clients };
        let tls = ListenersTls { callers: Some(ServerTls::open(files).unwrap()), operators: None };
        start_with(tls, EdgeRules::default()).await
    }

    /// How `caller` is reached by who shows a certificate with these names; without any: none.
    fn endpoint(&self, running: &Running, names: &[&str]) -> Endpoint {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.authority.pem()));
        if !names.is_empty() {
            let (certificate, key) = self.authority.issue(self.folder.path(), "client", names);
            let [certificate, key] = [certificate, key].map(|file| std::fs::read(file).unwrap());
            tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key));
        }
        Endpoint::from_shared(format!("https://{}", running.callers)).unwrap().tls_config(tls).unwrap()
    }
}

#[tokio::test]
async fn a_handler_knows_which_certificate_a_call_came_with() {
    let place = Place::new();
    let running = place.start().await;
    let names = ["spiffe://example.org/web", "web.internal"];
    let channel = place.endpoint(&running, &names).connect().await.unwrap();
    let mut sessions = SessionServiceClient::new(channel);
    for _ in 0..2 {
        let refused = sessions.create_session(CreateSessionRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "a certificate is no account");
    }
    let known = PeerIdentity { names: names.map(str::to_owned).into() };
    assert_eq!(*running.sessions.peers.lock().unwrap(), vec![Some(known); 2]);
    running.end.send(()).unwrap();
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_shows_no_certificate_or_speaks_plaintext_gets_no_answer() {
    let place = Place::new();
    let running = place.start().await;
    let asked = async |endpoint: Endpoint| {
        let mut sessions = SessionServiceClient::new(endpoint.connect_lazy());
        sessions.create_session(CreateSessionRequest::default()).await.unwrap_err().code()
    };
    assert_ne!(asked(place.endpoint(&running, &[])).await, Code::Unauthenticated);
    let plaintext = Endpoint::from_shared(format!("http://{}", running.callers)).unwrap();
    assert_ne!(asked(plaintext).await, Code::Unauthenticated);
    assert!(running.sessions.peers.lock().unwrap().is_empty());
}

/// Peers that open a connection and say nothing take places of handshakes, never the ones of callers that have theirs.
#[tokio::test]
async fn handshakes_that_never_end_are_bounded() {
    let place = Place::new();
    let running = place.start().await;
    let channel = place.endpoint(&running, &["web.internal"]).connect().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..=TLS_HANDSHAKES {
        silent.push(TcpStream::connect(running.callers).await.unwrap());
    }
    let closed = silent.iter_mut().map(|stream| Box::pin(async { stream.read(&mut [0]).await.unwrap_or(0) }));
    let closed = tokio::time::timeout(Duration::from_secs(5), futures::future::select_all(closed)).await;
    assert_eq!(closed.expect("one is over the limit").0, 0);
    let mut sessions = SessionServiceClient::new(channel);
    let answered = sessions.create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_eq!(answered.code(), Code::Unauthenticated, "who is connected is served");
}
