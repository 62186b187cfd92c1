//! Bytes as they come → lines as they may be shown.

use std::sync::Arc;

use super::Scrubber;

/// Longest line that is shown, in bytes; the rest of a longer one is left out and said to be.
pub const LINE_MAX: usize = 16 * 1024;

/// One line without secrets and without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is shown, at most [`LINE_MAX`] bytes of the line.
    pub text: String,
    /// Bytes of the line that are not shown.
    pub left_out: u64,
}

/// Puts lines together from pieces, however they were cut, and scrubs them whole. Holds at most one
/// line's beginning, so text without line ends takes no more memory than other text.
#[derive(Debug)]
pub struct Lines {
    scrubber: Arc<Scrubber>,
    begun: Vec<u8>,
    /// Bytes of the line that were not kept.
    dropped: u64,
}

impl Lines {
    /// Lines of one text.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self { scrubber, begun: Vec::new(), dropped: 0 }
    }

    /// Takes the next piece; calls `each` for every line that ends in it, in order.
    pub fn take(&mut self, piece: &[u8], mut each: impl FnMut(Line)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            if let Some(line) = self.end() {
                each(line);
            }
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The line that is begun ends here, at a line end or with the text. None: it is empty (an empty
    /// line says nothing, and the text's end is none).
    pub fn end(&mut self) -> Option<Line> {
        let dropped = std::mem::take(&mut self.dropped);
        let begun = std::mem::take(&mut self.begun);
        // One replacement for each bad byte: no secret is brought together by leaving some out.
        let text = String::from_utf8_lossy(&begun);
        let text = if dropped == 0 { text.trim_end_matches('\r') } else { &text };
        if text.is_empty() {
            return None;
        }
        let max = text.floor_char_boundary(LINE_MAX);
        let shown = self.scrubber.cut(text, max, dropped == 0).into_owned();
        let left_out = u64::try_from(text.len() - max).unwrap_or(u64::MAX);
        Some(Line { text: shown, left_out: left_out.saturating_add(dropped) })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = (LINE_MAX + self.scrubber.reach()).saturating_sub(self.begun.len());
        let kept = bytes.len().min(room);
        self.begun.extend_from_slice(&bytes[..kept]);
        self.dropped += u64::try_from(bytes.len() - kept).unwrap_or(u64::MAX);
    }
}
