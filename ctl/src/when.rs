//! Moments and lengths of time: from the wire, for tables, from the command line.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil::DateTime, tz::TimeZone};

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

/// Where a look into the past begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Age(Duration),
    /// At this moment.
    At(Timestamp),
}

impl Since {
    /// The moment, as seen from `now`. None: before 1970, which is no bound.
    pub(crate) fn moment(self, now: Timestamp) -> Option<Timestamp> {
        let at = match self {
            Self::Age(age) => now.checked_sub(age).ok()?,
            Self::At(at) => at,
        };
        (at >= Timestamp::UNIX_EPOCH).then_some(at)
    }
}

/// Reads a length of time, or a moment: `2026-11-21T10:00:00Z`, or this machine's time of day
/// without a zone, `2026-11-21 10:00`.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn since(text: &str) -> Result<Since, String> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok();
    let moment = || text.parse::<Timestamp>().ok().or_else(|| Some(civil()?.timestamp()));
    let error = || {
        format!(
            "{text:?} is neither a length of time like 10m or 2h nor a moment like \
             2026-11-21T10:00:00Z"
        )
    };
    match parse(text) {
        Ok(age) => Ok(Since::Age(age)),
        Err(_) => moment().map(Since::At).ok_or_else(error),
    }
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
    fn a_look_into_the_past_begins_some_time_ago_or_at_a_moment() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a moment");
        let begins = |text| since(text).expect(text).moment(now).map(|at| at.to_string());
        assert_eq!(begins("10m"), Some("2026-11-21T09:50:00Z".to_owned()));
        assert_eq!(begins("2026-11-20T10:00:00+02:00"), Some("2026-11-20T08:00:00Z".to_owned()));
        assert!(begins("2026-11-20 10:00").is_some_and(|at| at.starts_with("2026-11-")));
        assert_eq!(begins("9999w"), None);
        for text in ["", "yesterday", "10", "2026-11-41"] {
            assert!(since(text).expect_err("no time").contains("neither"), "{text}");
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
