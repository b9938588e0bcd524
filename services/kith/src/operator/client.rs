//! Where operators' commands go.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// A process that is only starting gets this long.
const PATIENCE: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(500);

/// What every operator's command takes.
#[derive(Debug, Args)]
pub struct OpsOptions {
    /// HOST:PORT where a process takes operators' commands (its `ops_listen`)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7402")]
    pub ops: String,
    /// Prints JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl OpsOptions {
    /// Connects, and says when it has to wait.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.ops)).context("--ops is no HOST:PORT")?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let started = tokio::time::Instant::now();
        let mut said = false;
        loop {
            let error = match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) => error,
            };
            if started.elapsed() >= PATIENCE {
                bail!("nobody answers at {}: is `kith run` up, and is that its `ops_listen`? ({error})", self.ops);
            }
            if !said {
                eprintln!("kith: waiting for {}", self.ops);
                said = true;
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

/// A request with the time that a command may take.
pub fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

/// A refusal, as people read it.
pub fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{} ({:?})", status.message(), status.code())
}
