//! The directory of one run under systemd: what hostd and the agent's own process tell each other.
//!
//! ```text
//!   <runs>/                      0711, in memory (/run): a reboot ends runs, records and secrets
//!     .attended                  locked by the hostd that rules here, for as long as it lives
//!     <agent>-<attempt>/         0711
//!       unit.json                what the run is, written by hostd before its unit is made
//!       state.json               what it does; replaced whole, by the agent's process
//!       log                      "! started", "> line of the listener", "! ended CODE", in order
//!       console                  a named pipe: what the listener writes
//!       updated                  there when the listener ended for its update
//!       stop                     there when hostd vouches for a stop: no job can be lost by it
//!       fleet/                   the hand-over, the only part that the agent's user can enter
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use fleet_model::{GroupName, Mode, PoolName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::runtime::{RunId, proc};

/// A log that has grown beyond this is begun anew between two jobs.
const LOG_MAX: u64 = 1024 * 1024;

/// What a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// The agent's name.
    pub agent: fleet_model::AgentName,
    /// Which of its runs.
    pub attempt: u32,
    /// See [`crate::runtime::RunSeen`].
    pub pool: PoolName,
    /// See `pool`.
    pub group: GroupName,
    /// See `pool`.
    pub slot: u16,
    /// Once or long-lived.
    pub mode: Mode,
    /// Its unit.
    pub unit: String,
    /// Its user.
    pub user: String,
    /// That user's number, and its group's.
    pub uid: u32,
    /// Its home.
    pub home: PathBuf,
    /// The engine that its user can use, by its socket; none: it can use none.
    pub engine: Option<PathBuf>,
    /// Where the agent lives; its work folder is `_work` in there.
    pub root: PathBuf,
    /// What the entry is told. No secret is among it.
    pub env: BTreeMap<String, String>,
}

impl UnitRecord {
    /// Which run it is.
    pub fn run(&self) -> RunId {
        RunId { agent: self.agent.clone(), attempt: self.attempt }
    }
}

/// One process, told from a later one with the same number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Clock ticks between the machine's boot and its own start.
    pub started: u64,
}

impl Process {
    /// It itself, and not a later one with its number?
    pub(crate) fn is(&self, seen: &proc::Process) -> bool {
        (self.pid, self.started) == (seen.pid, seen.started)
    }

    /// Does it live?
    ///
    /// # Errors
    /// A process list that cannot be read.
    pub(crate) fn lives(&self) -> io::Result<bool> {
        Ok(proc::alive(self.pid)?.is_some_and(|now| self.is(&now)))
    }
}

impl From<&proc::Process> for Process {
    fn from(seen: &proc::Process) -> Self {
        Self { pid: seen.pid, started: seen.started }
    }
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A listener lives, or is about to.
    Running {
        /// None: it is not started yet.
        listener: Option<Process>,
        /// It took a job.
        had_job: bool,
    },
    /// It ended, with the exit code where known.
    Ended {
        /// The exit code.
        code: Option<i32>,
    },
}

