//! The folder on disk: one process at a time, one format.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kith_finding::{Finding, Weight};

use crate::StoreError;

/// What FORMAT holds. Another key or row encoding is another number; tables of an old one are dropped and folded again.
const FORMAT: &str = "kith tables 2\n";

/// Holds the folder's lock; the operating system releases it when the process ends, however it ends.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing. `Unavailable` when another process has it, `Contract` when it is of another
    /// format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // It contains private messages.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unavailable(path, &e))?;
        let lock = lock(path)?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.check_format()?;
        Ok(folder)
    }

    pub fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Marks the folder as complete. Called when the rows' own files exist: a folder without FORMAT was never used.
    pub fn set_format(&self) -> Result<(), StoreError> {
        let (new, path) = (self.path.join("FORMAT.new"), self.path.join("FORMAT"));
        if path.exists() {
            return Ok(());
        }
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(FORMAT.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|e| unavailable(&self.path, &e))
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match std::fs::read_to_string(self.path.join("FORMAT")) {
            Ok(format) if format == FORMAT => Ok(()),
            Ok(format) => {
                let format = format.lines().next().unwrap_or_default();
                Err(StoreError::Contract(format!(
                    "the tables' folder is of format {format:?}, not {:?}",
                    FORMAT.trim()
                )))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.remove_unfinished(),
            Err(e) => Err(unavailable(&self.path, &e)),
        }
    }

    /// A process that died while it created the folder left files that fjall would not open.
    fn remove_unfinished(&self) -> Result<(), StoreError> {
        match std::fs::remove_dir_all(self.rows()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unavailable(&self.path, &e)),
            _ => Ok(()),
        }
    }
}

/// The state of the tables' folder, without opening or changing it.
pub fn inspect(path: &Path) -> Vec<Finding> {
    let (found, weight) = match std::fs::read_to_string(path.join("FORMAT")) {
        Ok(format) if format == FORMAT => (FORMAT.trim().to_owned(), Weight::Sound),
        Ok(format) => (format.trim().to_owned(), Weight::Wrong),
        Err(error) if error.kind() == io::ErrorKind::NotFound => ("not made yet".to_owned(), Weight::Sound),
        Err(error) => (format!("FORMAT: {error}"), Weight::Wrong),
    };
    let fix = "delete the folder while kith does not run: the tables are filled again from the log";
    vec![Finding::judged(path.display().to_string(), "format of the tables", (found, FORMAT.trim()), weight, fix)]
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options().create(true).truncate(false).write(true).open(path.join("LOCK"));
    let file = file.map_err(|e| unavailable(path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(unavailable(path, &e)),
    }
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
