//! A week without the coordinator, and how well the agents were kept.
//!
//! ```text
//!   0 h  pools are scaled · a copy of the store is made · one is scaled once more
//!   1 h  the coordinator is gone; from here on all kinds of trouble, and jobs all the time
//!   3 d  the token expires: Azure answers nobody but the listeners
//!   7 d  a coordinator with the old copy comes, then the right one with a new token
//! ```

use std::time::Duration;

use fleet_model::{At, HostName, PoolName, PoolSpec};
use hostd_plan::{Event, Role, RunState};

use super::{Due, World, engine::SimRun, host::credentials};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WANTED: [(&str, u32); 3] = [("nightly", 6), ("nightly-svc", 4), ("nightly-tk5", 4)];
/// After a fault all agents are online again within this time. Azure keeps a dead session for five
/// minutes, a listener asks for one for four, and after some failures in a row a start waits for six.
const BOUND: u64 = 20 * MINUTE;
/// From one look at what is online to the next.
const SAMPLE: u64 = 10_000;
/// A look of a host that is alone at its own rows; hostd begins with it after five minutes.
const LOOK: (u64, u64) = (60_000, 90_000);
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What is due in such a week.
#[derive(Debug, Clone)]
pub(super) enum Week {
    /// The store is copied.
    Copy,
    CoordinatorGone,
    TokenExpires,
    AzureAway(u64),
    /// Something happens to a host.
    Host(HostName, u64),
    Jobs(PoolName),
    Sample,
    /// A coordinator that was restored from the copy.
    OldStore,
    /// And the right one.
    Return,
}

/// How the agents were kept while their hosts were alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Looks at a wanted agent while its host and Azure were in no trouble.
    pub looks: u64,
    /// Those that found it online.
    pub online: u64,
    /// The same, whatever the trouble.
    pub all_looks: u64,
    /// See `all_looks`.
    pub all_online: u64,
    /// Older orders that hosts refused.
    pub refused: u64,
    /// Letters in what the hosts knew after a day, all together.
    pub known_first: usize,
    /// The same in the end.
    pub known_last: usize,
    /// Runs of all agents.
    pub attempts: u64,
}

impl World {
    pub(super) fn write_week(&mut self) {
        let rough = self.options.rough_ms;
        for (at, step) in [
            (10 * MINUTE, Week::Copy),
            (HOUR, Week::CoordinatorGone),
            (rough * 3 / 7, Week::TokenExpires),
            (HOUR, Week::Sample),
            (rough, Week::OldStore),
            (rough + 10 * MINUTE, Week::Return),
        ] {
            self.after(at, Due::Week(step));
        }
        for (name, count) in WANTED {
            let Ok(pool) = name.parse::<PoolName>() else { continue };
            self.after(MINUTE, Due::Scale(pool.clone(), count + 1));
            self.after(30 * MINUTE, Due::Scale(pool.clone(), count));
            self.after(5 * MINUTE, Due::Week(Week::Jobs(pool)));
        }
        if self.options.faults {
            self.write_faults();
        }
        self.after(0, Due::AzureTurn);
        self.after(1_000, Due::Lease);
        self.after(5_000, Due::Watch);
    }

    fn write_faults(&mut self) {
        let rough = self.options.rough_ms;
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in hosts {
            for _ in 0..(rough * 3 / DAY).max(4) {
                let at = self.between(HOUR + 5 * MINUTE, rough - 5 * HOUR);
                let kind = self.between(0, 8);
                self.after(at, Due::Week(Week::Host(host.clone(), kind)));
            }
        }
        for _ in 0..(rough / (2 * DAY)).max(1) {
            let (at, long) =
                (self.between(2 * HOUR, rough - 6 * HOUR), self.between(HOUR / 2, 5 * HOUR));
            self.after(at, Due::Week(Week::AzureAway(long)));
        }
    }

    pub(super) fn week(&mut self, step: Week) {
        match step {
            Week::Copy => self.copy = self.saved.clone(),
            Week::CoordinatorGone => self.coordinator_leaves(),
            Week::TokenExpires => {
                self.note("the token expires".into());
                self.azure.token_is_good = false;
            }
            Week::AzureAway(long) => {
                self.azure.down_until = At(self.now.0 + long);
                self.trouble_until = self.trouble_until.max(At(self.now.0 + long + BOUND));
                self.note(format!("Azure is away for {} min", long / MINUTE));
            }
            Week::Host(host, kind) => self.host_trouble(&host, kind),
            Week::Jobs(pool) => {
                self.after(0, Due::Queue(pool.clone()));
                let wait = self.between(MINUTE, 4 * MINUTE);
                self.after(wait, Due::Week(Week::Jobs(pool)));
            }
            Week::Sample => self.sample(),
            Week::OldStore => {
                self.note("a coordinator with an old store comes".into());
                let now = std::mem::replace(&mut self.saved, self.copy.clone());
                self.coordinator_back();
                self.copy = std::mem::replace(&mut self.saved, now);
                self.send_old_orders();
            }
            Week::Return => {
                self.coordinator_leaves();
                self.azure.token_is_good = true;
                self.coordinator_back();
                self.new_token();
            }
        }
    }

    fn coordinator_leaves(&mut self) {
        self.note("the coordinator is gone".into());
        self.fleet = None;
        let hosts: Vec<(HostName, u64)> =
            self.hosts.iter().map(|(name, host)| (name.clone(), host.session)).collect();
        for (host, session) in hosts {
            self.after(100, Due::Broken(host, session));
        }
    }

