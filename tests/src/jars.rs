//! The jars of the servers, fetched from Maven when they are missing, and their configuration.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::server::Place;

/// A file under `tests/servers`.
pub(crate) fn config(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(path)
}

/// Writes the configuration file `template` of `tests/servers` into the server's folder, for its address, port and data.
pub(crate) fn write_config(template: &str, place: &Place, port: u16, data: &Path) -> Result<()> {
    let template = config(template);
    let text = fs::read_to_string(&template)?;
    let text = text.replace("{address}", &place.address.to_string()).replace("{data}", &data.display().to_string());
    let text = text.replace("{port}", &port.to_string());
    let name = template.file_name().context("a template is a file")?;
    Ok(fs::write(place.folder.join(name), text)?)
}

/// Appends another template to the file that [`write_config`] wrote.
pub(crate) fn append_config(template: &str, to: &str, place: &Place, port: u16, data: &Path) -> Result<()> {
    write_config(template, place, port, data)?;
    let written = place.folder.join(config(template).file_name().context("a template is a file")?);
    let to = place.folder.join(to);
    let text = fs::read_to_string(&to)? + &fs::read_to_string(written)?;
    Ok(fs::write(to, text)?)
}

/// `java` with the options file and the class path of `server`.
pub(crate) fn java(server: &str, options: &Path) -> Result<Command> {
    let mut at_options = OsString::from("@");
    at_options.push(config(options));
    let mut command = Command::new("java");
    command.arg(at_options).arg("-cp").arg(folder(server)?.join("*"));
    Ok(command)
}

/// The jar of `server` whose name starts with `prefix`.
pub(crate) fn find(server: &str, prefix: &str) -> Result<PathBuf> {
    let folder = folder(server)?;
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("no {prefix}*.jar in {}", folder.display())
}

/// Where the jars of `server` are; fetches them first when they are missing or others than the POM asks.
pub(crate) fn folder(server: &str) -> Result<PathBuf> {
    static FETCHED: Mutex<bool> = Mutex::new(false);
    let folder = target_folder()?.join("servers");
    let mut fetched = FETCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*fetched {
        let output = Command::new(config("fetch")).arg(&folder).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot fetch the servers' jars:\n{said}");
        *fetched = true;
    }
    Ok(folder.join(server))
}

/// Cargo's target folder: this executable is in `<target>/<profile>/deps`, or, the binary, right in `<target>/<profile>`.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(profile_folder()?.parent().context("no target folder")?.to_owned())
}

/// `<target>/<profile>` of this executable.
pub(crate) fn profile_folder() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable.parent().context("no folder")?;
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    let profile = if is_test { folder.parent() } else { Some(folder) };
    Ok(profile.context("no profile folder")?.to_owned())
}
