//! Moments and spans.

use std::time::Duration;

use fleet_model::At;
use prost_types::Timestamp;

use super::WireError;

const NANOS_PER_MILLI: i32 = 1_000_000;

/// The wire's form of a moment. Exact: [`At`] counts milliseconds.
pub fn timestamp(at: At) -> Timestamp {
    let millis = i32::try_from(at.0 % 1000).unwrap_or_default();
    // u64 milliseconds divided by 1000 always fit into i64 seconds.
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: millis * NANOS_PER_MILLI }
}

/// A moment that must be there. What is finer than a millisecond is cut off.
///
/// # Errors
/// When it is absent, before 1970, or malformed.
pub fn at(field: &str, wire: Option<Timestamp>) -> Result<At, WireError> {
    let wire = wire.ok_or_else(|| WireError::new(field, "is missing"))?;
    if !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(WireError::new(field, "nanoseconds must lie between 0 and 999999999"));
    }
    let millis = u64::try_from(wire.nanos / NANOS_PER_MILLI).unwrap_or_default();
    u64::try_from(wire.seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000)?.checked_add(millis))
        .map(At)
        .ok_or_else(|| WireError::new(field, "is not a moment between 1970 and the far future"))
}

/// The wire's form of a span. A span above 292 thousand million years is cut to that.
pub fn wire_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
    }
}

/// A span that must be there.
///
/// # Errors
/// When it is absent, negative or malformed.
pub fn duration(field: &str, wire: Option<prost_types::Duration>) -> Result<Duration, WireError> {
    let wire = wire.ok_or_else(|| WireError::new(field, "is missing"))?;
    match (u64::try_from(wire.seconds), u32::try_from(wire.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(WireError::new(field, "is not a span of time, or a negative one")),
    }
}
