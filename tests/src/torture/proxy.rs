//! A TCP proxy with weather: what passes, how late, in which pieces, and whether at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use kith_runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

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
    /// Pieces that came back from the server.
    answers: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens at `at`, and hands on to `server`, whether it is there yet or not.
    pub async fn start(at: SocketAddr, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let (weather, seen) = watch::channel(Weather::Fair);
        let answers = Arc::<AtomicU64>::default();
        let task = Runtime::system().spawn(accept(listener, server, seen, Arc::clone(&answers)));
        Ok(Self { weather, answers, task })
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Pieces that came back from the server so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, weather: watch::Receiver<Weather>, answers: Arc<AtomicU64>) {
    // Ends all of them with itself.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (weather, answers) = (weather.clone(), Arc::clone(&answers));
        connections.spawn(async move {
            let mut cut = weather.clone();
            tokio::select! {
                _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
                _ = connect(client, server, &weather, &answers) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    client: TcpStream,
    server: SocketAddr,
    weather: &watch::Receiver<Weather>,
    answers: &AtomicU64,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let nothing = AtomicU64::new(0);
    tokio::select! {
        moved = pass(from_client, to_server, weather.clone(), &nothing) => moved,
        moved = pass(from_server, to_client, weather.clone(), answers) => moved,
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    passed: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        passed.fetch_add(1, Ordering::Relaxed);
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
        let at: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let free = TcpListener::bind(at).await.unwrap().local_addr().unwrap();
        let proxy = Proxy::start(free, echo().await).await.unwrap();
        let mut stream = TcpStream::connect(free).await.unwrap();
        let long = vec![7; 100_000];
        for weather in [Weather::Fair, Weather::Sliced(3), Weather::Late(Duration::from_millis(1))] {
            proxy.set(weather);
            assert_eq!(ask(&mut stream, &long).await.unwrap(), long, "{weather:?}");
        }
        assert!(proxy.answers() > 3);
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
}
