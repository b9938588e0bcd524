use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::guard;
use crate::http;
use crate::process::Process;
use crate::wait::until;

/// Starts on another address if a port was taken between check and start.
const STARTS: usize = 3;
/// Draws of a loopback address; nearly all of 16 million are free.
const ADDRESS_DRAWS: usize = 64;

/// A kind of server: how to prepare it, start it and check that it serves.
pub struct Kind {
    pub name: String,
    /// All of them are free on the address that the server gets.
    pub ports: Vec<u16>,
    pub ready: Ready,
    pub ready_within: Duration,
    /// Lays out an empty folder before the first start.
    pub prepare: Prepare,
    pub command: MakeCommand,
}

pub type Prepare = Box<dyn Fn(&Place) -> Result<()> + Send + Sync>;
pub type MakeCommand = Box<dyn Fn(&Place) -> Result<Command> + Send + Sync>;

/// How a server shows that it serves.
#[derive(Debug, Clone, Copy)]
pub enum Ready {
    /// It listens there.
    Accepts { port: u16 },
    /// `GET path` answers 200.
    AnswersOk { port: u16, path: &'static str },
}

/// Where one server lives: an address of its own, so that it can have its standard ports, and a folder.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: Ipv4Addr,
    pub folder: PathBuf,
}

/// A server process that can be killed and started again on the same address and folder.
/// Dropping it kills it and removes its folder.
pub struct Server {
    kind: Kind,
    place: Place,
    process: Option<Process>,
    root: tempfile::TempDir,
}

impl Server {
    /// A server on a random address of 127.0.0.0/8, ready to be used.
    pub async fn start(kind: Kind) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("kith-test-").tempdir()?;
        guard::remove_at_the_end(root.path())?;
        let place = Place { address: Ipv4Addr::LOCALHOST, folder: root.path().join("server") };
        let mut server = Self { kind, place, process: None, root };
        let mut starts_left = STARTS;
        loop {
            starts_left -= 1;
            server.place.address = free_address(&server.kind.ports)?;
            match server.wipe().await {
                Err(error) if starts_left > 0 && is_taken(&error) => {}
                outcome => return outcome.map(|()| server),
            }
        }
    }

    /// Where it listens on `port`.
    pub fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.place.address), port)
    }

    pub fn address(&self) -> Ipv4Addr {
        self.place.address
    }

    /// The folder that it was started in.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// The running process; an error when it was killed or stopped.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} is not running", self.kind.name))
    }

    /// SIGKILL. It is gone when this returns; [`Self::restart`] brings it back.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub async fn pause(&mut self) -> Result<()> {
        self.process()?.pause().await
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        self.process()?.resume()
    }

    /// SIGTERM, and waits for the end; an error, and SIGKILL, when it does not end in time.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        let stopped = self.process()?.stop(within).await;
        self.process = None;
        stopped
    }

    /// Starts it on the same address and folder, and waits until it is ready. One that still runs is killed first.
    pub async fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// As [`Self::restart`], without the wait.
    pub fn launch(&mut self) -> Result<()> {
        self.kill_9()?;
        let command = (self.kind.command)(&self.place)?;
        let output = self.root.path().join("output");
        self.process = Some(Process::start(&self.kind.name, command, &output)?);
        Ok(())
    }

    /// Waits until it serves. Fails at once when it ends instead.
    pub async fn ready(&mut self) -> Result<()> {
        let what = format!("{} is ready on {}", self.kind.name, self.place.address);
        let waited = until(&what, self.kind.ready_within, async || {
            self.process()?.ensure_running()?;
            Ok(self.is_ready().await.then_some(()))
        });
        let waited = waited.await;
        waited.with_context(|| self.process.as_ref().map_or_else(String::new, Process::output_tail))
    }

    /// Whether it serves now.
    pub async fn is_ready(&self) -> bool {
        match self.kind.ready {
            Ready::Accepts { port } => TcpStream::connect(self.socket(port)).await.is_ok(),
            Ready::AnswersOk { port, path } => {
                http::get(self.socket(port), path).await.is_ok_and(|answer| answer.status == 200)
            }
        }
    }

    /// Brings it back to a running, ready state after any failed test.
    pub async fn revive(&mut self) -> Result<()> {
        let runs = self.process().is_ok_and(|process| process.ensure_running().is_ok());
        if !runs {
            return self.restart().await;
        }
        self.resume()?;
        self.ready().await
    }

    /// Starts it with an empty folder on the same address, as if it had never run.
    pub async fn wipe(&mut self) -> Result<()> {
        self.kill_9()?;
        if self.place.folder.exists() {
            std::fs::remove_dir_all(&self.place.folder)?;
        }
        std::fs::create_dir_all(&self.place.folder)?;
        (self.kind.prepare)(&self.place)?;
        self.restart().await
    }
}

/// An address of 127.0.0.0/8 on which nothing listens on `ports`.
fn free_address(ports: &[u16]) -> Result<Ipv4Addr> {
    let is_free = |address: &Ipv4Addr| ports.iter().all(|port| TcpListener::bind((*address, *port)).is_ok());
    let mut draws = (0..ADDRESS_DRAWS).map(|_| random_address());
    draws.find(is_free).with_context(|| format!("no loopback address has the ports {ports:?} free"))
}

/// 127.0.0.x is reserved for manual use.
fn random_address() -> Ipv4Addr {
    let [a, b, c, ..] = RandomState::new().hash_one(()).to_le_bytes();
    Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254))
}

fn is_taken(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}").to_lowercase();
    ["address already in use", "bindexception", "is taken by another process"].iter().any(|sign| text.contains(sign))
}
