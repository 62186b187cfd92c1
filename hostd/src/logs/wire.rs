//! Entries as the contract has them.

use fleet_model::numbers::LOG_CHUNK_MAX;
use fleet_proto::v1::{self, log_line::What};
use jiff::Timestamp;
use prost::Message;

use crate::{
    runtime::log::{LogEntry, LogWhat, RawLine},
    scrub::{Line, Scrubber},
};

/// Bytes that a line costs in a message besides its own.
const FRAME: usize = 8;

pub(super) fn line(entry: LogEntry, scrubber: &Scrubber) -> v1::LogLine {
    let mut left = 0;
    let mut shown = |line: RawLine| {
        let line = Line::of(scrubber, &line.text, line.left_out);
        left = line.left_out;
        line.text
    };
    let what = match entry.what {
        LogWhat::Line(line) => What::Text(shown(line)),
        LogWhat::Note(source, line) => {
            What::Note(v1::LogNote { source: source.to_owned(), text: shown(line) })
        }
        LogWhat::Run(run) => What::Run(run),
        LogWhat::Skipped(count) => What::Skipped(count),
    };
    v1::LogLine { at: entry.at.map(timestamp), what: Some(what), left_out: left }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Lines in messages of at most [`LOG_CHUNK_MAX`] bytes, in order.
pub fn chunks(lines: Vec<v1::LogLine>) -> Vec<v1::LogLines> {
    let mut chunks: Vec<v1::LogLines> = Vec::new();
    let (mut size, max) = (0, LOG_CHUNK_MAX as usize);
    for line in lines {
        let cost = line.encoded_len() + FRAME;
        match chunks.last_mut() {
            Some(chunk) if size + cost <= max => {
                size += cost;
                chunk.lines.push(line);
            }
            _ => {
                size = cost;
                chunks.push(v1::LogLines { lines: vec![line] });
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrub::LINE_MAX;

    #[test]
    fn no_message_is_too_large_and_no_line_is_lost() {
        let text = |length: usize| LogEntry {
            at: Some(Timestamp::MAX),
            what: LogWhat::Line(RawLine::new("x ".repeat(length / 2))),
        };
        let scrubber = Scrubber::default();
        let lengths = [0, 10, 2 * LINE_MAX, LINE_MAX, LINE_MAX, LINE_MAX, 7, LINE_MAX, 3];
        let lines: Vec<v1::LogLine> = lengths.map(|length| line(text(length), &scrubber)).into();
        let chunks = chunks(lines.clone());
        assert!(chunks.iter().all(|chunk| chunk.encoded_len() <= LOG_CHUNK_MAX as usize));
        assert_eq!(chunks.len(), 2);
        let again: Vec<v1::LogLine> = chunks.into_iter().flat_map(|chunk| chunk.lines).collect();
        assert_eq!(again, lines);
        assert_eq!(lines[2].left_out, LINE_MAX as u64);
    }
}
