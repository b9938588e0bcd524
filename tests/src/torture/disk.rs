//! Faults of the disk and the clock, through `tests/faults/faults.c` preloaded into a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::jars;

const PLAN: &str = "faults.plan";
const CLOCK: &str = "faults.clock";

/// How a write or sync fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Kill,
    Full,
    Broken,
}

impl How {
    pub const ALL: [Self; 3] = [Self::Kill, Self::Full, Self::Broken];

    fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Full => "enospc",
            Self::Broken => "eio",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 at a write or sync",
            Self::Full => "disk full from a write or sync on",
            Self::Broken => "disk broken from a write or sync on",
        }
    }
}

/// The library, compiled once a run: for `LD_PRELOAD`.
pub fn library() -> Result<&'static Path> {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let library = jars::target_folder()?.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/faults.c");
    let output = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output()?;
    ensure!(output.status.success(), "faults.c: {}", String::from_utf8_lossy(&output.stderr));
    Ok(LIBRARY.get_or_init(|| library))
}

/// From the next start in `folder` on, the `at`th write or sync there fails.
pub fn plan(folder: &Path, at: u64, how: How) -> Result<()> {
    Ok(std::fs::write(folder.join(PLAN), format!("{} {at}\n", how.word()))?)
}

/// From the next start in `folder` on, none fails.
pub fn no_plan(folder: &Path) -> Result<()> {
    match std::fs::remove_file(folder.join(PLAN)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Moves the clock of processes in `folder` by so many seconds from the true time; at once, if it was there when they
/// started.
pub fn clock(folder: &Path, seconds: i64) -> Result<()> {
    use std::io::Write;
    // In place: the processes have the file mapped.
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(folder.join(CLOCK))?;
    Ok(file.write_all(&seconds.to_le_bytes())?)
}
