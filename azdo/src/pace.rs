//! What the server says about how fast we may ask, on success as well as on refusal.
//!
//! The service slows an identity down before it blocks it: the first stage is a held answer
//! with status 200 **and** `Retry-After`. Whoever reads the header only on 429 finds out too late.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

/// A value together with the server's wish for the pace of the next call.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// What was asked for.
    pub value: T,
    /// How soon the server wants to hear from this identity again.
    pub pace: Pace,
    /// Where the next page starts, when the server holds one back.
    pub continuation: Option<String>,
}

impl<T> Reply<T> {
    /// Same pace, another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reply<U> {
        Reply { value: f(self.value), pace: self.pace, continuation: self.continuation }
    }
}

/// The rate-limit headers of one answer. All absent is the normal case.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// `Retry-After`: wait at least so long before the next call of this identity.
    pub retry_after: Option<Duration>,
    /// `X-RateLimit-Remaining`, in the service's load units; 0 while delayed or blocked.
    pub limit_remaining: Option<f64>,
    /// `X-RateLimit-Delay`: for how long this answer was held back.
    pub delay: Option<Duration>,
}

impl Pace {
    /// Reads the headers. `now` turns the date form of `Retry-After` into a length.
    pub fn read(headers: &HeaderMap, now: Timestamp) -> Self {
        Self {
            retry_after: text(headers, "retry-after").and_then(|v| retry_after(v, now)),
            limit_remaining: text(headers, "x-ratelimit-remaining").and_then(|v| v.parse().ok()),
            delay: text(headers, "x-ratelimit-delay").and_then(seconds),
        }
    }

    /// True when the server asks to be left alone for a while.
    pub fn is_slowed(&self) -> bool {
        self.retry_after.is_some() || self.delay.is_some_and(|d| !d.is_zero())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

/// Seconds with an optional fraction; a day at most, so that a nonsense header parks nobody for ever.
fn seconds(text: &str) -> Option<Duration> {
    const DAY: f64 = 86_400.0;
    let value: f64 = text.parse().ok()?;
    (value.is_finite() && value >= 0.0).then(|| Duration::from_secs_f64(value.min(DAY)))
}

fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    seconds(text).or_else(|| {
        let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(pairs: &[(&'static str, &'static str)]) -> Pace {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, http::HeaderValue::from_static(value));
        }
        Pace::read(&headers, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn no_headers_mean_no_wish() {
        assert_eq!(pace(&[]), Pace::default());
        assert!(!pace(&[]).is_slowed());
    }

    #[test]
    fn seconds_and_dates_are_both_understood() {
        assert_eq!(pace(&[("retry-after", "30")]).retry_after, Some(Duration::from_secs(30)));
        let date = pace(&[("retry-after", "Thu, 01 Jan 1970 00:02:00 GMT")]);
        assert_eq!(date.retry_after, Some(Duration::from_secs(120)));
    }

    #[test]
    fn nonsense_is_ignored_and_a_huge_wait_is_cut() {
        assert_eq!(pace(&[("retry-after", "soon")]).retry_after, None);
        assert_eq!(pace(&[("retry-after", "-3")]).retry_after, None);
        assert_eq!(
            pace(&[("retry-after", "1e300")]).retry_after,
            Some(Duration::from_secs(86_400))
        );
    }

    #[test]
    fn a_held_answer_counts_as_slowed() {
        assert!(pace(&[("x-ratelimit-delay", "1.250")]).is_slowed());
        assert!(!pace(&[("x-ratelimit-remaining", "120")]).is_slowed());
    }
}
