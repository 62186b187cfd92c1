//! Bytes as they come → lines, and lines as they may be shown.

use std::sync::Arc;

use fleet_model::numbers::LOG_LINE_MAX;

use super::Scrubber;

/// Longest line that is shown, in bytes; the rest of a longer one is left out and said to be.
pub const LINE_MAX: usize = LOG_LINE_MAX as usize;

/// One line without secrets and without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is shown, at most [`LINE_MAX`] bytes of the line.
    pub text: String,
    /// Bytes of the line that are not shown.
    pub left_out: u64,
}

impl Line {
    /// What may be shown of a line, of which `left_out` bytes are missing at its end.
    pub fn of(scrubber: &Scrubber, text: &str, left_out: u64) -> Self {
        let max = text.floor_char_boundary(LINE_MAX);
        let shown = scrubber.cut(text, max, left_out == 0).into_owned();
        let cut = u64::try_from(text.len() - max).unwrap_or(u64::MAX);
        Self { text: shown, left_out: cut.saturating_add(left_out) }
    }
}

/// Puts lines together from pieces, however they were cut. Holds at most one line's beginning, so
/// text without line ends takes no more memory than other text.
pub(crate) struct Pieces {
    most: usize,
    begun: Vec<u8>,
    /// Bytes of the line that were not kept.
    dropped: u64,
}

impl Pieces {
    /// Keeps so many bytes of a line.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, begun: Vec::new(), dropped: 0 }
    }

    /// Takes the next piece; calls `each` for every line that ends in it, in order.
    pub(crate) fn take(&mut self, piece: &[u8], mut each: impl FnMut(String, u64)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            if let Some((line, left_out)) = self.end() {
                each(line, left_out);
            }
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The line that is begun ends here, with how many of its bytes are missing. None: it is empty (an
    /// empty line says nothing, and the text's end is none).
    pub(crate) fn end(&mut self) -> Option<(String, u64)> {
        let dropped = std::mem::take(&mut self.dropped);
        let begun = std::mem::take(&mut self.begun);
        // One replacement for each bad byte: no secret is brought together by leaving some out.
        let text = String::from_utf8_lossy(&begun);
        let text = if dropped == 0 { text.trim_end_matches('\r') } else { &text };
        (!text.is_empty()).then(|| (text.to_owned(), dropped))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.most.saturating_sub(self.begun.len()));
        self.begun.extend_from_slice(&bytes[..kept]);
        self.dropped += u64::try_from(bytes.len() - kept).unwrap_or(u64::MAX);
    }
}

/// [`Line`]s of bytes that come in pieces, each scrubbed whole.
pub struct Lines {
    scrubber: Arc<Scrubber>,
    pieces: Pieces,
}

impl Lines {
    /// Lines of one text.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        let pieces = Pieces::new(LINE_MAX + scrubber.reach());
        Self { scrubber, pieces }
    }

    /// Takes the next piece; calls `each` for every line that ends in it, in order.
    pub fn take(&mut self, piece: &[u8], mut each: impl FnMut(Line)) {
        let scrubber = &self.scrubber;
        self.pieces.take(piece, |text, left_out| each(Line::of(scrubber, &text, left_out)));
    }

    /// The line that is begun ends with the text. None: there is none.
    pub fn end(&mut self) -> Option<Line> {
        let (text, left_out) = self.pieces.end()?;
        Some(Line::of(&self.scrubber, &text, left_out))
    }
}
