//! One GET of a file of keys: over TLS, bounded in time and size. Redirects are not followed.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jsonwebtoken::Algorithm;
use kith_runtime::Runtime;
use kith_tls::{ClientFiles, ClientTls, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::auth::key_url::KeyUrl;
use crate::limits::{ISSUER_KEYS_BYTES, ISSUER_KEYS_FETCH_SECONDS};

const TIME: Duration = Duration::from_secs(ISSUER_KEYS_FETCH_SECONDS);
/// Of an answer's head.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the server cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error(transparent)]
    Authorities(#[from] TlsError),
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the answer does not read: {0}")]
    Http(String),
    #[error("the answer has the status {0}, not 200{hint}", hint = if .0.is_redirection() { "; redirects are not followed" } else { "" })]
    Status(StatusCode),
    #[error("the answer is longer than {ISSUER_KEYS_BYTES} bytes")]
    TooLong,
    #[error("there was no whole answer within {ISSUER_KEYS_FETCH_SECONDS} s")]
    Late,
    #[error("the answer is no JWK set with a key for {0:?}")]
    NoKeys(Algorithm),
}

/// The body of the answer.
pub async fn get(url: &KeyUrl, runtime: &Runtime) -> Result<Vec<u8>, FetchError> {
    tokio::time::timeout(TIME, get_at_last(url, runtime)).await.map_err(|_| FetchError::Late)?
}

async fn get_at_last(url: &KeyUrl, runtime: &Runtime) -> Result<Vec<u8>, FetchError> {
    let stream = TcpStream::connect((url.host(), url.port())).await.map_err(FetchError::Unreachable)?;
    if url.is_plaintext() {
        return ask(url, stream).await;
    }
    // Made anew each time: the authorities may have changed, and fetches are rare.
    let files = ClientFiles { ca: url.ca().map(Into::into), identity: None, server_name: None };
    let tls = runtime.blocking(move || ClientTls::open(files)).await.ok_or(FetchError::Late)??;
    let stream = tls.connect(url.host(), stream).await.map_err(FetchError::Handshake)?;
    ask(url, stream).await
}

async fn ask<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    url: &KeyUrl,
    stream: S,
) -> Result<Vec<u8>, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(unreadable)?;
    let answered = async {
        let request = Request::get(url.path()).header(HOST, url.authority()).header(ACCEPT, "application/json");
        let request = request.header(USER_AGENT, "kith").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| FetchError::Http(error.to_string()))?;
        body(sender.send_request(request).await.map_err(unreadable)?).await
    };
    let driven = async {
        // What ends it early, the answer's reader is told too.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to an issuer ended");
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answered => answer,
        never = driven => match never {},
    }
}

async fn body(answer: Response<Incoming>) -> Result<Vec<u8>, FetchError> {
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), ISSUER_KEYS_BYTES).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLong,
        false => FetchError::Http(error.to_string()),
    })?;
    Ok(body.to_bytes().into())
}

fn unreadable(error: hyper::Error) -> FetchError {
    FetchError::Http(error.to_string())
}
