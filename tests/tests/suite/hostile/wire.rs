//! HTTP/2 by hand, from an address of one's own, for callers that no client library makes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

/// From 127.0.0.`host`.
pub async fn connect(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, host], 0).into())?;
    socket.connect(address).await
}

/// The same, greeted as HTTP/2 wants it.
pub async fn greeted(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    let mut stream = connect(address, host).await?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await?;
    Ok(stream)
}

/// The headers of a call, and nothing of its message.
pub fn call(stream: u32, path: &str) -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "30S"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        // A literal that is not indexed, with a name of its own (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A call of no method, which is answered at once.
pub fn whole_call(stream: u32) -> Vec<u8> {
    let mut call = call(stream, "/none");
    // The flags.
    call[4] |= END_STREAM;
    call
}

/// Waits until a call is answered: the server has then seen all that was sent before it.
pub async fn until_answered(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            return Ok(());
        }
    }
}

/// A call of as few bytes as there can be, and that it is cancelled.
pub fn cancelled(stream: u32) -> Vec<u8> {
    // POST, http and `/` are in HPACK's static table.
    [frame(HEADERS, END_HEADERS, stream, &[0x83, 0x86, 0x84]), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())]
        .concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}
