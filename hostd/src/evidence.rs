//! What is kept of an agent that went into quarantine, for whoever looks into it.
//!
//! ```text
//!   evidence/                 0700
//!     <agent>-<attempt>/      0700, one run's
//!       log.txt, …            0600, without secrets
//! ```
//! It outlives the quarantine; only the newest are kept.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use fleet_proto::{
    files::{self, FileError},
    logging::Report,
};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::{
    disk::absent_is_fine,
    runtime::{
        Exhibit, RunId, Runtime, RuntimeError,
        log::{LogEntry, LogQuery, LogWhat, RawLine},
    },
    scrub::{LINE_MAX, Scrubber},
};

/// Runs whose evidence is kept on a host.
const KEPT: usize = 20;
/// Lines of its log: enough to see how it came to its last failures.
const LOG_LINES: u32 = 5000;
/// How long the log is waited for; what came until then is kept.
const LOG_LIMIT: Duration = Duration::from_secs(20);

/// The evidence on this host's disk.
#[derive(Debug, Clone)]
pub struct EvidenceStore {
    root: PathBuf,
}

/// Evidence that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file of it.
    #[error("the evidence of {0} cannot be kept")]
    File(RunId, #[source] FileError),
    /// What was there before.
    #[error("older evidence cannot be removed from {0}")]
    Old(PathBuf, #[source] io::Error),
}

impl EvidenceStore {
    /// In a state directory.
    pub fn within(data: &Path) -> Self {
        Self { root: data.join("evidence") }
    }

    /// Keeps what is known of a run, in place of what was kept of it before; where. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// A disk that is full or fails: what is there then is no evidence.
    pub fn keep(
        &self,
        run: &RunId,
        exhibits: &[Exhibit],
        scrubber: &Scrubber,
    ) -> Result<PathBuf, EvidenceError> {
        let dir = self.root.join(run.to_string());
        let old = |path: &Path| {
            let path = path.to_owned();
            move |error| EvidenceError::Old(path, error)
        };
        absent_is_fine(fs::remove_dir_all(&dir)).map_err(old(&dir))?;
        for exhibit in exhibits {
            let text = scrubbed(&exhibit.text, scrubber);
            files::write_private(&dir.join(exhibit.name), text.as_bytes())
                .map_err(|error| EvidenceError::File(run.clone(), error))?;
        }
        self.prune().map_err(old(&self.root))?;
        Ok(dir)
    }

    /// Removes all but the newest.
    fn prune(&self) -> io::Result<()> {
        let mut all: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.root)?
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort();
        let many = all.len().saturating_sub(KEPT);
        all.iter().take(many).try_for_each(|(_, dir)| absent_is_fine(fs::remove_dir_all(dir)))
    }
}

/// The end of an agent's log, as its runtime gives it: the container's, or the journal of the unit.
pub(crate) async fn log_of(runtime: &dyn Runtime, run: &RunId, scrubber: &Scrubber) -> Exhibit {
    let query = LogQuery { tail: Some(LOG_LINES), ..LogQuery::default() };
    let mut text = String::new();
    let read = async {
        let mut log = runtime.logs(run, &query).await?;
        while let Some(entry) = log.next().await {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{}", shown(&entry?, scrubber));
        }
        Ok::<(), RuntimeError>(())
    };
    let trouble = match timeout(LOG_LIMIT, read).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Report(&error).to_string()),
        Err(_) => Some(format!("no end of it within {} s", LOG_LIMIT.as_secs())),
    };
    if let Some(trouble) = trouble {
        let _ = writeln!(text, "... the log ends here: {trouble}");
    }
    Exhibit { name: "log.txt", text }
}

fn shown(entry: &LogEntry, scrubber: &Scrubber) -> String {
    let at = entry.at.map(|at| format!("{at} ")).unwrap_or_default();
    // What is too long is cut after it was looked through, for half a secret is not found.
    let line = |raw: &RawLine| scrubber.cut(&raw.text, LINE_MAX, raw.left_out == 0).into_owned();
    match &entry.what {
        LogWhat::Line(raw) => format!("{at}{}", line(raw)),
        LogWhat::Note(who, raw) => format!("{at}[{who}] {}", line(raw)),
        LogWhat::Run(attempt) => format!("--- run {attempt} ---"),
        LogWhat::Skipped(count) => format!("... {count} lines skipped"),
    }
}

fn scrubbed(text: &str, scrubber: &Scrubber) -> String {
    text.lines().flat_map(|line| [scrubber.line(line).into_owned(), "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn run(attempt: u32) -> RunId {
        RunId { agent: "nightly-h-01".parse().unwrap(), attempt }
    }

    fn log(text: &str) -> Vec<Exhibit> {
        vec![Exhibit { name: "log.txt", text: text.to_owned() }]
    }

    #[test]
    fn it_is_for_root_alone_and_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let store = EvidenceStore::within(dir.path());
        let scrubber = Scrubber::new([String::from("s3cr3t-token").into()]);
        let place = store.keep(&run(3), &log("one\nwith s3cr3t-token in it"), &scrubber).unwrap();
        let file = place.join("log.txt");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\nwith *** in it\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&place), mode(&store.root)), (0o600, 0o700, 0o700));
        // Again, of the same run: what was there is replaced.
        store.keep(&run(3), &log("anew"), &scrubber).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "anew\n");
    }

    #[test]
    fn only_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = EvidenceStore::within(dir.path());
        for attempt in 1..=30 {
            let place = store.keep(&run(attempt), &log("x"), &Scrubber::default()).unwrap();
            let made = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(attempt.into());
            fs::File::open(place).unwrap().set_modified(made).unwrap();
        }
        let mut left: Vec<_> =
            fs::read_dir(&store.root).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left.len(), KEPT);
        assert!(!store.root.join("nightly-h-01-1").exists());
        assert!(store.root.join("nightly-h-01-30").exists());
    }
}
