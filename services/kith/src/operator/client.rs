//! How the operators' commands call the server: one address, short timeouts.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kith_service::config::{ServerAccess, Settings, Sources};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

/// After this a waiting operator gets a message.
const SILENT_WAIT: Duration = Duration::from_millis(1_500);
/// The timeout for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The deadline sent to the server, so that it answers with what it has by then.
const CALL_DEADLINE: Duration = Duration::from_secs(9);
/// Within this, every process knows an operator's decision, or its outcome is unknown.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
const ONE_TRY: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(250);
/// The hint if a port other than the operators' may be the reason.
const IS_IT_THE_PORT: &str = "is --ops its `ops_listen`?";

/// The command is invalid, according to this process or the called one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub String);

/// The common arguments of operators' commands.
#[derive(Debug, Clone, Args)]
pub struct OpsOptions {
    /// The address of a process's operators' commands; by default the setting `ops_listen`, as `kith run` reads it
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = host_and_port)]
    ops: Option<String>,
    /// The configuration file instead of kith.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// Prints one JSON document, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

impl OpsOptions {
    /// Those of the flags that are settings.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.config.iter().map(|file| ("config".to_owned(), file.clone())).collect()
    }

    /// Connects; a starting server gets 10 s. Fails if the address comes from settings that cannot be read.
    pub async fn connect(&self) -> anyhow::Result<Process> {
        let address = self.address(None)?;
        let transport = Settings::from_sources(Sources { flags: self.settings(), environment: None })?.transport;
        let (access, bearer) = (transport.ops_access(), Bearer::read(transport.ops_token_file().as_deref())?);
        if bearer.0.is_some() && access.is_none() && !is_loopback(&address) {
            bail!("the token would go to {address} in the clear: set `ops_ca_file`, or call over loopback");
        }
        let endpoint = endpoint(&address, access)?.tcp_nodelay(true);
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
        let connected = saying_that_it_waits(&address, attempts).await;
        match connected {
            Ok(channel) => Ok(Process { channel: InterceptedService::new(channel, bearer), address }),
            Err(_) => bail!("nobody answers at {address} ({problem}): is `kith run` up, and {IS_IT_THE_PORT}"),
        }
    }

    /// `environment`: instead of the process's.
    fn address(&self, environment: Option<HashMap<String, String>>) -> anyhow::Result<String> {
        if let Some(given) = &self.ops {
            return Ok(given.clone());
        }
        let settings = Settings::from_sources(Sources { flags: self.settings(), environment })?;
        Ok(reachable(settings.ops_listen).to_string())
    }
}

/// Whether what is sent there stays on this machine.
fn is_loopback(address: &str) -> bool {
    address.parse().is_ok_and(|address: SocketAddr| address.ip().is_loopback()) || address.starts_with("localhost:")
}

/// Over TLS where the settings say whom to trust.
fn endpoint(address: &str, access: Option<ServerAccess>) -> anyhow::Result<Endpoint> {
    let Some(ServerAccess { ca, identity, server_name, .. }) = access else {
        return Ok(Endpoint::from_shared(format!("http://{address}"))?);
    };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&ca)?));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(read(&certificate)?, read(&key)?));
    }
    if let Some(name) = server_name {
        tls = tls.domain_name(name);
    }
    Ok(Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?)
}

/// The address for calls to a process of this machine that listens there: loopback if it listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match listen.ip() {
        ip if !ip.is_unspecified() => return listen,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, listen.port())
}

/// A server that accepted the connection.
#[derive(Debug, Clone)]
pub struct Process {
    channel: Line,
    address: String,
}

/// A connection on which every call brings the operator's token, if there is one.
pub type Line = InterceptedService<Channel, Bearer>;

/// Adds a token to calls.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Bearer {
    /// The token in the file; what follows a line's end there is an editor's.
    fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self(None)) };
        let named = || format!("the operator's token in {}", file.display());
        let text = std::fs::read_to_string(file).with_context(named)?;
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", text.trim()).parse().with_context(named)?;
        token.set_sensitive(true);
        Ok(Self(Some(token)))
    }
}

impl Process {
    pub fn channel(&self) -> Line {
        self.channel.clone()
    }

    /// Calls once. A refusal is an error that begins with its reason.
    pub async fn call<M, T, F>(&self, message: M, call: impl FnOnce(Request<M>) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(CALL_DEADLINE);
        match saying_that_it_waits(&self.address, call(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => bail!("{} does not answer", self.address),
        }
    }

    /// A refusal, which begins with its reason; or that no answer came.
    pub fn refused(&self, status: &Status) -> anyhow::Error {
        refusal(&self.address, status)
    }
}

async fn saying_that_it_waits<T>(address: &str, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let until = Instant::now() + PATIENCE;
    let mut work = std::pin::pin!(work);
    if let Ok(done) = timeout(SILENT_WAIT, &mut work).await {
        return Ok(done);
    }
    note!("kith: waiting for {address}");
    timeout_at(until, work).await
}

/// The operating system's error, without its context.
fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// A request with a command's deadline.
pub fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(COMMAND_DEADLINE);
    request
}

