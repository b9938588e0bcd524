//! A TCP proxy with faults: delay, small pieces, silence, cuts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kith_runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Bytes that one pass moves.
const PIECE_BYTES: usize = 16 * 1024;

/// What happens to bytes on their way, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Every piece comes so late.
    Late(Duration),
    /// In pieces of so many bytes.
    Sliced(usize),
    /// Connections stay open, and nothing passes.
    Silent,
    /// Connections are cut, and new ones too.
    Cut,
}

/// A proxy before one server. Dropping it ends it.
pub struct Proxy {
    weather: watch::Sender<Weather>,
    answers: Arc<Answers>,
    task: tokio::task::JoinHandle<()>,
}

/// What came back from the server.
#[derive(Default)]
struct Answers(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    pieces: u64,
    hold: Option<Hold>,
}

/// The piece of that number is to be held; who waits for it is told.
struct Hold {
    number: u64,
    arrived: oneshot::Sender<Held>,
}

/// A piece of an answer that has left the server and not reached its client. Dropping this lets it go.
pub struct Held {
    /// The client's end of the connection.
    pub client: SocketAddr,
    _let_go: oneshot::Sender<()>,
}

impl Answers {
    /// Counts a piece. It is not to be passed on before what this returns has ended.
    fn arrive(&self, client: SocketAddr) -> Option<oneshot::Receiver<()>> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.pieces += 1;
        let now = counted.pieces;
        let Hold { arrived, .. } = counted.hold.take_if(|hold| hold.number <= now)?;
        let (let_go, gone) = oneshot::channel();
        arrived.send(Held { client, _let_go: let_go }).ok()?;
        Some(gone)
    }
}

impl Proxy {
    /// Listens at `at`, and hands on to `server`, whether it is there yet or not.
    pub async fn start(at: SocketAddr, server: SocketAddr) -> Result<Self> {
        Ok(Self::on(TcpListener::bind(at).await?, server))
    }

    fn on(listener: TcpListener, server: SocketAddr) -> Self {
        let (weather, seen) = watch::channel(Weather::Fair);
        let answers = Arc::<Answers>::default();
        let task = Runtime::system().spawn(accept(listener, server, seen, Arc::clone(&answers)));
        Self { weather, answers, task }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Waits until the `n`th piece from now has come back from the server, and holds it.
    pub async fn hold_at(&self, n: u64) -> Result<Held> {
        let (arrived, held) = oneshot::channel();
        {
            let mut counted = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
            counted.hold = Some(Hold { number: counted.pieces + n, arrived });
        }
        held.await.context("the proxy is gone")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, weather: watch::Receiver<Weather>, answers: Arc<Answers>) {
    // Ends all of them with itself.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, from)) = listener.accept().await {
        let (weather, answers) = (weather.clone(), Arc::clone(&answers));
        connections.spawn(async move {
            let mut cut = weather.clone();
            tokio::select! {
                _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
                _ = connect((client, from), server, &weather, &answers) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    (client, from): (TcpStream, SocketAddr),
    server: SocketAddr,
    weather: &watch::Receiver<Weather>,
    answers: &Answers,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        moved = pass(from_client, to_server, weather.clone(), || None) => moved,
        moved = pass(from_server, to_client, weather.clone(), || answers.arrive(from)) => moved,
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    arrive: impl Fn() -> Option<oneshot::Receiver<()>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(gone) = arrive() {
            // However it is let go.
            let _ = gone.await;
        }
        // An error means that the proxy is gone, and this task with it.
        let now = match weather.wait_for(|weather| *weather != Weather::Silent).await {
            Ok(now) => *now,
            Err(_) => return Ok(()),
        };
        if let Weather::Late(by) = now {
            tokio::time::sleep(by).await;
        }
        let piece = if let Weather::Sliced(bytes) = now { bytes } else { read };
        for slice in buffer[..read].chunks(piece.max(1)) {
            to.write_all(slice).await?;
            if piece < read {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(proxy: &Proxy) -> u64 {
        proxy.answers.0.lock().unwrap().pieces
    }

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        Runtime::system().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                Runtime::system().spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        at
    }

    async fn ask(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn the_weather_changes_under_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap();
        let proxy = Proxy::on(listener, echo().await);
        let mut stream = TcpStream::connect(free).await.unwrap();
        let long = vec![7; 100_000];
        for weather in [Weather::Fair, Weather::Sliced(3), Weather::Late(Duration::from_millis(1))] {
            proxy.set(weather);
            assert_eq!(ask(&mut stream, &long).await.unwrap(), long, "{weather:?}");
        }
        assert!(answers(&proxy) > 3);
        proxy.set(Weather::Silent);
        let silent = tokio::time::timeout(Duration::from_millis(50), ask(&mut stream, b"hello")).await;
        assert!(silent.is_err());
        proxy.set(Weather::Cut);
        assert!(!matches!(stream.read(&mut [0; 10]).await, Ok(1..)));
        let mut refused = TcpStream::connect(free).await.unwrap();
        assert!(ask(&mut refused, b"hello").await.is_err());
        proxy.set(Weather::Fair);
        let mut again = TcpStream::connect(free).await.unwrap();
        assert_eq!(ask(&mut again, b"hello").await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn an_answer_is_held_until_it_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap();
        let proxy = Proxy::on(listener, echo().await);
        let mut stream = TcpStream::connect(free).await.unwrap();
        assert_eq!(ask(&mut stream, b"one").await.unwrap(), b"one");
        let from = stream.local_addr().unwrap();
        let mut asked = Box::pin(ask(&mut stream, b"two"));
        let held = tokio::select! {
            held = proxy.hold_at(1) => held.unwrap(),
            answer = &mut asked => panic!("{answer:?} was not held"),
        };
        assert_eq!((held.client, answers(&proxy)), (from, 2));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asked).await.is_err());
        drop(held);
        assert_eq!(asked.await.unwrap(), b"two");
    }
}
