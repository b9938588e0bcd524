//! Nothing that a test run starts outlives it, also after kill -9 of the run.
//!
//! A shell beside the run reads from a pipe which processes were started and where their files are. When the run ends,
//! for any reason, the pipe closes, and the shell kills and removes what is left. Destructors alone are not enough:
//! those of shared servers, which live in statics, never run.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
pids= gone=
while read -r word value; do
    case $word in
        pid) pids="$pids $value" ;;
        gone) gone="$gone $value " ;;
        folder) set -- "$@" "$value" ;;
    esac
done
for pid in $pids; do
    case $gone in *" $pid "*) continue ;; esac
    kill -s KILL "$pid"
    tries=0
    while kill -0 "$pid" && [ $tries -lt 40 ]; do sleep 0.05; tries=$((tries + 1)); done
done
[ $# -eq 0 ] || rm -rf -- "$@"
"#;

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// The process `pid` must not outlive this run.
pub(crate) fn watch(pid: u32) -> Result<()> {
    tell(&format!("pid {pid}\n"))
}

/// The process `pid` has ended; another may get its number.
pub(crate) fn forget(pid: u32) -> Result<()> {
    tell(&format!("gone {pid}\n"))
}

/// The folder is removed with this run.
pub(crate) fn remove_at_the_end(folder: &Path) -> Result<()> {
    tell(&format!("folder {}\n", folder.display()))
}

fn tell(line: &str) -> Result<()> {
    let mut pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = Some(start()?);
    }
    let pipe = pipe.as_mut().context("the guard was just started")?;
    pipe.write_all(line.as_bytes()).context("the guard of this test run is gone")
}

/// In a process group of its own, so that the Ctrl-C that ends the run spares it.
fn start() -> Result<ChildStdin> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(SCRIPT).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = command.spawn().context("cannot start sh")?;
    shell.stdin.take().context("the guard has no pipe")
}
