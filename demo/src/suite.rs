//! The suite that the demo calls: one that runs, or a `kith run` that is started for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::addresses::Addresses;
use crate::secure::TlsFiles;
use crate::terminal::note;

/// Memory of one password hash in a suite that the demo starts: a demo has nobody to protect, and a thousand to hash.
const DEMO_PASSWORD_MEMORY_KIB: u32 = 1_024;
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// What `kith` exits with when it is not understood, or its settings do not read.
const KITH_EXIT_USAGE: i32 = 2;
/// What it calls the origin of a value that nobody set.
const DEFAULT: &str = "default";

/// Which services are called.
#[derive(Debug, Args)]
pub struct Target {
    /// HOST:PORT of all services, or identity=HOST:PORT,posts=…,engagement=…,messaging=…,feeds=… [the setting `listen`]
    #[arg(long, value_name = "ADDRESSES")]
    pub addresses: Option<Addresses>,
    /// The `kith` program that knows the settings, and serves where nobody does [`kith` beside this program]
    #[arg(long, value_name = "FILE")]
    kith: Option<PathBuf>,
    #[command(flatten)]
    pub tls: TlsFiles,
    /// Settings of `kith`, as `kith run` takes them
    #[arg(last = true, value_name = "FLAGS OF KITH")]
    pub kith_flags: Vec<String>,
}

/// `kith` did not understand its flags, or its settings do not read; its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misused(String);

/// One setting as `kith settings --json` gives it.
#[derive(Debug, serde::Deserialize)]
struct Setting {
    value: String,
    origin: String,
}

type Settings = BTreeMap<String, Setting>;

/// A `kith run` that was started here.
pub struct Started(Child);

impl Target {
    /// Where the services are.
    pub async fn addresses(&self) -> anyhow::Result<Addresses> {
        match &self.addresses {
            Some(given) => Ok(given.clone()),
            None => Ok(listen(&self.settings().await?)?.into()),
        }
    }

    /// Starts `kith run` where no address was given and nobody listens.
    pub async fn start_if_down(&self) -> anyhow::Result<Option<Started>> {
        if self.addresses.is_some() {
            return Ok(None);
        }
        let settings = self.settings().await?;
        let address = listen(&settings)?;
        if listens(address).await {
            return Ok(None);
        }
        note(format_args!("nobody listens on {address}: starting `kith run`"));
        let mut command = self.command("run")?;
        command.stdout(Stdio::null());
        if let Some(memory) = settings.get("password_memory_kib").filter(|setting| setting.origin == DEFAULT) {
            note(format_args!(
                "passwords of the demo are hashed with {DEMO_PASSWORD_MEMORY_KIB} KiB each, not {}",
                memory.value
            ));
            command.env("KITH_PASSWORD_MEMORY_KIB", DEMO_PASSWORD_MEMORY_KIB.to_string());
        }
        let mut started = Started(command.spawn().context("starting `kith run`")?);
        started.until_it_listens(address).await?;
        Ok(Some(started))
    }

    /// The settings that `kith run` would find here.
    async fn settings(&self) -> anyhow::Result<Settings> {
        let output = self.command("settings")?.arg("--json").output().await.context("asking `kith settings`")?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).context("what `kith settings --json` gave");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("kith: ").to_owned();
        match output.status.code() {
            Some(KITH_EXIT_USAGE) => Err(Misused(said).into()),
            _ => bail!("`kith settings` ended: {}: {said}", output.status),
        }
    }

    fn command(&self, name: &str) -> anyhow::Result<Command> {
        let program = match &self.kith {
            Some(given) => given.clone(),
            None => std::env::current_exe().context("where this program is")?.with_file_name("kith"),
        };
        if !program.exists() {
            bail!("{} is not there: build it with `make build`, or give --kith or --addresses", program.display());
        }
        let mut command = Command::new(program);
        command.arg(name).args(&self.kith_flags).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

fn listen(settings: &Settings) -> anyhow::Result<SocketAddr> {
    let listen = settings.get("listen").context("`kith settings` does not know `listen`")?;
    listen.value.parse().with_context(|| format!("`listen` is `{}`", listen.value))
}

impl Started {
    async fn until_it_listens(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let started = Instant::now();
        while !listens(address).await {
            if let Some(status) = self.0.try_wait()? {
                bail!("`kith run` ended: {status}");
            }
            if started.elapsed() > START_PATIENCE {
                bail!("`kith run` does not listen on {address}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// By SIGTERM, so that it ends politely; it is killed if it does not.
    pub async fn stop(mut self) {
        let id = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        // One that has ended already needs no signal.
        let asked = id.is_some_and(|id| kill_process(id, Signal::TERM).is_ok());
        if asked && tokio::time::timeout(STOP_PATIENCE, self.0.wait()).await.is_err() {
            note(format_args!("`kith run` did not end within {} s and is killed", STOP_PATIENCE.as_secs()));
        }
    }
}

/// An address that swallows packets would keep `connect` for minutes.
async fn listens(address: SocketAddr) -> bool {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    connected.is_ok_and(|connected| connected.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kith: &str, kith_flags: &[&str]) -> Target {
        let kith_flags = kith_flags.iter().map(|flag| (*flag).to_owned()).collect();
        Target { addresses: None, kith: Some(kith.into()), tls: TlsFiles::default(), kith_flags }
    }

    #[test]
    fn where_it_listens_is_what_kith_says() {
        let settings = r#"{"listen": {"value": "127.0.0.1:7500", "origin": "flag"}}"#;
        let settings: Settings = serde_json::from_str(settings).unwrap();
        assert_eq!(listen(&settings).unwrap().port(), 7500);
        assert!(listen(&Settings::new()).unwrap_err().to_string().contains("`listen`"));
    }

    #[tokio::test]
    async fn without_kith_it_says_how_to_get_it() {
        let error = target("/nowhere/kith", &[]).addresses().await.unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/kith") && error.contains("--kith") && error.contains("--addresses"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_kith_does_not_understand_is_misuse_in_its_own_words() {
        // Stands for `kith`: refuses `settings` with the exit code of bad usage, then with another.
        let folder = std::env::temp_dir().join(format!("kith-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("kith");
        std::fs::write(&program, "#!/bin/sh\necho \"kith: $1 $2 is wrong\" >&2\nexit 2\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let ask = async |flags: &[&str]| target(program.to_str().unwrap(), flags).addresses().await.unwrap_err();
        let misused = ask(&[]).await;
        assert!(misused.is::<Misused>(), "{misused:?}");
        assert_eq!(misused.to_string(), "settings --json is wrong");
        std::fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
        let failed = ask(&[]).await;
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!failed.is::<Misused>() && failed.to_string().contains("ended"), "{failed:?}");
    }
}
