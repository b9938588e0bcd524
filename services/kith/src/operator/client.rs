//! How the operators' commands call: one listener, little patience.

use std::future::Future;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

/// An operator who waits is told so after this.
const SILENT_WAIT: Duration = Duration::from_millis(1_500);
/// A server that does not answer within this is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the server is told, so that it answers with what it has by then.
const CALL_DEADLINE: Duration = Duration::from_secs(9);
/// What an operator decides is known everywhere within this, or it is not known whether it will be.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
const ONE_TRY: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(250);

/// What every operator's command takes.
#[derive(Debug, Clone, Args)]
pub struct OpsOptions {
    /// Where a process takes operators' commands (its `ops_listen`)
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:7402", value_parser = host_and_port)]
    pub ops: String,
    /// Prints one JSON document, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

impl OpsOptions {
    /// Connects; a server that is only starting gets 10 s.
    pub async fn connect(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.ops))?.tcp_nodelay(true);
        let mut problem = String::new();
        let attempts = async {
            loop {
                match timeout(ONE_TRY, endpoint.connect()).await {
                    Ok(Ok(channel)) => return channel,
                    Ok(Err(error)) => problem = innermost(&error),
                    Err(_) => problem = "no answer".to_owned(),
                }
                sleep(TRY_EVERY).await;
            }
        };
        let connected = self.saying_that_it_waits(attempts).await;
        let nobody =
            |_| anyhow!("nobody answers at {} ({problem}): is `kith run` up, and is --ops its `ops_listen`?", self.ops);
        connected.map_err(nobody)
    }

    /// Calls once. A refusal is an error that begins with its reason.
    pub async fn call<M, T, F>(&self, message: M, call: impl FnOnce(Request<M>) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(CALL_DEADLINE);
        match self.saying_that_it_waits(call(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(refusal(&status)),
            Err(_) => bail!("{} does not answer", self.ops),
        }
    }

    async fn saying_that_it_waits<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let until = Instant::now() + PATIENCE;
        let mut work = std::pin::pin!(work);
        if let Ok(done) = timeout(SILENT_WAIT, &mut work).await {
            return Ok(done);
        }
        eprintln!("kith: waiting for {}", self.ops);
        timeout_at(until, work).await
    }
}

/// What the operating system said, without what was done when it said so.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A request with the time that a command may take.
pub fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(COMMAND_DEADLINE);
    request
}

/// A refusal, which begins with its reason.
pub fn refused(status: Status) -> anyhow::Error {
    refusal(&status)
}

fn refusal(status: &Status) -> anyhow::Error {
    match status.get_details_error_info() {
        Some(info) => anyhow!("{}: {}", info.reason, status.message()),
        None => anyhow!("{:?}: {}", status.code(), status.message()),
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let uri = format!("http://{text}").parse::<Uri>().map_err(|error| error.to_string())?;
    let whole = uri.authority().is_some_and(|authority| authority.as_str() == text) && !text.contains('@');
    if whole && uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(text.to_owned())
    } else {
        Err("is not HOST:PORT".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(ops: String) -> OpsOptions {
        OpsOptions { ops, json: false }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7402", "ops.example:1", "[::1]:7402"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in ["", "host", ":7402", "a:b", "a:1/x", "me@a:1", "http://a:1", "a:99999"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_it_gives_up_in_time() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let started = std::time::Instant::now();
        let error = operators(address.clone()).connect().await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("--ops"), "{error}");
        assert!((9..12).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    }

    #[test]
    fn a_refusal_begins_with_its_reason() {
        let status = kith_service::Failure::dead_letter_state("was discarded already").into();
        assert_eq!(refusal(&status).to_string(), "DEAD_LETTER_STATE: the dead letter was discarded already");
        assert_eq!(refusal(&Status::unavailable("gone")).to_string(), "Unavailable: gone");
    }
}
