//! An agent's log as a runtime gives it: raw, with everything that a job may have written into it.
//! Nobody but [`crate::logs`] and [`crate::evidence`] reads it; both take the secrets out first.

use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::RuntimeError;
use crate::scrub::LINE_MAX;

/// Most bytes kept of a raw line. Far beyond what is shown of one, so that a secret that begins where
/// it will be cut is there whole and is found.
pub const RAW_MAX: usize = 4 * LINE_MAX;

/// What is asked of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The newest so many lines; none: all.
    pub tail: Option<u32>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Only what is newer: where reading goes on.
    pub after: Option<Timestamp>,
    /// Go on with what is written.
    pub follow: bool,
}

impl LogQuery {
    /// Is a line of this time asked for? One without a time always is.
    pub fn takes(&self, at: Option<Timestamp>) -> bool {
        at.is_none_or(|at| {
            self.since.is_none_or(|since| at >= since) && self.after.is_none_or(|after| at > after)
        })
    }
}

/// One thing in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When, where that is known.
    pub at: Option<Timestamp>,
    /// What.
    pub what: LogWhat,
}

/// See [`LogEntry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogWhat {
    /// The listener wrote a line.
    Line(RawLine),
    /// Somebody else wrote one about it: `systemd`, `hostd`.
    Note(&'static str, RawLine),
    /// A run begins.
    Run(u32),
    /// So many lines were here and cannot be had any more.
    Skipped(u64),
}

/// A line, at most [`RAW_MAX`] bytes of it, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLine {
    /// With secrets.
    pub text: String,
    /// Bytes of it that are not in `text`.
    pub left_out: u64,
}

impl RawLine {
    /// Of a whole line.
    pub fn new(mut text: String) -> Self {
        let kept = text.floor_char_boundary(RAW_MAX);
        let left_out = u64::try_from(text.len() - kept).unwrap_or(u64::MAX);
        text.truncate(kept);
        Self { text, left_out }
    }
}

/// Entries, oldest first. With `follow` it ends when the run has, or goes on with the agent's next
/// runs where the runtime keeps one log of them all. Dropped, it leaves nothing behind.
pub type LogStream = BoxStream<'static, Result<LogEntry, RuntimeError>>;