    /// What a coordinator that knows no better would send: the hosts themselves refuse it.
    fn send_old_orders(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let told: Vec<_> = self
            .hosts
            .keys()
            .filter_map(|name| Some((name.clone(), fleet.host(name)?.assignment.clone()?)))
            .collect();
        for (host, order) in told {
            self.after(MINUTE, Due::AtHost(host, 0, order));
        }
    }

    fn new_token(&mut self) {
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in hosts {
            self.tell(&host, Event::Credentials(credentials("ba9876543210")));
        }
    }

    /// Trouble of a host from now on for so long.
    fn troubled(&mut self, name: &HostName, long: u64) {
        let until = At(self.now.0 + long + BOUND);
        if let Some(host) = self.hosts.get_mut(name) {
            host.trouble_until = host.trouble_until.max(until);
        }
    }

    fn host_trouble(&mut self, name: &HostName, kind: u64) {
        let long = match kind {
            0 => self.host_dies(name, (300, 30_000)),
            1 => self.host_dies(name, (10 * MINUTE, 3 * HOUR)),
            2 | 3 if self.options.power => self.power_cut(name, (20_000, 10 * MINUTE)),
            2 | 3 => self.host_dies(name, (1_000, MINUTE)),
            4 | 5 => self.disk_full(name, kind == 5),
            6 if self.options.power => {
                self.tear(name);
                self.host_dies(name, (300, 30_000))
            }
            6 => self.host_dies(name, (300, 30_000)),
            _ => {
                self.kill_an_idle_agent(name);
                0
            }
        };
        self.troubled(name, long);
    }

    /// And in the middle of it hostd, or the whole host, may go down as well.
    fn disk_full(&mut self, name: &HostName, and_more: bool) -> u64 {
        let long = self.between(MINUTE, 2 * HOUR);
        let until = At(self.now.0 + long);
        self.note(format!("{name} disk is full for {} min", long / MINUTE));
        if let Some(host) = self.hosts.get_mut(name) {
            host.disk.full_until = until;
        }
        if and_more {
            let (at, kind) = (self.between(0, long), self.between(0, 4));
            self.after(at, Due::Week(Week::Host(name.clone(), kind)));
        }
        long
    }

    /// The host looks at its own rows, when it has been alone for long enough.
    pub(super) fn look_alone(&mut self, name: &HostName, life: u64) {
        let wait = self.between(LOOK.0, LOOK.1);
        let Some(host) = self.hosts.get(name).filter(|host| host.alive && host.life == life) else {
            return;
        };
        let alone = !host.connected && self.now.since(host.alone_since) >= PATIENCE;
        self.after(wait, Due::LookAlone(name.clone(), life));
        if !alone || !self.azure.answers(self.now) {
            return;
        }
        let old = if self.unlucky(20) { self.between(1, 30_000) } else { 0 };
        let Some(host) = self.hosts.get(name) else { return };
        let own = host.known.ledger.slots.iter();
        let own = own.filter_map(|(agent, slot)| Some((agent.clone(), slot.row?.agent_id)));
        let rows = own.map(|(agent, id)| (agent, self.azure.read(id, old, self.now))).collect();
        self.tell(name, Event::Rows(rows));
    }

    /// Looks which of the wanted agents are online.
    fn sample(&mut self) {
        if self.fleet.is_some() {
            return;
        }
        self.after(SAMPLE, Due::Week(Week::Sample));
        let day = (self.now.0 - self.start.0).is_multiple_of(DAY);
        let letters = self.hosts.values().map(|host| format!("{:?}", host.known).len()).sum();
        if day && self.kept.known_first == 0 {
            self.kept.known_first = letters;
        }
        self.kept.known_last = letters;
        let pools: Vec<PoolSpec> = self.saved.pools.clone();
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for name in hosts {
            for pool in &pools {
                self.sample_pool(&name, &pool.name);
            }
        }
    }

    fn sample_pool(&mut self, name: &HostName, pool: &PoolName) {
        let Some(host) = self.hosts.get(name) else { return };
        let told = host.disk.ledger.assignment.as_ref().and_then(|told| told.pools.get(pool));
        let wanted = u64::from(told.map_or(0, |part| part.replicas()));
        // Without a token nobody registers: what has no registration cannot be online, and what failed
        // too often is not replaced.
        let registered = host.disk.ledger.slots.iter().filter(|(agent, slot)| {
            let kept = slot.pool == *pool && slot.role != Role::Quarantine;
            kept && host.disk.files.contains_key(*agent)
        });
        let can_be = match self.azure.token_is_good {
            true => wanted,
            false => wanted.min(registered.count() as u64),
        };
        let online = self.azure.online(pool, name).min(can_be);
        let calm = host.trouble_until.max(self.trouble_until) <= self.now;
        self.kept.all_looks += wanted;
        self.kept.all_online += online;
        let missing = self.missing.entry((name.clone(), pool.clone())).or_insert(self.now);
        if !calm {
            *missing = self.now;
            return;
        }
        self.kept.looks += can_be;
        self.kept.online += online;
        if online == can_be {
            *missing = self.now;
        } else if self.now.0 - missing.0 > BOUND {
            let text = format!("{name} has {online} of {can_be} agents of {pool} online for long");
            *missing = self.now;
            self.violation(text);
        }
    }
}

impl SimRun {
    /// It is there, and not for Azure to see.
    pub(super) fn is_between(&self) -> bool {
        self.state != RunState::Running || !self.listening
    }
}
