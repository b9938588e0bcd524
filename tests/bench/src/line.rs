//! A connection without what a channel of tonic, or of hyper, has around HTTP/2 (queues, tasks, timers): what loads shares
//! the cores with what is loaded, and where most calls are refused the caller's share is the larger one.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use kith_runtime::Runtime;
use prost::Message;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What calls with one answer are made over.
pub trait Connection: Clone + Send + Sync + 'static {
    /// Calls the method at `path` (`/package.Service/Method`).
    fn call<Q, A>(&self, path: &'static str, request: Request<Q>) -> impl Future<Output = Result<A, Status>> + Send
    where
        Q: Message + 'static,
        A: Message + Default + 'static;
}

impl Connection for Channel {
    async fn call<Q, A>(&self, path: &'static str, request: Request<Q>) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = Grpc::new(self.clone());
        client.ready().await.map_err(lost)?;
        let answer = client.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Line {
    sender: SendRequest<Bytes>,
    authority: Authority,
}

impl Line {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        Runtime::system().spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("  a connection ended: {error}");
            }
        });
        Ok(Self { sender, authority: address.to_string().parse()? })
    }

    fn head(&self, path: &'static str, metadata: HeaderMap) -> Result<http::Request<()>, Status> {
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(self.authority.clone()));
        uri.path_and_query = Some(PathAndQuery::from_static(path));
        let mut head = http::Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = Uri::from_parts(uri).map_err(lost)?;
        *head.headers_mut() = metadata;
        head.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(head)
    }
}

impl Connection for Line {
    async fn call<Q, A>(&self, path: &'static str, request: Request<Q>) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (metadata, _, message) = request.into_parts();
        let head = self.head(path, metadata.into_headers())?;
        let mut sender = self.sender.clone().ready().await.map_err(lost)?;
        let (answer, mut body) = sender.send_request(head, false).map_err(lost)?;
        body.send_data(framed(&message), true).map_err(lost)?;
        let (head, mut body) = answer.await.map_err(lost)?.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(status);
        }
        let message = taken(&mut body).await.map_err(lost)?;
        let trailers = body.trailers().await.map_err(lost)?.unwrap_or_default();
        let status = Status::from_header_map(&trailers).ok_or_else(|| Status::unknown("an answer without a status"))?;
        match (status.code(), message.get(PREFIX_BYTES..)) {
            (tonic::Code::Ok, Some(message)) => A::decode(message).map_err(lost),
            _ => Err(status),
        }
    }
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    // A few hundred bytes.
    frame.put_u32(message.len() as u32);
    frame.put(&*message);
    frame.freeze()
}

async fn taken(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut all = Bytes::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all = if all.is_empty() { data } else { [all, data].concat().into() };
    }
    Ok(all)
}

fn lost(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}