/// The files of one run.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Of this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The listener's console.
    pub fn console(&self) -> PathBuf {
        self.0.join("console")
    }

    /// What was said, in order.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// What the run is; none: no run was made here (yet).
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn unit(&self) -> io::Result<Option<UnitRecord>> {
        self.read("unit.json")
    }

    /// What the run does; none: it was never started.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn state(&self) -> io::Result<Option<State>> {
        self.read("state.json")
    }

    /// Writes down what the run is.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_unit(&self, unit: &UnitRecord) -> io::Result<()> {
        self.write("unit.json", unit)
    }

    /// Writes down what the run does.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_state(&self, state: State) -> io::Result<()> {
        self.write("state.json", &state)
    }

    /// hostd vouches: the run may be stopped at once.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn allow_stop(&self) -> io::Result<()> {
        File::create(self.0.join("stop")).map(drop)
    }

    /// Does hostd vouch for a stop?
    pub fn may_stop(&self) -> bool {
        self.0.join("stop").exists()
    }

    /// Its listener ended for its update: whoever starts the next one is to finish that. Not the work
    /// folder says so, where a job could.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn note_update(&self) -> io::Result<()> {
        File::create(self.updated()).map(drop)
    }

    /// An update is to be finished.
    pub fn is_updated(&self) -> bool {
        self.updated().exists()
    }

    /// It is finished.
    pub fn forget_update(&self) {
        // Left, it would be finished once more, which changes nothing.
        let _ = fs::remove_file(self.updated());
    }

    fn updated(&self) -> PathBuf {
        self.0.join("updated")
    }

    /// The run begins (again).
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn say_started(&self) -> io::Result<()> {
        self.append("! started\n")
    }

    /// The listener wrote a line that means something.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn say_line(&self, line: &str) -> io::Result<()> {
        self.append(&format!("> {line}\n"))
    }

    /// Writes down that the run ended, for those who list and for those who listen.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn end(&self, code: Option<i32>) -> io::Result<()> {
        self.put_state(State::Ended { code })?;
        let code = code.map_or_else(|| "?".to_owned(), |code| code.to_string());
        self.append(&format!("! ended {code}\n"))
    }

    /// A long life makes a long log: it is begun anew when it has grown too much.
    ///
    /// # Errors
    /// A file that cannot be cut.
    pub fn trim_log(&self) -> io::Result<()> {
        let log = OpenOptions::new().write(true).open(self.log())?;
        if log.metadata()?.len() > LOG_MAX { log.set_len(0) } else { Ok(()) }
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(self.log())?;
        log.write_all(line.as_bytes())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole or not at all; in memory, so nothing need reach a disk. hostd and agent-run may both write
    /// an end down at the same time: each into a file of its own.
    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let (pid, count) = (std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
        let half = self.0.join(format!("{name}.{pid}-{count}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        fs::rename(half, self.0.join(name))
    }
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine<'a> {
    /// A listener begins.
    Started,
    /// What it wrote.
    Said(&'a str),
    /// It ended.
    Ended(Option<i32>),
}

impl<'a> LogLine<'a> {
    /// Reads one; what a job made the listener write can never look like a word of ours.
    pub fn parse(line: &'a str) -> Option<Self> {
        if let Some(said) = line.strip_prefix("> ") {
            return Some(Self::Said(said));
        }
        match line.strip_prefix("! ")? {
            "started" => Some(Self::Started),
            other => other.strip_prefix("ended ").map(|code| Self::Ended(code.parse().ok())),
        }
    }
}

/// A directory that everybody may pass through and nobody may list.
///
/// # Errors
/// A directory that cannot be made.
pub fn passage(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    // The process's umask may have taken bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        assert_eq!(run.state().unwrap(), None);
        for state in [
            State::Running { listener: Some(Process { pid: 7, started: 9 }), had_job: true },
            State::Ended { code: Some(4) },
        ] {
            run.put_state(state).unwrap();
            assert_eq!(run.state().unwrap(), Some(state));
        }
        assert!(!run.may_stop());
        run.allow_stop().unwrap();
        assert!(run.may_stop());
    }

    #[test]
    fn two_who_write_at_the_same_time_leave_one_whole_word() {
        let dir = tempfile::tempdir().unwrap();
        let ends = [None, Some(0), Some(143)].map(|code| State::Ended { code });
        RunDir::at(dir.path()).put_state(ends[0]).unwrap();
        std::thread::scope(|scope| {
            for end in ends {
                let run = RunDir::at(dir.path());
                scope.spawn(move || (0..300).for_each(|_| run.put_state(end).unwrap()));
            }
            for _ in 0..900 {
                let read = RunDir::at(dir.path()).state().unwrap().unwrap();
                assert!(ends.contains(&read), "{read:?}");
            }
        });
    }

    #[test]
    fn the_log_tells_everything_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        run.say_started().unwrap();
        run.say_line("! ended 0").unwrap();
        run.end(Some(4)).unwrap();
        run.say_started().unwrap();
        run.end(None).unwrap();
        let log = fs::read_to_string(run.log()).unwrap();
        let lines: Vec<_> = log.lines().filter_map(LogLine::parse).collect();
        let forged = LogLine::Said("! ended 0");
        let (four, unknown) = (LogLine::Ended(Some(4)), LogLine::Ended(None));
        assert_eq!(lines, [LogLine::Started, forged, four, LogLine::Started, unknown]);
        assert_eq!(LogLine::parse("anything else"), None);
    }

    #[test]
    fn a_log_is_cut_only_when_it_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        run.say_line("a").unwrap();
        run.trim_log().unwrap();
        assert!(fs::metadata(run.log()).unwrap().len() > 0);
        run.say_line(&"x".repeat(LOG_MAX as usize)).unwrap();
        run.trim_log().unwrap();
        assert_eq!(fs::metadata(run.log()).unwrap().len(), 0);
    }
}
