//! Spans of time with their unit: `"90s"`, `"5m"`, `"1h 30m"`.
//!
//! For `#[serde(with = "fleet_proto::settings::duration")]`.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserializer, Serializer, de};

const EXPECTED: &str = "a span of time with its unit, such as \"90s\", \"5m\" or \"1h 30m\"";

/// Reads a span of time.
///
/// # Errors
/// When it is not a text, has no unit, or is negative.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Span)
}

/// Writes a span of time so that it reads back.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    // Longer than 292 thousand million years is as good as that.
    let signed = SignedDuration::try_from(*span).unwrap_or(SignedDuration::MAX);
    to.collect_str(&format_args!("{signed:#}"))
}

/// Reads a span of time from a text, as on a command line.
///
/// # Errors
/// In words, when it is none.
pub fn parse(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|signed| Duration::try_from(signed).ok())
        .ok_or_else(|| format!("{text:?} is not {EXPECTED}"))
}

struct Span;

impl de::Visitor<'_> for Span {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}
