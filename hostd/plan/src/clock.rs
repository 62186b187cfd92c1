//! A host's wall clock is set now and then: by a time service, by hand, after a sleep. Nothing that a
//! host waits for is a time of day, so all moments that it remembers move with the clock, and no
//! wait becomes shorter or longer.
//!
//! | the clock is set | how it is known |
//! |---|---|
//! | while hostd runs | wall and steady clock part ([`Known::clock_set`]) |
//! | while it is down, the machine runs on | the ledger says what both showed when it was stored ([`Moment`]) |
//! | while the machine is off | only if it was set back: forward it looks like time that has passed |
//!
//! Moments that nobody can vouch for (an older hostd's ledger) are at least not in the future.
//! An operator's leave ([`fleet_model::Forced`]) is by the coordinator's clock and does not move.

use std::collections::BTreeMap;

use fleet_model::{
    AgentStatus, At, Job, Quarantine,
    numbers::{AZURE_STALE, BACKOFF_MAX},
};
use serde::{Deserialize, Serialize};

use crate::{
    known::{Known, Look},
    ledger::{Ledger, Removal, Slot},
    pause::Pause,
    runs::Run,
    starts::{ImageState, Trouble},
};

/// What a host's clocks showed at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The daemon's time.
    pub at: At,
    /// Which boot of the machine.
    pub boot: String,
    /// Milliseconds of its steady clock, from that boot on.
    pub up_ms: u64,
}

impl Moment {
    /// By how many milliseconds the wall clock was set since `then`, as far as that can be known.
    pub fn clock_set_since(&self, then: &Moment) -> i64 {
        // At least so long ago: another boot came after it.
        let passed =
            if self.boot == then.boot { self.up_ms.saturating_sub(then.up_ms) } else { self.up_ms };
        let should_be = then.at.0.saturating_add(passed);
        let by = i64::try_from(i128::from(self.at.0) - i128::from(should_be)).unwrap_or(0);
        if self.boot == then.boot { by } else { by.min(0) }
    }
}

impl Ledger {
    /// Takes up a ledger that was stored at `stored`, where that is known.
    pub fn take_up(&mut self, stored: Option<&Moment>, now: &Moment) {
        if let Some(stored) = stored {
            let by = now.clock_set_since(stored);
            self.each_moment(&mut |at| set(at, by));
        }
        for slot in self.slots.values_mut() {
            slot.no_moment_is_to_come(now.at);
        }
    }
}

impl Known {
    /// The wall clock was set by so many milliseconds; from here on times are by the new one.
    pub fn clock_set(&mut self, by_ms: i64) {
        self.each_moment(&mut |at| set(at, by_ms));
    }
}

/// The epoch itself is no moment, it stands for "from the beginning", and nothing becomes it: a clock
/// that begins at the epoch is soon set forward again, and then a wait would be over at once.
fn set(at: &mut At, by_ms: i64) {
    if *at != At(0) {
        *at = at.moved(by_ms).max(At(1));
    }
}

impl Slot {
    /// Nothing may wait for a moment that comes in a year. What waits keeps its longest wait.
    fn no_moment_is_to_come(&mut self, now: At) {
        self.unclean_since = self.unclean_since.map(|at| at.min(now));
        self.retry_at = self.retry_at.map(|at| at.min(now + BACKOFF_MAX));
        self.reads_count_from = self.reads_count_from.min(now + AZURE_STALE);
        self.failed_at.iter_mut().for_each(|at| *at = (*at).min(now));
        if let Some(Quarantine { since, until, .. }) = &mut self.quarantine {
            *until = (*until).min(now + until.since(*since));
            *since = (*since).min(now);
        }
        if let Some(pause) = &mut self.pause {
            pause.since = pause.since.min(now);
        }
        match &mut self.removal {
            Some(Removal::Settling { clear_since: at } | Removal::Unheard { free_since: at })
            | Some(Removal::Stopping { asked: Some(at) }) => *at = (*at).min(now),
            _ => {}
        }
    }
}

/// Something that remembers moments of this host's clock. What takes a struct apart names all its
/// fields, so that a new one is not forgotten here: it does not compile.
pub(crate) trait Moments {
    /// Shows each of them.
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At));
}

