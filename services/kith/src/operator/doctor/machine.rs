//! Requirements of the machine: descriptors, addresses, folders.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use kith_finding::{Finding, Weight};
use kith_service::descriptors::OPEN_FILES;
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};
use tonic::transport::Uri;

/// With less the embedded stores may be left without a descriptor.
const FEWEST_OPEN_FILES: u64 = 512;
/// A log in a full folder accepts no records.
const LEAST_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// Early enough for an operator to act.
const FREE_BYTES: u64 = 5 * 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A process raises its own limit to the hard one.
pub fn open_files() -> Vec<Finding> {
    vec![judge_open_files(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))]
}

fn judge_open_files(hard: u64) -> Finding {
    let weight = if hard < FEWEST_OPEN_FILES { Weight::Wrong } else { Weight::Doubtful };
    let found = if hard == u64::MAX { "unlimited".to_owned() } else { hard.to_string() };
    let fix = format!("raise it: `ulimit -Hn {OPEN_FILES}`, or LimitNOFILE={OPEN_FILES} in the unit");
    let wanted = format!("at least {OPEN_FILES}");
    Finding::checked("machine", "open files", (found, wanted), hard >= OPEN_FILES, weight, fix)
}

/// An address that a running kith uses is sound.
pub fn address(setting: &str, address: SocketAddr) -> Option<Finding> {
    let found = match TcpListener::bind(address) {
        Ok(_) => format!("{address}, free"),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => format!("{address}, taken (by a running kith?)"),
        Err(error) => {
            let fix = format!("set `{setting}` to an address of this machine that this user may listen on");
            let found = (format!("{address}: {error}"), "an address to listen on");
            return Some(Finding::judged("settings", setting, found, Weight::Wrong, fix));
        }
    };
    Some(Finding::sound("settings", setting, found))
}

/// Lost traces stop nothing.
pub async fn collector(endpoint: &str) -> Option<Finding> {
    if endpoint.is_empty() {
        return None;
    }
    let uri = endpoint.parse::<Uri>().ok()?;
    let (host, port) = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(4317));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((host, port))).await;
    let found = match &connected {
        Ok(Ok(_)) => endpoint.to_owned(),
        Ok(Err(error)) => format!("{endpoint}: {error}"),
        Err(_) => format!("{endpoint}: no answer"),
    };
    let fix = "start the collector, or correct `otlp_endpoint`";
    let is_sound = matches!(connected, Ok(Ok(_)));
    let found = (found, "a collector that answers");
    Some(Finding::checked("settings", "otlp_endpoint", found, is_sound, Weight::Doubtful, fix))
}

/// What is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The log: its loss is total.
    Truth,
    /// The tables: rebuilt from the log.
    Disposable,
}

/// A folder that does not exist yet is judged by its future parent.
pub fn folder(path: &Path, used: Use) -> Vec<Finding> {
    let subject = path.display().to_string();
    let there = path.ancestors().find(|ancestor| ancestor.exists()).filter(|there| *there != Path::new(""));
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        let fix = "name another folder, or move the file away";
        let found = (format!("{} is no folder", there.display()), "a folder");
        return vec![Finding::judged(subject, "folder", found, Weight::Wrong, fix)];
    }
    let mut checks = vec![writable(&subject, there)];
    checks.extend(statvfs(there).ok().map(|of| judge_space(&subject, of.f_bavail.saturating_mul(of.f_frsize))));
    checks.extend(file_system(there).map(|name| judge_file_system(&subject, name, used)));
    checks
}

/// The permissions of a file or folder, judged by `weight`. Other checks report a missing one.
pub fn mode(path: &Path, wanted: u32, weight: impl Fn(u32) -> Weight) -> Finding {
    let mode = std::fs::metadata(path).map_or(wanted, |metadata| metadata.permissions().mode() & 0o7777);
    let weight = weight(mode);
    let fix = format!("chmod {wanted:04o} {}", path.display());
    let found = (format!("{mode:04o}"), format!("{wanted:04o}"));
    Finding::judged(path.display().to_string(), "mode", found, weight, fix)
}

