//! The journal of an agent's unit: the listener's lines, agent-run's own, and systemd's about the
//! unit, in the order in which they came, over all runs that the journal still has.
//!
//! systemd has no interface for reading it but a C library and this program; the file format is its
//! own, compressed and versioned. So the program is started, with arguments that are all ours.

use std::{collections::VecDeque, process::Stdio};

use fleet_model::AgentName;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::{files_of, journal_entry::entries, unit};
use crate::{
    runtime::{
        RuntimeError,
        log::{LogEntry, LogQuery, LogStream},
    },
    scrub::Pieces,
};

/// Longest record that is read: a line with all that the journal says about it.
const RECORD_MAX: usize = 512 * 1024;
/// Bytes read at a time.
const READ: usize = 32 * 1024;
/// Most that is kept of what it complains about.
const COMPLAINT_MAX: u64 = 1000;

/// Begins to read. The program ends with the stream.
pub(super) fn read(agent: &AgentName, query: &LogQuery) -> Result<LogStream, RuntimeError> {
    let mut child = Command::new("journalctl")
        .args(arguments(agent, query, machine().as_deref()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| files_of("the journal", source))?;
    let Some(output) = child.stdout.take() else {
        return Err(files_of("the journal", std::io::Error::other("it has no output")));
    };
    let reader = Reader {
        child,
        output: BufReader::with_capacity(READ, output),
        records: Pieces::new(RECORD_MAX),
        query: query.clone(),
        ready: VecDeque::new(),
    };
    let stream = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(entry)) => Some((Ok(entry), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(stream.boxed())
}

/// This machine's id; none: it has none that could be read.
fn machine() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn arguments(agent: &AgentName, query: &LogQuery, machine: Option<&str>) -> Vec<String> {
    let tail = query.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string());
    let mut all = vec![
        format!("--unit={}", unit::name(agent)),
        "--output=json".to_owned(),
        // Also what is long or has odd bytes in it.
        "--all".to_owned(),
        "--quiet".to_owned(),
        "--no-pager".to_owned(),
        // Of all boots: by itself --follow takes the present one only, by an id that a sandbox may
        // hide. It also takes what other machines left here, so this one is named below.
        "--merge".to_owned(),
        format!("--lines={tail}"),
    ];
    // In whole seconds; what is too old in the first one is left out here.
    let since = query.since.max(query.after);
    all.extend(since.map(|since| format!("--since=@{}", since.as_second())));
    all.extend(query.follow.then(|| "--follow".to_owned()));
    all.extend(machine.map(|id| format!("_MACHINE_ID={id}")));
    all
}

struct Reader {
    child: Child,
    output: BufReader<ChildStdout>,
    records: Pieces,
    query: LogQuery,
    ready: VecDeque<LogEntry>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogEntry>, RuntimeError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            let mut bytes = vec![0; READ];
            let count = self.output.read(&mut bytes).await;
            match count.map_err(|source| files_of("the journal", source))? {
                0 => return self.ended().await.map(|()| None),
                count => {
                    let (ready, query) = (&mut self.ready, &self.query);
                    self.records.take(&bytes[..count], |record, _| {
                        let asked = entries(&record).into_iter().filter(|e| query.takes(e.at));
                        ready.extend(asked);
                    });
                }
            }
        }
    }

    /// Told to its end, or given up by the program.
    async fn ended(&mut self) -> Result<(), RuntimeError> {
        let status = self.child.wait().await.map_err(|source| files_of("the journal", source))?;
        if status.success() && !self.query.follow {
            return Ok(());
        }
        let mut why = String::new();
        if let Some(errors) = self.child.stderr.take() {
            // What cannot be read is not the trouble that is told.
            let _ = errors.take(COMPLAINT_MAX).read_to_string(&mut why).await;
        }
        let why = format!("journalctl ended ({status}): {}", why.trim());
        Err(RuntimeError::Refused { doing: "reading the journal", why })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_program_gets_arguments_of_ours_only() {
        let agent: AgentName = "nightly-h-1-07".parse().unwrap();
        let fixed = ["--unit=fleet-agent-nightly-h-1-07.service", "--output=json", "--all"];
        let all = arguments(&agent, &LogQuery::default(), None);
        assert_eq!(all[..3], fixed);
        assert_eq!(all[5..], ["--merge", "--lines=all"]);
        let query = LogQuery {
            tail: Some(7),
            since: Some("1970-01-01T00:01:01.9Z".parse().unwrap()),
            after: None,
            follow: true,
        };
        let expected = ["--merge", "--lines=7", "--since=@61", "--follow", "_MACHINE_ID=5a"];
        assert_eq!(arguments(&agent, &query, Some("5a"))[5..], expected);
    }
}