impl Moments for At {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        see(self);
    }
}

impl<T: Moments> Moments for Option<T> {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        self.iter_mut().for_each(|one| one.each_moment(see));
    }
}

impl<T: Moments> Moments for Vec<T> {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        self.iter_mut().for_each(|one| one.each_moment(see));
    }
}

impl<K, T: Moments> Moments for BTreeMap<K, T> {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        self.values_mut().for_each(|one| one.each_moment(see));
    }
}

impl Moments for Known {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self {
            host: _,
            served: _,
            ledger,
            runs,
            remains: _,
            strays: _,
            engines: _,
            images,
            caps,
            flights: _,
            looks,
            rows: _,
            offline,
            azure,
            waits,
            credentials: _,
            disk_marks: _,
            disks,
            statuses,
        } = self;
        disks.each_moment(see);
        ledger.each_moment(see);
        runs.each_moment(see);
        images.each_moment(see);
        caps.each_moment(see);
        looks.each_moment(see);
        offline.each_moment(see);
        azure.each_moment(see);
        waits.each_moment(see);
        statuses.each_moment(see);
    }
}

impl Moments for Ledger {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        // The assignment's moments are the coordinator's.
        let Self {
            highest: _,
            assignment: _,
            orphaned: _,
            orphaned_groups: _,
            attempts_used: _,
            slots,
        } = self;
        slots.each_moment(see);
    }
}

impl Moments for Slot {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self {
            pool: _,
            group: _,
            number: _,
            runtime: _,
            attempt: _,
            start_unheard: _,
            registered: _,
            row: _,
            role: _,
            row_unsure: _,
            reads_count_from,
            disabled_by_us: _,
            removal,
            stop_begun: _,
            forced_why: _,
            unclean_since,
            failures: _,
            retry_at,
            failed_why: _,
            updates: _,
            failed_at,
            renewal: _,
            quarantine,
            pause,
        } = self;
        pause.each_moment(see);
        reads_count_from.each_moment(see);
        removal.each_moment(see);
        unclean_since.each_moment(see);
        retry_at.each_moment(see);
        failed_at.each_moment(see);
        quarantine.each_moment(see);
    }
}

impl Moments for Removal {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        match self {
            Self::Settling { clear_since: at } | Self::Unheard { free_since: at } => see(at),
            Self::Stopping { asked } => asked.each_moment(see),
            Self::Disabling
            | Self::Watching
            | Self::Checking
            | Self::Releasing
            | Self::Released => {}
        }
    }
}

impl Moments for Quarantine {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { since, until, why: _, by: _, evidence: _ } = self;
        see(since);
        see(until);
    }
}

impl Moments for Pause {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { cause: _, why: _, since, disabled: _ } = self;
        see(since);
    }
}

impl Moments for Run {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self {
            attempt: _,
            state: _,
            listener: _,
            job,
            had_job: _,
            started,
            listening,
            finished,
            interrupted: _,
            complaint: _,
            cut_off: _,
            announced,
            unproven: _,
        } = self;
        announced.each_moment(see);
        job.each_moment(see);
        see(started);
        listening.each_moment(see);
        finished.each_moment(see);
    }
}

impl Moments for Job {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { name: _, request_id: _, since } = self;
        see(since);
    }
}

impl Moments for Look {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { silent: _, next, asked, busy_reads: _, clear: _, online: _, no_worker_at } =
            self;
        see(next);
        see(asked);
        no_worker_at.each_moment(see);
    }
}

impl Moments for Trouble {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { why: _, next, failures: _ } = self;
        see(next);
    }
}

impl Moments for ImageState {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        match self {
            Self::Present => {}
            Self::Missing { why: _, next, tries: _ } => see(next),
        }
    }
}

impl Moments for AgentStatus {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self {
            agent: _,
            pool: _,
            group: _,
            slot: _,
            runtime: _,
            attempt: _,
            phase: _,
            since,
            intent: _,
            job,
            why: _,
            agent_id: _,
            placeholder: _,
            quarantine,
            disk_bytes: _,
        } = self;
        see(since);
        job.each_moment(see);
        quarantine.each_moment(see);
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
