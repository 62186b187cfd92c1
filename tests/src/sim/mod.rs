//! A whole fleet in virtual time: the real planners of coordinator and hosts, with engines, agents,
//! Azure, the network and the calendar played. A seed decides everything; the same seed gives the
//! same log.
//!
//! What goes wrong here: sessions break, messages come late or twice, orders arrive after newer
//! ones; coordinator and hosts are killed and come back from what they stored; Azure is away,
//! answers old things, loses answers it acted on; agents are killed, end, hang; disks are full, the
//! newest ledger is torn, clocks are set.
//!
//! What must hold is in [`check`]: no job is ended by the fleet, no older order changes anything,
//! no host has more rows than it was told, a drain or pause that is called done is done, and when the trouble ends the counts are right.

mod agents;
mod alone;
mod azure;
mod check;
mod clocks;
mod control;
mod disk;
mod effects;
mod engine;
mod faults;
mod held;
mod host;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use coordinator_plan::{Fleet, Saved, Target};
use fleet_model::{
    AgentName, Assignment, At, HostName, HostReport, Order, PoolName, RestraintKind,
};
use hostd_plan::{Action, Outcome};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub use alone::Kept;
pub use check::Verdict;

/// A run by agent and attempt.
type RunKey = (AgentName, u32);

/// Length and roughness of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Hosts.
    pub hosts: usize,
    /// Virtual time with faults.
    pub rough_ms: u64,
    /// Virtual time after the last fault in which the counts must come right. Rows of dead
    /// sessions and locks of dead workers take Azure up to ten minutes to let go.
    pub calm_ms: u64,
    /// Things go wrong.
    pub faults: bool,
    /// The guards that a test breaks on purpose: rows hide their request, process lists are
    /// falsely empty.
    pub broken_guard: bool,
    /// The coordinator is gone nearly all of the time, instead of being there through bad days.
    pub alone: bool,
    /// Hosts lose power, and ledgers are torn.
    pub power: bool,
    /// Hosts' wall clocks are set, forward and back, by anything up to a week.
    pub clocks: bool,
    /// What happened is written down.
    pub log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: 20,
            rough_ms: 20 * 60_000,
            calm_ms: 40 * 60_000,
            faults: true,
            broken_guard: false,
            alone: false,
            power: true,
            clocks: true,
            log: true,
        }
    }
}

impl Options {
    /// Seven days of a few hosts without their coordinator.
    pub fn week() -> Self {
        Self {
            hosts: 4,
            rough_ms: 7 * 24 * 3_600_000,
            calm_ms: 60 * 60_000,
            alone: true,
            log: false,
            ..Self::default()
        }
    }
}

/// Runs one seed to its end.
pub fn run(seed: u64, options: Options) -> Verdict {
    let mut world = World::new(seed, options);
    world.run();
    check::verdict(&world)
}

/// What is due.
#[derive(Debug, Clone)]
enum Due {
    /// A host dials the coordinator.
    Dial(HostName),
    /// A message of a session arrives at the coordinator.
    AtCoordinator(HostName, u64, Up),
    /// An order arrives at a host.
    AtHost(HostName, u64, Arc<Assignment>),
    /// Both sides notice that a session is broken.
    Broken(HostName, u64),
    /// The coordinator looks at its leases.
    Lease,
    /// A host's planner asked to be woken.
    Wake(HostName, u64),
    /// An action takes effect.
    Act(HostName, u64, Action),
    /// An action's outcome comes back to the hostd that started it.
    Back(HostName, u64, Action, Outcome),
    /// The next step of an agent's run.
    Agent(HostName, RunKey, Step),
    /// Azure gives out jobs.
    AzureTurn,
    /// The coordinator's watcher looks at all rows.
    Watch,
    /// An operator scales a pool.
    Scale(PoolName, u32),
    /// An operator holds a host or a pool back, or no longer.
    Hold(Target, Option<RestraintKind>),
    /// Somebody queues a job.
    Queue(PoolName),
    /// Something of a week alone.
    Week(alone::Week),
    /// A host looks at its own rows, if it is alone.
    LookAlone(HostName, u64),
    /// Somebody sets a host's wall clock.
    SetClock(HostName, i64),
    /// Its hostd notices.
    FollowClock(HostName),
    /// Something goes wrong.
    Fault,
    /// A killed daemon is back.
    CoordinatorBack,
    HostBack(HostName),
}

/// What a host says.
#[derive(Debug, Clone)]
enum Up {
    Report(Box<HostReport>),
    Heard(Order),
}

