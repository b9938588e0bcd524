//! The data folder around the store: its lock, and the format it was created with.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use kith_finding::{Finding, Weight};

use crate::{LogError, PartitionIndex};

/// Incremented when the layout of the folder changes.
const FORMAT_VERSION: u32 = 2;
const FORMAT: &str = "FORMAT";
const LOCK: &str = "LOCK";
/// The store's own folder.
pub(super) const STORE: &str = "store";

/// Locks the folder for this process, and creates it if it is new. It is ours until the lock is dropped.
pub(super) fn take(dir: &Path, partitions: PartitionIndex) -> Result<File, LogError> {
    let failed = |error: io::Error| LogError::Unavailable(format!("{}: {error}", dir.display()));
    // It contains password hashes and private messages.
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LogError::InUse(dir.display().to_string())),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    match std::fs::read_to_string(dir.join(FORMAT)) {
        Ok(found) => check(dir, &found, partitions)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join(STORE).exists() {
                return Err(LogError::Contract(format!("{} holds a store but no {FORMAT} file", dir.display())));
            }
            write(dir, partitions).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(lock)
}

/// The state of the log's folder, without opening or changing it.
pub fn inspect(dir: &Path, partitions: PartitionIndex) -> Vec<Finding> {
    let wanted = text(partitions).trim_end().replace('\n', ", ");
    let (found, weight) = match std::fs::read_to_string(dir.join(FORMAT)) {
        Ok(found) if found == text(partitions) => (wanted.clone(), Weight::Sound),
        Ok(found) => (found.trim_end().replace('\n', ", "), Weight::Wrong),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.join(STORE).exists() => {
            ("not made yet".to_owned(), Weight::Sound)
        }
        Err(error) => (format!("{FORMAT}: {error}"), Weight::Wrong),
    };
    let fix = "set `partitions` to what the log was made with, or name another folder in `log`; a newer format needs a \
               newer kith; a folder without FORMAT is damaged: put a copy back";
    vec![Finding::judged(dir.display().to_string(), "format of the log", (found, wanted), weight, fix)]
}

fn check(dir: &Path, found: &str, partitions: PartitionIndex) -> Result<(), LogError> {
    let expected = text(partitions);
    if found == expected {
        return Ok(());
    }
    let [found, expected] = [found, &expected].map(|text| text.trim_end().replace('\n', ", "));
    Err(LogError::Contract(format!("{} was made as \"{found}\", not as \"{expected}\"", dir.display())))
}

fn text(partitions: PartitionIndex) -> String {
    format!("kith-log format {FORMAT_VERSION}\npartitions {partitions}\n")
}

/// All or nothing, also over a power cut.
fn write(dir: &Path, partitions: PartitionIndex) -> io::Result<()> {
    let new = dir.join("FORMAT.new");
    let mut file = File::create(&new)?;
    file.write_all(text(partitions).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, dir.join(FORMAT))?;
    File::open(dir)?.sync_all()
}