fn refusal(address: &str, status: &Status) -> anyhow::Error {
    // A status with a source was not sent by the server: it was made here, from an error of the connection.
    if let Some(source) = status.source() {
        let why = innermost(source);
        return anyhow!("{address} did not answer ({why}): is `kith run` well there, and {IS_IT_THE_PORT}");
    }
    let reason = match status.get_details_error_info() {
        Some(info) => info.reason,
        None => format!("{:?}", status.code()),
    };
    let message = status.message();
    match status.code() {
        Code::Unimplemented => anyhow!("{reason}: {message} ({address}): {IS_IT_THE_PORT}"),
        Code::InvalidArgument => NotUnderstood(format!("{reason}: {message}")).into(),
        _ => anyhow!("{reason}: {message}"),
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let is_address = format!("http://{text}").parse::<Uri>().is_ok_and(|uri| {
        let whole = uri.authority().is_some_and(|authority| authority.as_str() == text) && !text.contains('@');
        whole && uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_address { Ok(text.to_owned()) } else { Err("it is not HOST:PORT".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(ops: String) -> OpsOptions {
        OpsOptions { ops: Some(ops), config: None, json: false }
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
    fn the_address_is_the_setting_that_a_suite_runs_on() {
        let unsaid = |config| OpsOptions { ops: None, config, json: false };
        let environment = |pairs: &[(&str, &str)]| -> Option<HashMap<String, String>> {
            Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let everywhere = environment(&[("KITH_OPS_LISTEN", "0.0.0.0:7502")]);
        assert_eq!(unsaid(None).address(environment(&[])).unwrap(), "127.0.0.1:7402");
        assert_eq!(unsaid(None).address(everywhere.clone()).unwrap(), "127.0.0.1:7502");
        assert_eq!(operators("ops.example:1".to_owned()).address(everywhere).unwrap(), "ops.example:1");
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = unsaid(Some(file.path().display().to_string()));
        std::fs::write(file.path(), "ops_listen = \"127.0.0.9:7602\"\n").unwrap();
        assert_eq!(named.address(environment(&[])).unwrap(), "127.0.0.9:7602");
        std::fs::write(file.path(), "ops_listen = \n").unwrap();
        let error = named.address(environment(&[])).unwrap_err().to_string();
        assert!(error.contains(&*file.path().file_name().unwrap().to_string_lossy()), "{error}");
    }

    #[test]
    fn a_token_is_read_from_its_file_and_stays_on_this_machine_without_tls() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a.b.c\n").unwrap();
        let mut bearer = Bearer::read(Some(file.path())).unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer a.b.c");
        assert!(Bearer::read(None).unwrap().call(Request::new(())).unwrap().metadata().is_empty());
        assert!(Bearer::read(Some(Path::new("/nowhere/token"))).is_err());
        for (address, is_here) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("10.0.0.1:1", false),
            ("ops.example:1", false),
        ] {
            assert_eq!(is_loopback(address), is_here, "{address}");
        }
    }

    #[test]
    fn whoever_listens_everywhere_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:7402", "127.0.0.1:7402"),
            ("[::]:7402", "[::1]:7402"),
            ("10.0.0.1:7402", "10.0.0.1:7402"),
            ("[fd00::1]:7402", "[fd00::1]:7402"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn a_refusal_begins_with_its_reason() {
        let status = kith_service::Failure::dead_letter_state("was discarded already").into();
        assert_eq!(refusal("a:1", &status).to_string(), "DEAD_LETTER_STATE: the dead letter was discarded already");
        assert_eq!(refusal("a:1", &Status::unavailable("gone")).to_string(), "Unavailable: gone");
    }

    #[test]
    fn what_the_process_does_not_understand_is_bad_usage() {
        let understood = |failure: kith_service::Failure| !refusal("a:1", &failure.into()).is::<NotUnderstood>();
        assert!(!understood(kith_service::Failure::id_malformed("letter_id")));
        assert!(understood(kith_service::Failure::dead_letter_state("was discarded already")));
        assert!(understood(kith_service::Failure::log_unavailable()));
    }

    #[test]
    fn another_port_is_asked_about() {
        let callers = kith_service::Failure::new(kith_proto::errors::v1::Reason::MethodUnknown, "not served");
        for (status, start) in [
            (Status::from(callers), "METHOD_UNKNOWN: not served (a:1): "),
            (Status::unimplemented("no grpc-status"), "Unimplemented: no grpc-status (a:1): "),
            (Status::from_error(Box::new(std::io::Error::other("cut"))), "a:1 did not answer (cut): "),
        ] {
            let said = refusal("a:1", &status).to_string();
            assert!(said.starts_with(start) && said.ends_with(IS_IT_THE_PORT), "{said}");
        }
    }
}
