//! HTTP/2 frames by hand, for callers that no client library makes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
const CANCEL: u32 = 8;
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// A frame that came.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

/// A connection that has greeted, and takes answers of up to 16 MiB.
pub struct Frames(TcpStream);

impl Frames {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::greet(TcpStream::connect(address).await.unwrap(), WINDOW_BYTES).await
    }

    /// From the address 127.0.0.`host`, one that takes nothing of any answer.
    pub async fn closed(address: SocketAddr, host: u8) -> Self {
        Self::greet(connect_from(address, host).await.unwrap(), 0).await
    }

    async fn greet(mut stream: TcpStream, window_bytes: u32) -> Self {
        let window = [&INITIAL_WINDOW_SIZE[..], &window_bytes.to_be_bytes()].concat();
        let greeting = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &window), window_update()];
        stream.write_all(&greeting.concat()).await.unwrap();
        Self(stream)
    }

    /// Sends all of this at once.
    pub async fn send(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
        let frames: Vec<_> = frames.into_iter().collect();
        self.0.write_all(&frames.concat()).await
    }

    /// The next frame that says something of a stream, or of the connection's end.
    pub async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.0.read_exact(&mut vec![0; length]).await?;
            match (head[3], head[4]) {
                (SETTINGS, 0) => self.send([frame(SETTINGS, ACK, 0, &[])]).await?,
                (kind, flags) if stream > 0 || kind == GOAWAY => return Ok(Frame { kind, flags, stream }),
                _ => {}
            }
        }
    }
}

/// A connection from 127.0.0.`host`: another address than others'.
pub async fn connect_from(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, host], 0).into())?;
    socket.connect(address).await
}

/// The headers of a call of `path`, with nothing of its message.
pub fn call(stream: u32, path: &str) -> Vec<u8> {
    call_as(stream, path, "")
}

/// The same with that `authorization`.
pub fn call_as(stream: u32, path: &str, authorization: &str) -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", authorization),
    ];
    let mut block = Vec::new();
    for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
        // A literal that is not indexed, with a name of its own (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.extend(length(text.len()));
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(length: usize) -> Vec<u8> {
    match length.checked_sub(127) {
        None => vec![u8::try_from(length).unwrap()],
        Some(rest) if rest < 128 => vec![127, u8::try_from(rest).unwrap()],
        Some(rest) => vec![127, u8::try_from(rest % 128).unwrap() | 128, u8::try_from(rest / 128).unwrap()],
    }
}

/// As few bytes as headers can be: POST, http and `/` are in HPACK's static table.
pub fn short_call(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &[0x83, 0x86, 0x84])
}

/// An empty message, and the end of the request.
pub fn message(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &[0; 5])
}

pub fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn window_update() -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &WINDOW_BYTES.to_be_bytes())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}
