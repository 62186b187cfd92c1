//! A container's log for people: every line with its time, followed through breaks of the connection.
//! The engine keeps it; how slowly it is read is the reader's own business.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bollard::{
    Docker,
    container::LogOutput,
    errors::Error,
    query_parameters::{LogsOptions, LogsOptionsBuilder},
};
use futures_util::{StreamExt, stream, stream::BoxStream};
use jiff::Timestamp;

use super::engine::{Engine, EngineError, refused};
use crate::{
    runtime::{
        RunId, RunState, RuntimeError,
        log::{LogEntry, LogQuery, LogStream, LogWhat, RAW_MAX, RawLine},
    },
    scrub::Pieces,
};

/// Before a log that broke off is opened again: as a rule its container ends, and the engine says so
/// a moment later.
const REOPEN: Duration = Duration::from_millis(200);
const READING: &str = "reading the log";

/// Reads the log of a container that is there.
pub(super) fn read(
    engine: Arc<Engine>,
    docker: &Docker,
    run: &RunId,
    query: LogQuery,
) -> LogStream {
    let output = open(docker, run, &query);
    let ready = VecDeque::new();
    let lines = Default::default();
    let reader = Reader { engine, run: run.clone(), query, output, lines, ready };
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(entry)) => Some((Ok(entry), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

fn open(docker: &Docker, run: &RunId, query: &LogQuery) -> Output {
    docker.logs(&run.to_string(), Some(options(query))).boxed()
}

fn options(query: &LogQuery) -> LogsOptions {
    let tail = query.tail.map_or_else(|| "all".to_owned(), |tail| tail.to_string());
    // The engine is asked for whole seconds; what is too old in the first one is left out here.
    let since = query.since.max(query.after).map_or(0, Timestamp::as_second);
    LogsOptionsBuilder::default()
        .follow(query.follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .tail(&tail)
        .since(i32::try_from(since).unwrap_or(0))
        .build()
}

type Output = BoxStream<'static, Result<LogOutput, Error>>;

struct Reader {
    engine: Arc<Engine>,
    run: RunId,
    query: LogQuery,
    output: Output,
    /// Of standard output and of standard error: their frames come mixed.
    lines: [Assembly; 2],
    ready: VecDeque<LogEntry>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogEntry>, RuntimeError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.query.after = entry.at.max(self.query.after);
                return Ok(Some(entry));
            }
            match self.output.next().await {
                Some(Ok(output)) => self.take(output),
                Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => {
                    return Err(RuntimeError::NoRun(self.run.clone()));
                }
                Some(Err(error @ Error::DockerResponseServerError { .. })) => {
                    return Err(refused(READING, error));
                }
                Some(Err(error)) if !self.query.follow => return Err(refused(READING, error)),
                None if !self.query.follow => {
                    let rest: Vec<_> = self.lines.iter_mut().filter_map(Assembly::end).collect();
                    if rest.is_empty() {
                        return Ok(None);
                    }
                    self.asked_for(rest);
                }
                Some(Err(_)) | None => match is_over(&self.engine, &self.run).await? {
                    true => return Ok(None),
                    false => self.reopen().await?,
                },
            }
        }
    }

    fn take(&mut self, output: LogOutput) {
        let mut whole = Vec::new();
        let of = usize::from(matches!(output, LogOutput::StdErr { .. }));
        self.lines[of].take(&output.into_bytes(), &mut whole);
        self.asked_for(whole);
    }

    fn asked_for(&mut self, whole: Vec<LogEntry>) {
        self.ready.extend(whole.into_iter().filter(|entry| self.query.takes(entry.at)));
    }

    async fn reopen(&mut self) -> Result<(), RuntimeError> {
        tokio::time::sleep(REOPEN).await;
        self.query.tail = None;
        self.lines = Default::default();
        self.output = open(self.engine.client().await?, &self.run, &self.query);
        Ok(())
    }
}

/// The connection broke, the engine was restarted, or the container ended: only that is an end.
async fn is_over(engine: &Engine, run: &RunId) -> Result<bool, RuntimeError> {
    match super::steps::state_of(engine, &run.to_string()).await {
        Ok(state) => Ok(state != RunState::Running),
        Err(EngineError::Absent(_)) => Ok(true),
        Err(error) => Err(error.while_doing(READING)),
    }
}

/// Lines of frames. The engine cuts long lines into several frames, each with a time of its own.
struct Assembly {
    at: Option<Timestamp>,
    pieces: Pieces,
}

impl Default for Assembly {
    fn default() -> Self {
        Self { at: None, pieces: Pieces::new(RAW_MAX) }
    }
}

impl Assembly {
    fn take(&mut self, frame: &[u8], whole: &mut Vec<LogEntry>) {
        let (at, text) = split(frame);
        // A line's time is that of its first frame.
        self.at = self.at.or(at);
        let begun = self.at;
        self.pieces.take(text, |text, left_out| {
            let what = LogWhat::Line(RawLine { text, left_out });
            whole.push(LogEntry { at: begun, what });
        });
        if text.ends_with(b"\n") {
            self.at = None;
        }
    }

    fn end(&mut self) -> Option<LogEntry> {
        let (text, left_out) = self.pieces.end()?;
        Some(LogEntry { at: self.at.take(), what: LogWhat::Line(RawLine { text, left_out }) })
    }
}

/// `2026-11-21T10:44:05.123456789Z text` → time and text; all of it is text without a time.
fn split(frame: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(end) = frame.iter().position(|byte| *byte == b' ') else { return (None, frame) };
    let at = std::str::from_utf8(&frame[..end]).ok().and_then(|text| text.parse().ok());
    match at {
        Some(at) => (Some(at), &frame[end + 1..]),
        None => (None, frame),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn lines(frames: &[&str]) -> Vec<(Option<String>, String)> {
        let (mut lines, mut whole) = (Assembly::default(), Vec::new());
        frames.iter().for_each(|frame| lines.take(frame.as_bytes(), &mut whole));
        whole.extend(lines.end());
        let shown = |entry: LogEntry| match entry.what {
            LogWhat::Line(line) => (entry.at.map(|at| at.to_string()), line.text),
            other => panic!("{other:?}"),
        };
        whole.into_iter().map(shown).collect()
    }

    #[test]
    fn a_line_in_several_frames_is_one_line_with_its_first_time() {
        let at = |second| Some(format!("2026-11-21T10:44:0{second}Z"));
        let told = lines(&[
            "2026-11-21T10:44:01Z one\r\n",
            "2026-11-21T10:44:02Z two and ",
            "2026-11-21T10:44:03Z its rest\n",
            "2026-11-21T10:44:04Z last",
        ]);
        let expected = [(at(1), "one"), (at(2), "two and its rest"), (at(4), "last")]
            .map(|(a, t)| (a, t.to_owned()));
        assert_eq!(told, expected);
        assert_eq!(lines(&["no time\n"]), [(None, "no time".to_owned())]);
    }

    #[test]
    fn the_engine_is_asked_for_the_second_of_the_newer_bound() {
        let at = |text: &str| Some(text.parse().unwrap());
        let query = LogQuery {
            since: at("1970-01-01T00:00:05Z"),
            after: at("1970-01-01T00:01:01.9Z"),
            tail: Some(7),
            follow: true,
        };
        let options = options(&query);
        assert_eq!((options.since, options.tail.as_str(), options.follow), (61, "7", true));
        assert_eq!(super::options(&LogQuery::default()).tail, "all");
    }
}
