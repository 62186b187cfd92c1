//! One line of an agent's log.

use fleet_proto::v1::{self, log_line::What};
use jiff::Timestamp;
use serde::Serialize;

use crate::when;

/// One line as `logs -o json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) at: Option<Timestamp>,
    pub(crate) kind: LineKind,
    /// Of a note: who said it.
    pub(crate) source: Option<String>,
    /// Empty where there are no words.
    pub(crate) text: String,
    /// Bytes at its end that are not in `text`.
    pub(crate) left_out: u64,
    /// The run that begins.
    pub(crate) run: Option<u32>,
    /// Lines that were here and cannot be had any more.
    pub(crate) skipped: Option<u64>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LineKind {
    /// The agent wrote it.
    Line,
    /// Somebody else said it about the agent.
    Note,
    /// A run begins.
    Run,
    /// Some are missing.
    Skipped,
}

impl Line {
    /// None: it says nothing that is known here.
    pub(crate) fn read(wire: v1::LogLine) -> Option<Self> {
        let mut line = Self {
            at: when::at(wire.at.as_ref()),
            kind: LineKind::Line,
            source: None,
            text: String::new(),
            left_out: wire.left_out,
            run: None,
            skipped: None,
        };
        match wire.what? {
            What::Text(text) => line.text = text,
            What::Note(v1::LogNote { source, text }) => {
                line.kind = LineKind::Note;
                (line.source, line.text) = (Some(source), text);
            }
            What::Run(run) => (line.kind, line.run) = (LineKind::Run, Some(run)),
            What::Skipped(count) => (line.kind, line.skipped) = (LineKind::Skipped, Some(count)),
        }
        Some(line)
    }
}
