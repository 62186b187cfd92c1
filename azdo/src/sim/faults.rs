//! Bad days: which requests are hit, by what, how often. Choosing is pure but for the dice it is given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::World;

/// One kind of trouble. Several effects may be in one fault; several faults may meet in one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fault {
    /// Path after the organisation that a request's path must begin with, e.g.
    /// `/_apis/distributedtask/pools/1/agents`; case does not count. Empty: everything.
    pub path: String,
    /// Verb; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// 0 to 1.
    pub probability: f64,
    /// Requests still to be hit; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Waits before the request is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Waits after it had its effect, before the answer goes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<u64>,
    /// Answers with this status (401, 403, 429, 500, 503 ...) and without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Answers with the sign-in page as 203.
    pub html203: bool,
    /// `Retry-After`, also on an answer that is otherwise good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Breaks the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Drop>,
    /// Stretches the body over this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_body_ms: Option<u64>,
    /// Reads see the world as it was up to so many seconds ago (30 at most).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_s: Option<u64>,
    /// The request takes effect twice; the second answer is given.
    pub double: bool,
}

/// When a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drop {
    /// The request is lost.
    Before,
    /// The answer is lost, the effect stays.
    After,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            path: String::new(),
            method: None,
            probability: 1.0,
            count: None,
            latency_ms: None,
            late_ms: None,
            status: None,
            html203: false,
            retry_after_s: None,
            drop: None,
            slow_body_ms: None,
            stale_s: None,
            double: false,
        }
    }
}

impl Fault {
    fn fits(&self, method: &str, path: &str) -> bool {
        let prefix = self.path.trim_end_matches('/');
        let begins = path.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
        // "/pools/1" must not hit "/pools/10".
        let whole = path.as_bytes().get(prefix.len()).is_none_or(|b| *b == b'/' || *b == b'?');
        begins
            && (whole || prefix.is_empty())
            && self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method))
    }

    /// What one fault leaves open, the next may fill.
    fn and(mut self, other: Self) -> Self {
        self.latency_ms = self.latency_ms.or(other.latency_ms);
        self.late_ms = self.late_ms.or(other.late_ms);
        self.status = self.status.or(other.status);
        self.html203 |= other.html203;
        self.retry_after_s = self.retry_after_s.or(other.retry_after_s);
        self.drop = self.drop.or(other.drop);
        self.slow_body_ms = self.slow_body_ms.or(other.slow_body_ms);
        self.stale_s = self.stale_s.or(other.stale_s);
        self.double |= other.double;
        self
    }
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Vec<Fault>,
    past: VecDeque<Picture>,
}

#[derive(Debug)]
struct Picture {
    at: Timestamp,
    revision: u64,
    world: Arc<World>,
}

/// Longest staleness, and the spacing of the pictures kept for it.
const STALE_MAX: Duration = Duration::from_secs(30);
const PICTURE_EVERY: Duration = Duration::from_millis(250);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.set.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
        self.past.clear();
    }

    pub(super) fn list(&self) -> &[Fault] {
        &self.set
    }

    /// What hits this request; counts down and forgets what is used up.
    pub(super) fn pick(&mut self, method: &str, path: &str, rng: &mut impl Rng) -> Option<Fault> {
        let mut hit: Option<Fault> = None;
        for fault in &mut self.set {
            let strikes =
                fault.fits(method, path) && rng.random_bool(fault.probability.clamp(0.0, 1.0));
            if strikes {
                fault.count = fault.count.map(|n| n.saturating_sub(1));
                hit = Some(match hit {
                    Some(earlier) => earlier.and(fault.clone()),
                    None => fault.clone(),
                });
            }
        }
        self.set.retain(|f| f.count != Some(0));
        hit
    }

    /// Keeps a picture of the world while stale reads are asked for. Changes close together share
    /// one picture, the newest: a read may so be a little fresher than asked, never older.
    pub(super) fn remember(&mut self, now: Timestamp, revision: u64, world: &World) {
        if !self.set.iter().any(|f| f.stale_s.is_some()) {
            return;
        }
        let fresh = || Arc::new(world.clone());
        match self.past.back_mut() {
            Some(last) if last.revision == revision => {}
            Some(last) if last.at + PICTURE_EVERY > now => {
                (last.revision, last.world) = (revision, fresh())
            }
            _ => self.past.push_back(Picture { at: now, revision, world: fresh() }),
        }
        while self.past.get(1).is_some_and(|second| second.at + STALE_MAX < now) {
            self.past.pop_front();
        }
    }

    /// The world at a random moment of the last `secs` seconds: reads may even go back and forth.
    pub(super) fn stale(
        &self,
        secs: u64,
        now: Timestamp,
        rng: &mut impl Rng,
    ) -> Option<Arc<World>> {
        let most = Duration::from_secs(secs).min(STALE_MAX);
        let at = now - rng.random_range(Duration::ZERO..=most);
        let older = self.past.iter().rev().find(|picture| picture.at <= at);
        older.or(self.past.front()).map(|picture| Arc::clone(&picture.world))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn faults(set: Vec<Fault>) -> Faults {
        Faults { set, ..Faults::default() }
    }

    fn dice() -> rand::rngs::StdRng {
        rand::rngs::StdRng::seed_from_u64(7)
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let fault = Fault { path: "/_apis/distributedtask/pools/1".into(), ..Fault::default() };
        assert!(fault.fits("GET", "/_apis/DistributedTask/pools/1/agents"));
        assert!(!fault.fits("GET", "/_apis/distributedtask/pools/10"));
        assert!(Fault::default().fits("GET", "/_apis/anything"));
    }

    #[test]
    fn a_counted_fault_is_used_up() {
        let mut faults =
            faults(vec![Fault { status: Some(503), count: Some(2), ..Fault::default() }]);
        let hits = (0..5).filter(|_| faults.pick("GET", "/_apis/x", &mut dice()).is_some()).count();
        assert_eq!((hits, faults.list().len()), (2, 0));
    }

    #[test]
    fn two_faults_meet_in_one_request() {
        let late = Fault { late_ms: Some(5), ..Fault::default() };
        let held =
            Fault { retry_after_s: Some(30), method: Some("get".into()), ..Fault::default() };
        let hit = faults(vec![late, held]).pick("GET", "/_apis/x", &mut dice()).expect("both fit");
        assert_eq!((hit.late_ms, hit.retry_after_s), (Some(5), Some(30)));
    }

    #[test]
    fn a_stale_read_is_never_older_than_asked() {
        let mut faults = faults(vec![Fault { stale_s: Some(5), ..Fault::default() }]);
        let start = Timestamp::UNIX_EPOCH;
        for second in 0..20 {
            let mut world = World::default();
            world.open.insert(second);
            faults.remember(
                start + Duration::from_secs(second.unsigned_abs()),
                second.unsigned_abs(),
                &world,
            );
        }
        let mut rng = dice();
        let seen: std::collections::BTreeSet<i64> = (0..200)
            .filter_map(|_| faults.stale(5, start + Duration::from_secs(19), &mut rng))
            .filter_map(|world| world.open.first().copied())
            .collect();
        assert!(seen.iter().all(|s| (14..=19).contains(s)) && seen.len() > 3, "{seen:?}");
    }
}
