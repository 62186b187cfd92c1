//! Removing without Azure's word: who ordered it, why, and for how long it stands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    At,
    numbers::{FORCED_LAPSE, REASON_MAX},
};

/// Why an operator does something out of the ordinary: not empty, one line, at most [`REASON_MAX`]
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

/// A text that gives no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReasonError {
    /// See the text.
    #[error("the reason is empty; say in a few words why, for whoever reads the history")]
    Empty,
    /// See the text.
    #[error("the reason has {0} characters; {REASON_MAX} are the most, the rest belongs elsewhere")]
    TooLong(usize),
    /// See the text.
    #[error("the reason has line breaks or control characters; write it in one line")]
    Control,
}

impl FromStr for Reason {
    type Err = ReasonError;
    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let text = text.trim();
        let length = text.chars().count();
        match () {
            () if text.is_empty() => Err(ReasonError::Empty),
            () if text.contains(char::is_control) => Err(ReasonError::Control),
            () if length > REASON_MAX => Err(ReasonError::TooLong(length)),
            () => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Reason {
    type Error = ReasonError;
    fn try_from(text: String) -> Result<Self, ReasonError> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An operator's leave to remove a pool's idle agents without Azure's word while Azure does not
/// answer. Never a leave to end a job that shows on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Who gave it.
    pub by: String,
    /// Why.
    pub reason: Reason,
    /// When, by the coordinator's clock.
    pub at: At,
}

impl Forced {
    /// It was given less than [`FORCED_LAPSE`] ago. Clocks may differ: one from a future further away
    /// than that is no leave either.
    pub fn stands(&self, now: At) -> bool {
        now.since(self.at) < FORCED_LAPSE && self.at.since(now) < FORCED_LAPSE
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forced by {}: {}", self.by, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reason_is_one_line_that_says_something() {
        let just = "x".repeat(REASON_MAX);
        assert_eq!(
            "  Azure is down, rack moves ".parse::<Reason>().map(String::from),
            Ok("Azure is down, rack moves".into())
        );
        assert!(just.parse::<Reason>().is_ok());
        for (bad, error) in [
            ("", ReasonError::Empty),
            (" \t ", ReasonError::Empty),
            ("a\nb", ReasonError::Control),
            ("a\u{1b}[2Jb", ReasonError::Control),
            (&format!("{just}ä"), ReasonError::TooLong(REASON_MAX + 1)),
        ] {
            assert_eq!(bad.parse::<Reason>(), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn it_lapses_and_does_not_begin_in_a_far_future() {
        let hour = 3_600_000;
        let at = At(100 * hour);
        let forced = Forced { by: "ann".into(), reason: "move".parse().expect("a reason"), at };
        for (now, stands) in [
            (at, true),
            (at + FORCED_LAPSE.saturating_sub(Duration::from_millis(1)), true),
            (at + FORCED_LAPSE, false),
            (At(at.0 - 60_000), true),
            (At(at.0 - hour), false),
            (At(0), false),
        ] {
            assert_eq!(forced.stands(now), stands, "{now}");
        }
        assert_eq!(forced.to_string(), "forced by ann: move");
    }
}