fn writable(subject: &str, there: &Path) -> Finding {
    let found = match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => "yes".to_owned(),
        Err(error) => format!("{}: {}", there.display(), io::Error::from(error)),
    };
    let is_sound = found == "yes";
    let fix = format!("give this user {}: chown or chmod it", there.display());
    Finding::checked(subject, "writable", (found, "yes"), is_sound, Weight::Wrong, fix)
}

fn judge_space(subject: &str, free: u64) -> Finding {
    let weight = if free < LEAST_FREE_BYTES { Weight::Wrong } else { Weight::Doubtful };
    let (found, wanted) = (format!("{} MiB", free / MIB), format!("at least {} MiB", FREE_BYTES / MIB));
    let fix = "make room: a store in a full file system takes nothing more";
    Finding::checked(subject, "free", (found, wanted), free >= FREE_BYTES, weight, fix)
}

/// File systems with unreliable syncs or locks, or without persistence over a restart of the machine.
fn judge_file_system(subject: &str, name: &str, used: Use) -> Finding {
    let is_sound = match name {
        "tmpfs" | "ramfs" => used == Use::Disposable,
        "nfs" | "smb" => false,
        _ => true,
    };
    let fix = "put it on a local disk";
    Finding::checked(subject, "file system", (name, "a local disk"), is_sound, Weight::Doubtful, fix)
}

/// The kinds that matter by their numbers in Linux's `statfs`.
#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<&'static str> {
    Some(match rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff {
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x6969 => "nfs",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "smb",
        _ => "local",
    })
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(check: Finding) -> Weight {
        check.weight
    }

    #[test]
    fn few_open_files_are_said() {
        assert_eq!(weight(judge_open_files(256)), Weight::Wrong);
        assert_eq!(weight(judge_open_files(1_024)), Weight::Doubtful);
        assert_eq!(weight(judge_open_files(OPEN_FILES)), Weight::Sound);
        assert_eq!(judge_open_files(u64::MAX).found, "unlimited");
    }

    #[test]
    fn an_address_is_free_taken_or_not_ours() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(address("listen", taken.local_addr().unwrap()).unwrap().found.ends_with("taken (by a running kith?)"));
        let foreign = address("listen", "192.0.2.1:7400".parse().unwrap()).unwrap();
        assert_eq!((foreign.weight, &*foreign.name), (Weight::Wrong, "listen"));
    }

    #[test]
    fn a_folder_must_be_one_with_room() {
        let folder_there = tempfile::tempdir().unwrap();
        let new = folder(&folder_there.path().join("a/b"), Use::Disposable);
        assert!(new.iter().all(|check| check.weight != Weight::Wrong), "{new:?}");
        let file = folder_there.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(folder(&file.join("log"), Use::Truth)[0].weight, Weight::Wrong);
        assert_eq!(weight(judge_space("f", 1024)), Weight::Wrong);
        assert_eq!(weight(judge_space("f", LEAST_FREE_BYTES)), Weight::Doubtful);
        assert_eq!(weight(judge_space("f", FREE_BYTES)), Weight::Sound);
    }

    #[test]
    fn a_log_is_not_kept_in_memory_nor_over_a_network() {
        for (name, used, weight) in [
            ("local", Use::Truth, Weight::Sound),
            ("tmpfs", Use::Truth, Weight::Doubtful),
            ("tmpfs", Use::Disposable, Weight::Sound),
            ("nfs", Use::Disposable, Weight::Doubtful),
        ] {
            assert_eq!(judge_file_system("f", name, used).weight, weight, "{name}");
        }
    }

    #[tokio::test]
    async fn a_collector_that_is_down_is_doubtful() {
        assert!(collector("").await.is_none());
        assert_eq!(collector("http://127.0.0.1:1").await.unwrap().weight, Weight::Doubtful);
    }
}
