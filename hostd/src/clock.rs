//! The daemon's time: a steady clock that is set to the wall clock at the start, and again whenever
//! the wall clock was set. In between nothing can jump; and when it is set, the loop moves all that it
//! remembers by as much, so that no wait becomes shorter or longer.
//!
//! The steady clock stands still while a machine sleeps (`CLOCK_MONOTONIC`). To hostd a sleep is then a
//! wall clock that was set forward: what was waited for is waited for awake.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fleet_model::At;
use hostd_plan::Moment;
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Wall and steady clock may part by this much, in milliseconds, before it counts as set. A leap second
/// does not, nor what a time service mends little by little: that it does to both.
const SET: u64 = 2_000;

/// The clocks of a machine; a test brings its own.
pub trait Clocks: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> At;
    /// How long the machine has been up and awake.
    fn up(&self) -> Duration;
    /// Which boot it is.
    fn boot(&self) -> String;
}

/// This machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

impl Clocks for Machine {
    fn wall(&self) -> At {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn up(&self) -> Duration {
        // Fails for no clock that a kernel has.
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    /// The kernel's boot id; elsewhere than on Linux a new one, as if each start were a boot.
    fn boot(&self) -> String {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.map_or_else(|_| uuid::Uuid::new_v4().to_string(), |id| id.trim().to_owned())
    }
}

/// Reads the time. Under a paused tokio clock it stands still with it, so tests run hours in
/// milliseconds.
#[derive(Clone)]
pub struct Clock {
    clocks: Arc<dyn Clocks>,
    boot: String,
    start: At,
    zero: Instant,
}

impl Clock {
    /// Set to the wall clock now.
    pub fn of(clocks: Arc<dyn Clocks>) -> Self {
        Self { boot: clocks.boot(), start: clocks.wall(), zero: Instant::now(), clocks }
    }

    /// The moment, to the millisecond.
    pub fn now(&self) -> At {
        self.start + self.zero.elapsed()
    }

    /// The moment, by both clocks: enough to know at the next start whether one was set.
    pub fn moment(&self) -> Moment {
        let up_ms = u64::try_from(self.clocks.up().as_millis()).unwrap_or(u64::MAX);
        Moment { at: self.now(), boot: self.boot.clone(), up_ms }
    }

    /// Which boot of the machine it is.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// If the wall clock was set: by how many milliseconds. From here on this clock shows its time.
    pub fn follow(&mut self) -> Option<i64> {
        let (wall, own) = (self.clocks.wall(), self.now());
        if wall.0.abs_diff(own.0) < SET {
            return None;
        }
        let by = i64::try_from(i128::from(wall.0) - i128::from(own.0)).ok()?;
        (self.start, self.zero) = (wall, Instant::now());
        Some(by)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.now())
    }
}

/// `wait` spread by up to a fifth to both sides, so that hosts do not do the same at once.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A wall clock that stands still until it is set.
    struct Standing(AtomicU64);

    impl Clocks for Standing {
        fn wall(&self) -> At {
            At(self.0.load(Ordering::SeqCst))
        }

        fn up(&self) -> Duration {
            Duration::from_millis(7)
        }

        fn boot(&self) -> String {
            "b1".into()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_with_the_steady_clock_until_the_wall_clock_is_set() {
        let wall = Arc::new(Standing(AtomicU64::new(100_000)));
        let mut clock = Clock::of(wall.clone());
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!((clock.now(), clock.follow()), (At(101_500), None), "it was not set by much");
        for (set, by) in [(9_000_000, 8_898_500), (50_000, -8_950_000)] {
            wall.0.store(set, Ordering::SeqCst);
            assert_eq!(clock.follow(), Some(by));
            assert_eq!((clock.now(), clock.follow()), (At(set), None));
        }
        let moment = Moment { at: At(50_000), boot: "b1".into(), up_ms: 7 };
        assert_eq!(clock.moment(), moment);
    }

    #[test]
    fn this_machine_knows_its_boot_and_how_long_it_is_up() {
        let (before, boot) = (Machine.up(), Machine.boot());
        assert!(Machine.up() >= before && before > Duration::ZERO);
        assert_eq!(Machine.boot(), boot);
        assert!(Machine.wall() > At(1_700_000_000_000));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&wait));
        }
    }
}
