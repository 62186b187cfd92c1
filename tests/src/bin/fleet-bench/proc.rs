//! Programs that are measured: started, looked at from outside, ended.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// For a program to end by itself after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// For a program to say that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at something that no event tells.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A program that runs until it is stopped. Dropped, it is killed.
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, output to `dir/NAME.log`.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        args: &[&str],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = std::fs::File::create(&log)?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Waits for the file that the program writes when it is ready; returns its content.
    pub(crate) async fn ready(&mut self, file: &Path) -> anyhow::Result<String> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            match std::fs::read_to_string(file) {
                Ok(text) if !text.is_empty() => return Ok(text.trim().to_owned()),
                _ => self.still_runs()?,
            }
            if Instant::now() > end {
                bail!("{} is not ready after {READY_LIMIT:?}{}", self.name, self.last_words());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// An error, with the end of its log, when it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}){}", self.name, self.last_words()),
        }
    }

    /// Asks it to end, and makes it end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            // Fails only when it ended in between.
            let _ = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM);
            if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
                eprintln!("  {} does not end and is killed", self.name);
                self.child.kill().await?;
            }
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        lines.iter().rev().fold(String::new(), |all, line| format!("{all}\n  | {line}"))
    }
}

/// Runs a command to its end; its standard output.
///
/// # Errors
/// With what it said, when it fails.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{:?} failed ({}): {}",
        command.as_std().get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a process has used so far, all of its threads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// Resident now, MiB.
    pub(crate) resident: f64,
    /// Of it memory of its own, without pages of files (the program itself above all), MiB.
    pub(crate) own: f64,
    /// Most that ever was resident, MiB.
    pub(crate) peak: f64,
    /// Of one core, seconds.
    pub(crate) cpu: f64,
    /// Voluntary context switches of the threads that live.
    pub(crate) switches: u64,
    pub(crate) threads: usize,
}

/// Reads `/proc/PID`; see proc(5).
pub(crate) fn usage(pid: u32) -> anyhow::Result<Usage> {
    let read = |path: String| {
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}; has it ended?"))
    };
    let status = read(format!("/proc/{pid}/status"))?;
    let stat = read(format!("/proc/{pid}/stat"))?;
    let (mut switches, mut threads) = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two looks.
        if let Ok(text) = std::fs::read_to_string(task?.path().join("status")) {
            switches += field(&text, "voluntary_ctxt_switches")?;
            threads += 1;
        }
    }
    let mib = |key| field(&status, key).map(|kib| kib as f64 / 1024.0);
    Ok(Usage {
        resident: mib("VmRSS")?,
        own: mib("RssAnon")?,
        peak: mib("VmHWM")?,
        cpu: cpu_seconds(&stat)?,
        switches,
        threads,
    })
}

fn field(status: &str, key: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = line.and_then(|rest| rest.split_whitespace().next());
    value.and_then(|v| v.parse().ok()).with_context(|| format!("no {key} in the process's status"))
}

/// utime + stime: the 14th and 15th field. The second one, the name, may hold anything.
fn cpu_seconds(stat: &str) -> anyhow::Result<f64> {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |place: usize| after_name.split_whitespace().nth(place)?.parse::<u64>().ok();
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        bail!("the process's stat cannot be read");
    };
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    let per_second = per_second.context("the system does not say how long a tick is")?;
    Ok((user + system) as f64 / per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_outside() {
        let before = usage(std::process::id()).expect("this one lives");
        assert!(before.resident > 1.0 && before.own < before.resident && before.own > 0.0);
        assert!(before.peak > 1.0 && before.cpu >= 0.0);
        assert!(before.threads >= 1);
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(1));
        let after = usage(std::process::id()).expect("this one lives");
        assert!(after.switches > before.switches, "a sleep is a voluntary switch");
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        let hundredth = cpu_seconds(stat).expect("readable");
        assert!((hundredth - 2.0).abs() < 1e-9, "{hundredth}");
        assert!(cpu_seconds("7 (a) S 1").is_err());
        assert!(field("VmRSS:\t  2048 kB\n", "VmRSS").is_ok_and(|kib| kib == 2048));
        assert!(field("nonvoluntary_ctxt_switches: 1", "voluntary_ctxt_switches").is_err());
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let args = ["-c", "echo the cause >&2; exit 3"];
        let mut daemon =
            Daemon::start("x", Path::new("/bin/sh"), &args, dir.path()).expect("starts");
        let error =
            daemon.ready(&dir.path().join("never")).await.expect_err("it ended").to_string();
        assert!(error.contains("the cause") && error.contains('3'), "{error}");
    }
}
