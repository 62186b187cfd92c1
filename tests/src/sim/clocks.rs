//! The hosts' clocks: the wall clock is set now and then, hostd's own follows it while it runs, and
//! when it starts.

use fleet_model::{At, HostName};
use hostd_plan::Moment;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Due, World};

/// hostd notices a clock that was set within this time.
const NOTICED: u64 = 10_000;
const DAY: i64 = 86_400_000;
const STEPS: [i64; 8] = [-7 * DAY, -DAY, -3_600_000, -61_000, 30_000, 300_000, 7_200_000, 3 * DAY];

/// One host's clocks.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// By how much its wall clock differs from the world's time.
    pub(super) wall_by: i64,
    /// And hostd's.
    own_by: i64,
    boot: u64,
    booted: At,
}

impl Clocks {
    /// The world's time as hostd sees it.
    pub(super) fn time(&self, now: At) -> At {
        now.moved(self.own_by)
    }

    pub(super) fn moment(&self, now: At) -> Moment {
        let up_ms = now.0 - self.booted.0;
        Moment { at: self.time(now), boot: format!("boot {}", self.boot), up_ms }
    }

    /// hostd starts.
    pub(super) fn begin(&mut self) {
        self.own_by = self.wall_by;
    }

    /// The machine starts.
    pub(super) fn boot(&mut self, now: At) {
        self.boot += 1;
        self.booted = now;
    }

    /// By how much hostd's clock is to be set, and then is.
    fn follow(&mut self) -> i64 {
        let by = self.wall_by - self.own_by;
        self.own_by = self.wall_by;
        by
    }
}

impl World {
    /// Drawn apart from everything else, so that a world whose clocks are never set is the same but
    /// for that.
    pub(super) fn write_clocks(&mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x00c1_0c25);
        let (from, until) = (self.options.rough_ms / 20, self.options.rough_ms);
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in hosts {
            for _ in 0..40 {
                let at = rng.random_range(from..until);
                let by =
                    STEPS[rng.random_range(0..STEPS.len())] + rng.random_range(-20_000..20_000);
                self.after(at, Due::SetClock(host.clone(), by));
                self.after(at + rng.random_range(0..NOTICED), Due::FollowClock(host.clone()));
            }
        }
    }

    pub(super) fn set_clock(&mut self, name: &HostName, by: i64) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.clocks.wall_by += by;
            self.note(format!("CLOCK of {name} set by {} s", by / 1000));
        }
    }

    pub(super) fn follow_clock(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let by = host.clocks.follow();
        host.known.clock_set(by);
    }
}
