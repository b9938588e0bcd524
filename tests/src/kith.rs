//! The binaries `kith`, `kith-demo` and `kith-next` (a later release of `kith`), run as a user runs them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::OnceCell;

use crate::jars::{profile_folder, target_folder};
use crate::server::{Kind, Place, Ready, Server};

/// The callers' port.
pub const PORT: u16 = 7400;
/// The operators' port.
pub const ADMIN_PORT: u16 = 7401;
/// The address of operators' commands.
pub const OPS_PORT: u16 = 7402;

/// Normally seconds; beside a build, a group's first assignment from Kafka takes longer.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How to start a `kith` process. By default it keeps log, tables and keys in its own folder.
#[derive(Debug, Clone)]
pub struct Launch {
    name: String,
    /// `None`: [`binary`].
    binary: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    ready_within: Duration,
    /// What answers once the process counts as started.
    ready_path: &'static str,
}

impl Launch {
    /// `kith run`. `name` is for messages.
    pub fn run(name: &str) -> Self {
        let launch = Self {
            name: name.into(),
            binary: None,
            arguments: vec!["run".into()],
            environment: Vec::new(),
            ready_within: READY_WITHIN,
            ready_path: "/readyz",
        };
        // Tests are about everything else: a hash that costs 19 MiB would only slow them.
        launch.set("password_memory_kib", "64")
    }

    /// Sets a key of the configuration (`log`, `tables`, …); the last call wins.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((format!("KITH_{}", key.to_uppercase()), value.into()));
        self
    }

    /// Sets a variable of the environment that is no key of the configuration.
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Another binary than that of the sources; looked up at each start.
    pub fn binary(self, binary: &Path) -> Self {
        Self { binary: Some(binary.to_owned()), ..self }
    }

    /// It counts as started once it is alive, ready or not.
    pub fn alive(self) -> Self {
        Self { ready_path: "/livez", ..self }
    }

    /// The timeout for readiness: a process on a long log has much to fold first.
    pub fn ready_within(mut self, within: Duration) -> Self {
        self.ready_within = within;
        self
    }

    /// Starts it on a separate address and waits for `/readyz`. [`Server::restart`] restarts it.
    pub async fn start(self) -> Result<Server> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => binary().await?,
        };
        Server::start(self.kind(binary)).await
    }

    fn kind(self, binary: PathBuf) -> Kind {
        Kind {
            name: self.name.clone(),
            ports: vec![PORT, ADMIN_PORT, OPS_PORT],
            ready: Ready::AnswersOk { port: ADMIN_PORT, path: self.ready_path },
            ready_within: self.ready_within,
            prepare: Box::new(|_| Ok(())),
            command: Box::new(move |place| Ok(self.command(&binary, place))),
        }
    }

    fn command(&self, binary: &Path, place: &Place) -> Command {
        let mut command = clean_command(binary);
        command.current_dir(&place.folder);
        command.env("KITH_LISTEN", SocketAddr::from((place.address, PORT)).to_string());
        command.env("KITH_ADMIN_LISTEN", SocketAddr::from((place.address, ADMIN_PORT)).to_string());
        command.env("KITH_OPS_LISTEN", SocketAddr::from((place.address, OPS_PORT)).to_string());
        command.args(&self.arguments).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// `kith` with another command than `run` (`init`, `doctor`, …), not started yet, without any `KITH_*` of the caller's.
pub async fn command() -> Result<Command> {
    Ok(clean_command(&binary().await?))
}

/// `kith-demo`, the same way: `TESTED_DEMO` when that is set, else cargo builds it.
pub async fn demo_command() -> Result<Command> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    Ok(clean_command(BINARY.get_or_try_init(async || given_or_built("TESTED_DEMO", "kith-demo")).await?))
}

/// The binary of the sources as they are: `TESTED_KITH` when that is set (no `KITH_…`, which would be a setting), else
/// cargo builds it in this profile, once a run.
pub async fn binary() -> Result<PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    BINARY.get_or_try_init(async || given_or_built("TESTED_KITH", "kith")).await.cloned()
}

/// The later release, the same way: `TESTED_NEXT` when that is set.
pub async fn next_binary() -> Result<PathBuf> {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    BINARY.get_or_try_init(async || given_or_built("TESTED_NEXT", "kith-next")).await.cloned()
}

fn given_or_built(variable: &str, name: &str) -> Result<PathBuf> {
    std::env::var_os(variable).map_or_else(|| build(name), |path| Ok(path.into()))
}

fn build(name: &str) -> Result<PathBuf> {
    let folder = profile_folder()?;
    let profile = folder.file_name().and_then(|name| name.to_str()).context("no profile")?;
    let profile = if profile == "debug" { "dev" } else { profile };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bin", name, "--profile", profile, "--manifest-path"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).arg("--target-dir").arg(target_folder()?);
    // What `tests/slowest` shows to test binaries would have cargo build everything anew.
    command.env_remove("RUSTC_BOOTSTRAP");
    let output = command.stdin(Stdio::null()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join(name))
}

/// That binary, without any `KITH_*` of the caller's.
pub fn clean_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KITH_") {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_gets_its_address_and_the_last_word_on_a_key() {
        let place = Place { address: [127, 1, 2, 3].into(), folder: "/".into() };
        let launch = Launch::run("posts").set("services", "identity").set("services", "posts").argument("--log-level");
        let command = launch.command(Path::new("kith"), &place);
        let value = |name: &str| {
            let mut set = command.get_envs().filter(|(key, _)| *key == name);
            set.next().and_then(|(_, value)| value?.to_str())
        };
        assert_eq!(value("KITH_SERVICES"), Some("posts"));
        assert_eq!(value("KITH_LISTEN"), Some("127.1.2.3:7400"));
        assert_eq!(value("KITH_ADMIN_LISTEN"), Some("127.1.2.3:7401"));
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["run", "--log-level"]);
    }
}
