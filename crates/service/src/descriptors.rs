//! File descriptors: how many the process may have, and how many of them callers may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::CONNECTIONS;

/// Descriptors reserved for the stores, the log's and the tables' connections and the operators' port.
const RESERVED: u64 = 512;
/// A hard limit of open files below this leaves room for fewer callers than may connect.
pub const OPEN_FILES: u64 = CONNECTIONS as u64 + RESERVED;

/// Raises the soft limit to the hard one, as far as allowed, and returns how many callers' connections leave the
/// reserved descriptors free: an embedded store without a descriptor accepts no more writes.
pub fn connections_allowed() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
    let allowed = share_of(getrlimit(Resource::Nofile).current);
    if allowed < CONNECTIONS {
        tracing::warn!(connections = allowed, "the limit of open files (ulimit -n) leaves room for few connections");
    }
    allowed
}

/// Of a limit of open files; `None` is none.
fn share_of(open_files: Option<u64>) -> usize {
    let left = open_files.map_or(u64::MAX, |files| files.saturating_sub(RESERVED).max(files / 4));
    usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_keep_their_share() {
        assert_eq!(share_of(None), CONNECTIONS);
        assert_eq!(share_of(Some(1_048_576)), CONNECTIONS);
        assert_eq!(share_of(Some(1_024)), 512);
        assert_eq!(share_of(Some(256)), 64);
    }
}
