//! The listener as a process of the agent's user: started, or taken over from an agent's process
//! that was killed, signalled, and waited for.

use std::{
    ffi::CString,
    fs::OpenOptions,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::Path,
    process::Stdio,
};

use nix::{sys::stat::umask, unistd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
};

use super::record::{Process, RunDir, UnitRecord};
use crate::runtime::proc;

/// Under which name this program becomes the listener's user; see [`become_user`].
pub const AS_USER: &str = "agent-exec";
/// What a listener finds its tools on when the template says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A listener that lives, or lived.
pub(super) struct Listener {
    /// Its number and when it began.
    pub(super) process: Process,
    /// It itself: its number may be given to another process, this is not.
    handle: AsyncFd<OwnedFd>,
    /// None for one that was taken over: its exit code goes to somebody else.
    child: Option<Child>,
}

impl Listener {
    /// Starts the entry, which becomes the listener.
    ///
    /// # Errors
    /// A process that cannot be made.
    pub(super) fn start(dir: &RunDir, unit: &UnitRecord) -> io::Result<Self> {
        // Read and write: a pipe that nobody reads for a moment must not end who writes into it.
        let console = OpenOptions::new().read(true).write(true).open(dir.console())?;
        let child = Command::new("/proc/self/exe")
            .args([AS_USER, &unit.user, "/bin/sh"])
            .arg(dir.path().join("fleet/entry.sh"))
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &unit.home)
            .envs(&unit.env)
            .envs(dir.is_updated().then_some(("FLEET_UPDATED", "1")))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()?;
        dir.forget_update();
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(gone)?;
        // Nobody waited for it yet, so the number is still its own.
        let started = proc::alive(pid)?.map_or(0, |process| process.started);
        Ok(Self { process: Process { pid, started }, handle: handle(pid)?, child: Some(child) })
    }

    /// Takes over one that lives; none: it does not (any more).
    ///
    /// # Errors
    /// A process list that cannot be read.
    pub(super) fn adopt(process: Process) -> io::Result<Option<Self>> {
        let Ok(handle) = handle(process.pid) else { return Ok(None) };
        Ok(process.lives()?.then_some(Self { process, handle, child: None }))
    }

    /// Waits for its end. The exit code where it is known, a signal as shells tell it.
    ///
    /// # Errors
    /// A process that cannot be waited for.
    pub(super) async fn ended(&mut self) -> io::Result<Option<i32>> {
        use std::os::unix::process::ExitStatusExt;
        if let Some(child) = &mut self.child {
            let status = child.wait().await?;
            return Ok(status.code().or(status.signal().map(|signal| 128 + signal)));
        }
        // The handle of a process can be read when it has ended.
        let _ended = self.handle.ready(Interest::READABLE).await?;
        Ok(None)
    }

    /// Asks it to end. Ended already is done already.
    ///
    /// # Errors
    /// A signal that cannot be sent.
    pub(super) fn interrupt(&self) -> io::Result<()> {
        self.signal(Signal::INT)
    }

    /// Ends it.
    ///
    /// # Errors
    /// See [`Self::interrupt`].
    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.handle.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn handle(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or_else(gone)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an owned handle keeps what that asks for"
    )]
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

fn gone() -> io::Error {
    io::Error::other("the process ended at once")
}

/// Gives up root for good and becomes `program`: the standard library can change the user of a child
/// but not give it the user's groups, so this program does it between the two.
///
/// # Errors
/// A user that does not exist, or a step that fails; nothing is run then.
pub fn become_user(user: &str, program: &Path, arguments: &[std::ffi::OsString]) -> io::Error {
    let become_it = || -> io::Result<()> {
        let found = unistd::User::from_name(user)?;
        let found = found.ok_or_else(|| io::Error::other(format!("no user {user} exists")))?;
        unistd::initgroups(&CString::new(user)?, found.gid)?;
        unistd::setgid(found.gid)?;
        unistd::setuid(found.uid)?;
        // A session of its own: what a terminal or a job sends to a group does not reach others.
        unistd::setsid()?;
        umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        std::env::set_current_dir(&found.dir)
    };
    match become_it() {
        Ok(()) => std::process::Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}
