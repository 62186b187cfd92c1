//! What leaves this host as text leaves it without secrets. Pure: no clock, no files.
//!
//! A line is looked through for
//! * the secrets that were handed in, as they are and as base64 carries them at any place of a longer
//!   text (`Basic` authentication is the base64 of `user:token`, `:token` too);
//! * what follows `Authorization:` in it, all of it;
//! * the password of `scheme://user:password@host`;
//! * runs of 40 or more letters and digits, which the shortest kind of token is.
//!
//! Each is replaced by `***`. A text is only safe to be cut afterwards: half a secret is not found.
//! [`Lines`] does both in the right order for bytes that come in pieces.

mod find;
mod lines;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::lines::Pieces;
pub use self::lines::{LINE_MAX, Line, Lines};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";
/// A run of letters and digits this long may be a credential (the shortest kind has 52).
const RUN_MIN: usize = 40;
/// Shorter ones are words of a language: hiding them would hide the text and tell the secret.
const SECRET_MIN: usize = 4;
/// Less of a secret's base64 would be found where there is none.
const ENCODED_MIN: usize = 8;

/// Takes secrets out of text. Wiped when dropped; its `Debug` shows nothing.
#[derive(Debug, Default)]
pub struct Scrubber {
    plain: Vec<SecretString>,
    /// What of a secret's base64 does not depend on its neighbours, for each of the three places that
    /// it can begin at.
    encoded: Vec<SecretString>,
}

impl Scrubber {
    /// Knows these secrets, each line of them by itself. One of less than four bytes is none.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut scrubber = Self::default();
        for secret in secrets {
            for line in secret.expose_secret().lines().map(str::trim) {
                if line.len() >= SECRET_MIN {
                    scrubber.encoded.extend((0..3).filter_map(|place| encoded(line, place)));
                    scrubber.plain.push(line.to_owned().into());
                }
            }
        }
        scrubber
    }

    /// The line as it may be shown; borrowed when there is nothing to hide.
    pub fn line<'a>(&self, text: &'a str) -> Cow<'a, str> {
        replaced(text, &self.spans(text, true), text.len())
    }

    /// The first `max` bytes of a line (fewer where a character would be cut) as they may be shown.
    /// `text` has to go on for [`Scrubber::reach`] bytes beyond them, where the line does: a secret
    /// that begins before the cut is only known by what comes after it. `whole`: nothing comes after
    /// `text`.
    pub fn cut<'a>(&self, text: &'a str, max: usize, whole: bool) -> Cow<'a, str> {
        replaced(text, &self.spans(text, whole), text.floor_char_boundary(max))
    }

    /// The length of the longest thing that is only known by its end, in bytes.
    pub fn reach(&self) -> usize {
        let known = self.plain.iter().chain(&self.encoded);
        known.map(|secret| secret.expose_secret().len()).max().unwrap_or(0).max(RUN_MIN)
    }

    /// What has to be hidden, sorted, apart from each other.
    fn spans(&self, text: &str, whole: bool) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        for secret in &self.plain {
            find::all(text, secret.expose_secret(), &mut spans);
        }
        for secret in &self.encoded {
            find::all_within_base64(text, secret.expose_secret(), &mut spans);
        }
        find::authorization(text, &mut spans);
        find::passwords(text, whole, &mut spans);
        find::long_runs(text, RUN_MIN, &mut spans);
        find::merged(spans)
    }
}

/// A text without what looks like a credential, whoever's it is.
pub fn without_long_runs(text: &str) -> Cow<'_, str> {
    let mut spans = Vec::new();
    find::long_runs(text, RUN_MIN, &mut spans);
    replaced(text, &spans, text.len())
}

/// The text up to `end` with something else in the place of each span that begins before it.
fn replaced<'a>(text: &'a str, spans: &[Range<usize>], end: usize) -> Cow<'a, str> {
    if spans.first().is_none_or(|span| span.start >= end) {
        return Cow::Borrowed(&text[..end]);
    }
    let mut out = String::with_capacity(end);
    let mut from = 0;
    for span in spans.iter().take_while(|span| span.start < end) {
        out.push_str(&text[from..span.start]);
        out.push_str(HIDDEN);
        from = span.end;
    }
    out.push_str(text.get(from..end).unwrap_or_default());
    Cow::Owned(out)
}

/// The part of `secret`'s base64 that is the same whatever stands before and after it, when `place`
/// bytes stand before it in its group of three. None: too little to go by.
fn encoded(secret: &str, place: usize) -> Option<SecretString> {
    let mut bytes = zeroize::Zeroizing::new(vec![0; place]);
    bytes.extend_from_slice(secret.as_bytes());
    let text = zeroize::Zeroizing::new(BASE64_STANDARD.encode(&*bytes));
    // Six bits a character: whole ones that hold nothing but bits of the secret.
    let (first, last) = ((place * 8).div_ceil(6), bytes.len() * 8 / 6);
    let core = text.get(first..last).filter(|core| core.len() >= ENCODED_MIN)?;
    Some(core.to_owned().into())
}
