use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::guard;
use crate::wait::until;

/// How much of a process's output a failed test shows, bytes.
const SHOWN_OUTPUT_BYTES: usize = 6_000;
/// USER_HZ, which is 100 on every Linux that shows it to processes.
const TICKS_A_SECOND: u64 = 100;
/// A thread deep in a slow system call stops when that returns.
const PAUSED_WITHIN: Duration = Duration::from_secs(10);

/// A process of this test run. It is killed when dropped, and when the run ends in any other way.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints, on both streams, is added to the file `output`.
    pub fn start(name: &str, mut command: Command, output: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {:?}", command.get_program()))?;
        let process = Self { name: name.to_owned(), child, output: output.to_owned() };
        guard::watch(process.pid())?;
        Ok(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn exit(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            guard::forget(self.pid())?;
        }
        Ok(status)
    }

    /// An error with the end of its output when it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.exit()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its last output:\n{}", self.name, self.output_tail()),
        }
    }

    /// SIGSTOP: it keeps its memory and connections, and is stopped when this returns.
    pub async fn pause(&mut self) -> Result<()> {
        self.signal("STOP")?;
        // The signal is only on its way when `kill` returns, and a later one of a lower number would overtake it.
        let what = format!("{} is paused", self.name);
        until(&what, PAUSED_WITHIN, async || {
            self.ensure_running()?;
            Ok(self.is_paused()?.then_some(()))
        })
        .await
    }

    /// Whether every thread of it is stopped.
    pub fn is_paused(&self) -> Result<bool> {
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // One that ended since the list was read runs no more.
            let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            if status.lines().any(|line| line.starts_with("State:") && !line.contains('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// SIGCONT: it continues.
    pub fn resume(&mut self) -> Result<()> {
        self.signal("CONT")
    }

    /// SIGKILL; the process is gone when this returns. Fine when it has ended already, or is paused.
    pub fn kill_9(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        guard::forget(self.pid())
    }

    /// Waits for it to end, without asking it to.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let waited = until(&what, within, async || self.exit()).await;
        waited.with_context(|| format!("its last output:\n{}", self.output_tail()))
    }

    /// Asks it to end and waits. After `within` it is killed, and that is an error.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let ended = self.ended(within).await;
        if ended.is_err() {
            self.kill_9()?;
        }
        ended
    }

    /// Memory that it holds now (resident set), bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_kib("VmRSS:").map(|kib| kib * 1024)
    }

    /// The most memory it has held since its start (resident set), bytes.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        self.status_kib("VmHWM:").map(|kib| kib * 1024)
    }

    /// Processor time that it has used since its start, of all its threads.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // Behind the name, which may hold anything: utime and stime are fields 14 and 15, in ticks (proc(5)).
        let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>().with_context(|| format!("no times for {}", self.name))?;
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND))
    }

    /// All that it has printed.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.output)?).into_owned())
    }

    /// The end of what it has printed.
    pub fn output_tail(&self) -> String {
        tail_of(&self.output).unwrap_or_else(|error| format!("(no output: {error})"))
    }

    fn signal(&mut self, name: &str) -> Result<()> {
        self.ensure_running()?;
        // `kill` of the shell itself: not every machine has one as a program.
        let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &self.pid().to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to {}", self.name);
        Ok(())
    }

    fn status_kib(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.with_context(|| format!("no {field} for {}", self.name))?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill_9();
    }
}

fn tail_of(path: &Path) -> Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(SHOWN_OUTPUT_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("a script", command, &folder.join("output")).unwrap()
    }

    #[tokio::test]
    async fn tells_how_it_ended_and_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo so it goes; exit 7", folder.path());
        assert_eq!(process.ended(Duration::from_secs(10)).await.unwrap().code(), Some(7));
        assert!(process.ensure_running().unwrap_err().to_string().contains("so it goes"));
        assert!(process.resume().is_err(), "nothing is left to be signalled");
    }

    #[tokio::test]
    async fn stops_in_good_order_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut obedient = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", folder.path());
        until("the trap is set", Duration::from_secs(10), async || {
            Ok(obedient.output()?.contains("ready").then_some(()))
        })
        .await
        .unwrap();
        assert!(obedient.resident_bytes().unwrap() > 0);
        assert!(obedient.stop(Duration::from_secs(10)).await.unwrap().success());

        let mut paused = shell("exec sleep 100", folder.path());
        paused.pause().await.unwrap();
        assert!(paused.stop(Duration::from_millis(50)).await.is_err());
        assert!(paused.exit().unwrap().is_some(), "killed in the end");
    }
}
