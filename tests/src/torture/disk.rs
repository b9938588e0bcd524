//! Faults of the disk and the clock, through `tests/faults/faults.c` preloaded into a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::jars;

const PLAN: &str = "faults.plan";
const CLOCK: &str = "faults.clock";
const STRUCK: &str = "faults.struck";
const MAPPED: &str = "faults.mapped";

/// How a change of a file fails: a write, a sync, a new length, a rename, an opening for writing. `…Files`: writes and
/// syncs, of which there are by far the most, go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Kill,
    Full,
    Broken,
    KillAtFiles,
    FullForFiles,
    BrokenForFiles,
}

impl How {
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::Full, Self::Broken, Self::KillAtFiles, Self::FullForFiles, Self::BrokenForFiles];

    fn word(self) -> &'static str {
        match self {
            Self::Kill | Self::KillAtFiles => "kill",
            Self::Full | Self::FullForFiles => "enospc",
            Self::Broken | Self::BrokenForFiles => "eio",
        }
    }

    /// Whether it is about calls of which a process makes few.
    pub fn is_rare(self) -> bool {
        matches!(self, Self::KillAtFiles | Self::FullForFiles | Self::BrokenForFiles)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 at a change of a file",
            Self::Full => "disk full from a change of a file on",
            Self::Broken => "disk broken from a change of a file on",
            Self::KillAtFiles => "kill -9 at an opening, rename or new length of a file",
            Self::FullForFiles => "disk full for new files, renames and new lengths",
            Self::BrokenForFiles => "disk broken for openings, renames and new lengths",
        }
    }
}

/// The library, compiled once per run: for `LD_PRELOAD`.
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

/// Forgets what the library noted in `folder`: before every start there.
pub fn forget(folder: &Path) -> Result<()> {
    remove(&folder.join(STRUCK))?;
    remove(&folder.join(MAPPED))
}

/// The call that failed as planned since the last [`forget`], if one did.
pub fn struck(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(STRUCK)).ok()
}

/// Whether the process that was started since the last [`forget`] looks at the clock that [`clock`] moves.
pub fn has_clock(folder: &Path) -> bool {
    folder.join(MAPPED).exists()
}

/// From the next start in `folder` on, the `at`th change of a file there fails.
pub fn plan(folder: &Path, at: u64, how: How) -> Result<()> {
    let which = if how.is_rare() { "rare" } else { "all" };
    Ok(std::fs::write(folder.join(PLAN), format!("{} {at} {which}\n", how.word()))?)
}

/// From the next start in `folder` on, none fails.
pub fn no_plan(folder: &Path) -> Result<()> {
    remove(&folder.join(PLAN))
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
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
