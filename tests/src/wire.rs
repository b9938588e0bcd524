//! HTTP/2 by hand, from an address of one's own, for callers that no client library makes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// From 127.0.0.`host`.
pub async fn connect(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, host], 0).into())?;
    socket.connect(address).await
}

/// The same, greeted as HTTP/2 wants it.
pub async fn greeted(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    greeted_with(address, host, &[]).await
}

/// The same by one who takes no byte of any answer.
pub async fn greeted_deaf(address: SocketAddr, host: u8) -> io::Result<TcpStream> {
    greeted_with(address, host, &[&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &0_u32.to_be_bytes()].concat()).await
}

async fn greeted_with(address: SocketAddr, host: u8, settings: &[u8]) -> io::Result<TcpStream> {
    let mut stream = connect(address, host).await?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await?;
    Ok(stream)
}

/// So many numbers of streams. Those of callers are odd.
pub fn streams(count: usize) -> impl Iterator<Item = u32> {
    (1..).step_by(2).take(count)
}

/// The headers of a call, `more` among them, and nothing of its message.
pub fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
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
    for (name, value) in headers.iter().chain(more) {
        // A literal that is not indexed, with a name of its own (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// As an integer with a prefix of seven bits (RFC 7541, section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    const PREFIX: usize = 127;
    let Some(mut rest) = length.checked_sub(PREFIX) else { return block.push(length as u8) };
    block.push(PREFIX as u8);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// An empty message, and no more of this call.
pub fn empty_message(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &[0; 5])
}

/// A call of no method, which is answered at once.
pub fn whole_call(stream: u32) -> Vec<u8> {
    let mut call = call(stream, "/none", &[]);
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
    // Some hundred bytes.
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}