/// A step of an agent's run.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Register,
    Registered,
    /// hostd takes the registration's files, as soon as it can store them.
    HandOver,
    Connect,
    TakeJob(u64),
    FinishJob,
    End(i32),
}

struct World {
    options: Options,
    rng: StdRng,
    start: At,
    now: At,
    seq: u64,
    queue: BinaryHeap<Reverse<(At, u64)>>,
    due: BTreeMap<u64, Due>,
    azure: azure::Azure,
    /// What the coordinator stored.
    saved: Saved,
    /// What it had stored some time ago.
    copy: Saved,
    /// None while it is down.
    fleet: Option<Fleet>,
    hosts: BTreeMap<HostName, host::SimHost>,
    log: Vec<String>,
    violations: Vec<String>,
    /// Drains and pauses that were called done.
    rested: usize,
    actions: u64,
    /// From then on nothing goes wrong any more.
    calm_from: At,
    /// Until then nobody can expect that all agents are online, on no host.
    trouble_until: At,
    kept: Kept,
    /// Since when a host has fewer agents of a pool online than wanted.
    missing: BTreeMap<(HostName, PoolName), At>,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let start = At(1_800_000_000_000);
        let mut world = Self {
            options,
            rng: StdRng::seed_from_u64(seed),
            start,
            now: start,
            seq: 0,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            azure: azure::Azure::default(),
            saved: Saved { order: Order::new(1, 0), ..Saved::default() },
            copy: Saved::default(),
            fleet: None,
            hosts: BTreeMap::new(),
            log: Vec::new(),
            violations: Vec::new(),
            rested: 0,
            actions: 0,
            calm_from: At(start.0 + options.rough_ms),
            trouble_until: start,
            kept: Kept::default(),
            missing: BTreeMap::new(),
        };
        world.azure.obeys_busy_delete = seed.is_multiple_of(2);
        world.found_fleet();
        match options.alone {
            true => world.write_week(),
            false => world.write_calendar(),
        }
        if options.clocks && options.faults {
            world.write_clocks(seed);
        }
        world
    }

    fn run(&mut self) {
        let end = At(self.calm_from.0 + self.options.calm_ms);
        while let Some(Reverse((at, seq))) = self.queue.pop() {
            if at > end || self.violations.len() > 5 {
                break;
            }
            self.now = at;
            if let Some(due) = self.due.remove(&seq) {
                self.handle(due);
            }
        }
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Dial(host) => self.dial(&host),
            Due::AtCoordinator(host, session, up) => self.at_coordinator(&host, session, up),
            Due::AtHost(host, session, order) => {
                self.at_host(&host, session, Arc::unwrap_or_clone(order))
            }
            Due::Broken(host, session) => self.session_broken(&host, session),
            Due::Lease => self.look_at_leases(),
            Due::Wake(host, turn) => self.wake(&host, turn),
            Due::Act(host, life, action) => self.act(&host, life, action),
            Due::Back(host, life, action, outcome) => self.back(&host, life, action, outcome),
            Due::Agent(host, run, step) => self.agent_step(&host, run, step),
            Due::AzureTurn => self.azure_turn(),
            Due::Watch => self.watch_rows(),
            Due::Scale(pool, replicas) => self.scale(&pool, replicas),
            Due::Queue(pool) => {
                let length = self.rng.random_range(5_000..180_000);
                self.azure.queue(&pool, length);
            }
            Due::Hold(target, kind) => self.hold(&target, kind),
            Due::Fault => self.fault(),
            Due::Week(step) => self.week(step),
            Due::LookAlone(host, life) => self.look_alone(&host, life),
            Due::SetClock(host, by) => self.set_clock(&host, by),
            Due::FollowClock(host) => self.follow_clock(&host),
            Due::CoordinatorBack => self.coordinator_back(),
            Due::HostBack(host) => self.host_back(&host),
        }
    }

    /// Puts something on the calendar `after_ms` from now.
    fn after(&mut self, after_ms: u64, due: Due) {
        self.seq += 1;
        self.queue.push(Reverse((At(self.now.0 + after_ms), self.seq)));
        self.due.insert(self.seq, due);
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..high)
    }

    /// True with a chance of `percent`, and never once it is calm.
    fn unlucky(&mut self, percent: u32) -> bool {
        let rough = self.options.faults && self.now < self.calm_from;
        self.rng.random_range(0..100) < percent && rough
    }

    fn note(&mut self, text: String) {
        if self.options.log {
            self.log.push(format!("{} {text}", self.now.0 - self.start.0));
        }
    }

    fn violation(&mut self, text: String) {
        self.note(format!("VIOLATION {text}"));
        self.violations.push(format!("at {}: {text}", self.now.0 - self.start.0));
    }
}
