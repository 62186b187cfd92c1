//! Moments and lengths of time: from the wire, for tables, from the command line.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A moment from the wire; none when it is absent or out of the calendar.
pub(crate) fn at(wire: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let wire = wire?;
    Timestamp::new(wire.seconds, wire.nanos).ok()
}

/// A moment for the wire.
pub(crate) fn wire(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// How long after `from` it is at `now`, for a table: `12s`, `3m`, `5h`, `9d`. A moment in the
/// future (two clocks never agree) is `0s`; an unknown one is `-`.
pub(crate) fn age(from: Option<Timestamp>, now: Timestamp) -> String {
    from.map_or_else(|| "-".to_owned(), |from| short(now.duration_since(from)))
}

/// One number and one unit.
pub(crate) fn short(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Whole days in words: `6 days`, `1 day`, `less than a day`. Half an hour does not count, so that
/// what was given seven days a moment ago still has seven.
pub(crate) fn days(length: SignedDuration) -> String {
    match (length.as_secs().max(0) + 1_800) / 86_400 {
        0 => "less than a day".to_owned(),
        days => crate::words::count(days.unsigned_abs(), "day"),
    }
}

/// Reads a length of time with units: `90s`, `5m`, `1h 30m`, `7d`, `2w`. A day has 24 hours.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a length of time; write it like 90s, 5m, 2h or 7d");
    let span: Span = text.parse().map_err(|_| error())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| error())?;
    Duration::try_from(length).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short() {
        for (seconds, text) in [
            (-5, "0s"),
            (12, "12s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
        assert_eq!(days(SignedDuration::from_hours(6 * 24 + 12)), "6 days");
        assert_eq!(days(SignedDuration::from_secs(7 * 86_400 - 5)), "7 days");
        assert_eq!(days(SignedDuration::from_hours(30)), "1 day");
        assert_eq!(days(SignedDuration::from_hours(3)), "less than a day");
    }

    #[test]
    fn lengths_are_read_with_units_only() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h 30m", 5_400), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "-5m", "soon", "1 month", "5m5"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_moment_survives_the_wire() {
        let moment: Timestamp = "2026-11-21T10:00:00.123Z".parse().expect("a moment");
        assert_eq!(at(Some(&wire(moment))), Some(moment));
        let absurd = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(at(Some(&absurd)), None);
        assert_eq!(at(None), None);
    }
}
