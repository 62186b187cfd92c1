//! The newest lines of a run whose runtime has no engine to keep them: in memory, bounded, read by as
//! many as like to, each at their own pace.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::sync::watch;

use super::log::{LogEntry, LogQuery, LogStream, LogWhat, RawLine};

/// Lines that are kept of a run.
const LINES_MAX: usize = 2_000;
/// And their bytes.
const BYTES_MAX: usize = 512 * 1024;
/// Entries that are handed to a reader at a time.
const BATCH: usize = 64;

/// See the module. Clones are the same tape.
#[derive(Clone)]
pub(super) struct Tape(Arc<Inner>);

struct Inner {
    held: Mutex<Held>,
    /// Changes with every line and every end.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Held {
    lines: VecDeque<(Timestamp, RawLine)>,
    bytes: usize,
    /// Lines that were dropped: the number of the first one that is held.
    first: u64,
    last: Timestamp,
    over: bool,
}

impl Default for Tape {
    fn default() -> Self {
        Self(Arc::new(Inner { held: Mutex::default(), changed: watch::Sender::new(()) }))
    }
}

impl Tape {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change is whole before the next one.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line was written, at this moment.
    pub(super) fn write(&self, text: &str) {
        self.held().write(Timestamp::now(), RawLine::new(text.to_owned()));
        self.0.changed.send_replace(());
    }

    /// The run ended (`over`), or goes on in the same place.
    pub(super) fn set_over(&self, over: bool) {
        self.held().over = over;
        self.0.changed.send_replace(());
    }

    /// How many follow it at this moment.
    pub(super) fn readers(&self) -> usize {
        self.0.changed.receiver_count()
    }

    /// What the query asks for.
    pub(super) fn read(&self, query: &LogQuery) -> LogStream {
        let position = self.held().begin(query);
        let reader = Reader { tape: self.clone(), position, changed: self.0.changed.subscribe() };
        let follow = query.follow;
        let batches = stream::unfold(Some(reader), move |reader| async move {
            let mut reader = reader?;
            let batch = reader.next(follow).await?;
            Some((batch, follow.then_some(reader)))
        });
        batches.flat_map(stream::iter).map(Ok).boxed()
    }
}

struct Reader {
    tape: Tape,
    position: u64,
    changed: watch::Receiver<()>,
}

impl Reader {
    /// What is there from its place on; none: the end.
    async fn next(&mut self, follow: bool) -> Option<Vec<LogEntry>> {
        loop {
            self.changed.borrow_and_update();
            let (batch, over) = {
                let held = self.tape.held();
                let max = if follow { BATCH } else { usize::MAX };
                (held.take(&mut self.position, max), held.over)
            };
            if !batch.is_empty() || !follow {
                return Some(batch);
            }
            if over || self.changed.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Held {
    fn write(&mut self, now: Timestamp, line: RawLine) {
        // No two at the same moment: whoever goes on after one must not miss the other.
        let next = self.last.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(now);
        self.last = now.max(next);
        self.bytes += line.text.len();
        self.lines.push_back((self.last, line));
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some((_, gone)) = self.lines.pop_front() else { return };
            self.bytes -= gone.text.len();
            self.first += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + u64::try_from(self.lines.len()).unwrap_or(u64::MAX)
    }

    /// The number of the first line that the query asks for. Lines that were dropped count when they
    /// would have been among them.
    fn begin(&self, query: &LogQuery) -> u64 {
        let asked = self.lines.iter().position(|(at, _)| query.takes(Some(*at)));
        let asked = asked.map_or(self.end(), |at| self.first + u64::try_from(at).unwrap_or(0));
        let all = query.since.is_none() && query.after.is_none();
        let from = if all { 0 } else { asked };
        let tail = query.tail.map_or(0, |tail| self.end().saturating_sub(u64::from(tail)));
        from.max(tail)
    }

    fn take(&self, position: &mut u64, max: usize) -> Vec<LogEntry> {
        let mut batch = Vec::new();
        if *position < self.first {
            let what = LogWhat::Skipped(self.first - *position);
            batch.push(LogEntry { at: None, what });
            *position = self.first;
        }
        let from = usize::try_from(*position - self.first).unwrap_or(usize::MAX);
        let lines = self.lines.iter().skip(from).take(max);
        batch.extend(lines.map(|(at, line)| {
            *position += 1;
            LogEntry { at: Some(*at), what: LogWhat::Line(line.clone()) }
        }));
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entry: LogEntry) -> String {
        match entry.what {
            LogWhat::Line(line) => line.text,
            other => format!("{other:?}"),
        }
    }

    async fn all(tape: &Tape, query: &LogQuery) -> Vec<String> {
        tape.read(query).map(|entry| shown(entry.expect("no engine"))).collect().await
    }

    #[tokio::test]
    async fn the_newest_are_read_and_what_was_dropped_is_counted() {
        let tape = Tape::default();
        (0..LINES_MAX + 3).for_each(|number| tape.write(&number.to_string()));
        let tail = |tail| LogQuery { tail, ..LogQuery::default() };
        assert_eq!(all(&tape, &tail(Some(2))).await, ["2001", "2002"]);
        let lines = all(&tape, &tail(None)).await;
        assert_eq!((lines.len(), lines[0].as_str()), (LINES_MAX + 1, "Skipped(3)"));
        let newest = tape.held().lines[LINES_MAX - 2].0;
        let query = |since, after| LogQuery { since, after, ..LogQuery::default() };
        assert_eq!(all(&tape, &query(Some(newest), None)).await, ["2001", "2002"]);
        assert_eq!(all(&tape, &query(None, Some(newest))).await, ["2002"]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed_and_the_end_ends_it() {
        let tape = Tape::default();
        let mut reading = tape.read(&LogQuery { follow: true, ..LogQuery::default() });
        tape.write("first");
        assert_eq!(shown(reading.next().await.expect("one").expect("no engine")), "first");
        (0..LINES_MAX + 5).for_each(|number| tape.write(&number.to_string()));
        assert_eq!(tape.readers(), 1);
        tape.set_over(true);
        let rest: Vec<String> =
            reading.map(|entry| shown(entry.expect("no engine"))).collect().await;
        assert_eq!((rest.len(), rest[0].as_str()), (LINES_MAX + 1, "Skipped(5)"));
        assert_eq!(tape.readers(), 0);
    }

    #[test]
    fn it_holds_so_many_bytes() {
        let mut held = Held::default();
        let line = || RawLine::new("x".repeat(BYTES_MAX / 4));
        (0..9).for_each(|_| held.write(Timestamp::UNIX_EPOCH, line()));
        assert!(held.bytes <= BYTES_MAX && held.end() == 9);
    }
}
