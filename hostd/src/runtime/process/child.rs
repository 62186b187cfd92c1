//! One agent as a process group that cannot outlive hostd.
//!
//! ```text
//!   hostd ─┬─ gate: waits for "go" on its input ──exec──► entry ──exec──► Agent.Listener
//!          └─ guard: waits for the end of its input, then ends the gate's group
//! ```
//!
//! The guard's input ends when hostd ends, however it ends. The gate opens only when the guard is
//! there, so there is no moment in which an agent could be left behind.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::Path, process::Stdio};

use nix::{
    sys::signal::{Signal, killpg},
    unistd,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

const GATE: &str = r#"IFS= read -r word && [ "$word" = go ] && exec /bin/sh "$0" </dev/null 2>&1"#;
/// A listener that is interrupted ends its session, so the pool sees it offline at once; what does
/// not listen is killed.
const GUARD: &str = r#"read -r _
kill -INT "-$1" 2>/dev/null || exit 0
tries=0
while [ "$tries" -lt 100 ] && kill -0 "-$1" 2>/dev/null; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -KILL "-$1" 2>/dev/null"#;

/// A started agent.
pub(super) struct Agent {
    /// Becomes the listener.
    pub(super) child: Child,
    guard: Child,
    /// Its process group, by the number of its first process.
    pub(super) leader: i32,
    /// The first process itself: a number may be used again, this is not.
    pub(super) handle: OwnedFd,
}

/// Starts the entry with this environment and nothing else.
///
/// # Errors
/// Processes that cannot be made.
pub(super) async fn start(entry: &Path, env: &BTreeMap<String, String>) -> io::Result<Agent> {
    let mut child = shell(GATE).arg(entry).envs(env).stdout(Stdio::piped()).spawn()?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(ended)?;
    let handle = Pid::from_raw(leader)
        .ok_or_else(ended)
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))?;
    let mut guard = shell(GUARD).arg("guard").arg(leader.to_string()).spawn()?;
    // Kept open for as long as hostd lives.
    let input = guard.stdin.as_mut().ok_or_else(ended)?;
    input.flush().await?;
    let mut gate = child.stdin.take().ok_or_else(ended)?;
    gate.write_all(b"go\n").await?;
    Ok(Agent { child, guard, leader, handle })
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    command
        .args(["-c", script])
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C for hostd is not one for its agents.
        .process_group(0);
    command
}

fn ended() -> io::Error {
    io::Error::other("the process ended at once")
}

impl Agent {
    /// Waits for the listener's end, and ends what it left behind. Returns the exit code, a signal
    /// as shells tell it.
    ///
    /// # Errors
    /// A process that cannot be waited for.
    pub(super) async fn end(&mut self) -> io::Result<Option<i32>> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await?;
        kill_group(self.leader);
        // Its group is gone: there is nothing left to guard.
        self.guard.kill().await?;
        Ok(status.code().or(status.signal().map(|signal| 128 + signal)))
    }
}

/// Asks every process of a group to end.
pub(super) fn end_group(leader: i32) {
    let _ = killpg(unistd::Pid::from_raw(leader), Signal::SIGTERM);
}

/// Ends every process of a group; one that has none is done.
pub(super) fn kill_group(leader: i32) {
    let _ = killpg(unistd::Pid::from_raw(leader), Signal::SIGKILL);
}
