//! Where in a text something stands that must not be shown. Every span begins and ends between two
//! characters.

use std::ops::Range;

type Spans = Vec<Range<usize>>;

/// Every place where `secret` stands, overlapping ones too.
pub(super) fn all(text: &str, secret: &str, spans: &mut Spans) {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(secret)) {
        let start = from + at;
        spans.push(start..start + secret.len());
        from = start + step;
    }
}

/// As [`all`], with everything around it that is the same base64 text: its edges hold bits of the
/// secret as well.
pub(super) fn all_within_base64(text: &str, core: &str, spans: &mut Spans) {
    let mut found = Vec::new();
    all(text, core, &mut found);
    for span in found {
        let other = |c: char| !(c.is_ascii_alphanumeric() || "+/=-_".contains(c));
        let start = text[..span.start]
            .rfind(other)
            .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let end = text[span.end..].find(other).map_or(text.len(), |length| span.end + length);
        spans.push(start..end);
    }
}

/// All that follows `Authorization:` (also `Proxy-Authorization`, `"authorization": `, `…=`), to the
/// end of the line: how a scheme writes its parts is the scheme's own.
pub(super) fn authorization(text: &str, spans: &mut Spans) {
    const WORD: &str = "authorization";
    let found = text.as_bytes().windows(WORD.len()).enumerate();
    for (at, _) in found.filter(|(_, word)| word.eq_ignore_ascii_case(WORD.as_bytes())) {
        // The word is ASCII, so its end is between two characters.
        let rest = &text[at + WORD.len()..];
        let value = rest.trim_start_matches(['"', '\'', '\\', ' ', '\t']);
        let Some(value) = value.strip_prefix([':', '=']) else { continue };
        let value = value.trim_start_matches([' ', '\t']);
        if !value.is_empty() {
            spans.push(text.len() - value.len()..text.len());
            return;
        }
    }
}

/// The password in `scheme://user:password@`. When the text ends before it is clear whether there is
/// one and was cut there (not `whole`), what may be one counts as one.
pub(super) fn passwords(text: &str, whole: bool, spans: &mut Spans) {
    for (at, mark) in text.match_indices("://") {
        let start = at + mark.len();
        let rest = &text[start..];
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>\\`".contains(c);
        let end = rest.find(ends);
        let authority = &rest[..end.unwrap_or(rest.len())];
        let Some(colon) = authority.find(':') else { continue };
        // A password may hold an @ itself, so the last one counts.
        let password_end = match authority.rfind('@') {
            Some(at) => at,
            None if end.is_none() && !whole => authority.len(),
            None => continue,
        };
        if password_end > colon + 1 {
            spans.push(start + colon + 1..start + password_end);
        }
    }
}

/// Runs of at least `min` letters and digits.
pub(super) fn long_runs(text: &str, min: usize, spans: &mut Spans) {
    let mut start = 0;
    // The text's end closes a run like any other byte.
    for at in 0..=text.len() {
        if text.as_bytes().get(at).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        if at - start >= min {
            spans.push(start..at);
        }
        start = at + 1;
    }
}

/// Sorted, and apart from each other.
pub(super) fn merged(mut spans: Spans) -> Spans {
    spans.sort_by_key(|span| (span.start, span.end));
    let mut out: Spans = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => out.push(span),
        }
    }
    out
}
