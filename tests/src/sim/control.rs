//! The coordinator's side: its planner, its store, its sessions.

use std::{collections::BTreeSet, sync::Arc};

use coordinator_plan::{Fleet, FleetEvent, HostRecord};
use fleet_model::{
    Assignment, At, AzureTarget, CredentialName, HostFacts, HostName, Mode, Order, PoolName,
    PoolSpec, RuntimeKind, Template,
};
use hostd_plan::{Known, Ledger};

use super::{Due, Up, World, host::SimHost};

const POOLS: [(&str, &str); 3] =
    [("nightly", "lab in (str,str3)"), ("nightly-svc", "lab=svc"), ("nightly-tk5", "lab!=svc")];
const LABS: [&str; 5] = ["str", "str3", "svc", "bjw", "tk5"];

impl World {
    /// Hosts, pools, and everybody's first steps.
    pub(super) fn found_fleet(&mut self) {
        for n in 0..self.options.hosts {
            let Ok(name) = format!("host-{n:02}").parse::<HostName>() else { continue };
            let lab = LABS[n % LABS.len()];
            let labels =
                "lab".parse().map(|key| [(key, lab.to_owned())].into()).unwrap_or_default();
            self.saved.hosts.push(HostRecord {
                name: name.clone(),
                labels,
                restraint: None,
                invited: self.now,
                joined: Some(self.now),
                keys: Vec::new(),
                certificate_expires: None,
            });
            let served = BTreeSet::from([RuntimeKind::Docker]);
            let known = Known::new(name.clone(), served, Ledger::default());
            self.hosts.insert(name.clone(), SimHost::new(known));
            let wait = self.between(0, 2_000);
            self.after(wait, Due::HostBack(name));
        }
        for (name, selector) in POOLS {
            let long_lived = self.options.alone && name == "nightly-svc";
            let mode = if long_lived { Mode::LongLived } else { Mode::Once };
            if let Some(spec) = pool(name, selector, mode) {
                self.saved.credentials.insert(spec.credential.clone(), "0123456789ab".into());
                self.saved.pools.push(spec);
            }
        }
        self.coordinator_back();
    }

    /// What operators and users do, drawn in advance.
    pub(super) fn write_calendar(&mut self) {
        let rough = self.options.rough_ms;
        for (name, _) in POOLS {
            let Ok(pool) = name.parse::<PoolName>() else { continue };
            for turn in 0..8 {
                let most = if turn % 3 == 2 { 3 } else { 40 };
                let at = self.between(0, rough);
                let replicas = u32::try_from(self.between(0, most)).unwrap_or(0);
                self.after(at, Due::Scale(pool.clone(), replicas));
            }
            for _ in 0..60 {
                let at = self.between(0, rough + 600_000);
                self.after(at, Due::Queue(pool.clone()));
            }
        }
        if self.options.faults {
            for _ in 0..40 {
                let at = self.between(0, rough);
                self.after(at, Due::Fault);
            }
        }
        self.write_restraints();
        self.after(0, Due::AzureTurn);
        self.after(1_000, Due::Lease);
        self.after(5_000, Due::Watch);
    }

    /// One list call; each host in session hears of its own rows, now and then of old ones.
    pub(super) fn watch_rows(&mut self) {
        self.after(10_000, Due::Watch);
        if self.fleet.is_none() || !self.azure.answers(self.now) {
            return;
        }
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for name in hosts {
            let old = if self.unlucky(20) { self.between(1, 30_000) } else { 0 };
            let Some(host) = self.hosts.get(&name).filter(|host| host.connected) else { continue };
            let agents: Vec<_> = host.known.ledger.slots.keys().cloned().collect();
            let rows = agents
                .into_iter()
                .map(|agent| {
                    let id = self.azure.find(&agent);
                    let row = id.and_then(|id| self.azure.read(id, old, self.now));
                    (agent, row)
                })
                .collect();
            self.tell(&name, hostd_plan::Event::Rows(rows));
        }
        for (pool, rows) in self.rows_for_coordinator() {
            if let Some(fleet) = &mut self.fleet {
                let shows = At(self.now.0.saturating_sub(30_000));
                fleet.apply(FleetEvent::Rows { pool, rows, shows }, self.now);
            }
        }
        self.decide();
    }

    pub(super) fn coordinator_back(&mut self) {
        if self.fleet.is_none() {
            self.note("coordinator starts".into());
            self.fleet = Some(Fleet::restore(self.saved.clone(), self.now));
            self.decide();
        }
    }

    pub(super) fn coordinator_dies(&mut self) {
        if self.fleet.take().is_none() {
            return;
        }
        self.note("coordinator dies".into());
        let hosts: Vec<(HostName, u64)> =
            self.hosts.iter().map(|(name, host)| (name.clone(), host.session)).collect();
        for (host, session) in hosts {
            self.after(100, Due::Broken(host, session));
        }
        let wait = self.between(500, 60_000);
        self.after(wait, Due::CoordinatorBack);
    }

    pub(super) fn scale(&mut self, pool: &PoolName, replicas: u32) {
        let Some(spec) = self.saved.pools.iter_mut().find(|spec| spec.name == *pool) else {
            return;
        };
        // A coordinator that is away takes no orders; an operator tries again later.
        let Some(fleet) = &mut self.fleet else {
            self.after(30_000, Due::Scale(pool.clone(), replicas));
            return;
        };
        spec.replicas = replicas;
        fleet.apply(FleetEvent::PoolPut(spec.clone()), self.now);
        self.note(format!("scale {pool} {replicas}"));
        self.decide();
    }

    pub(super) fn look_at_leases(&mut self) {
        self.decide();
        let wait = if self.fleet.is_some() { 1_000 } else { 10_000 };
        self.after(wait, Due::Lease);
    }

    pub(super) fn dial(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        if host.connected || !host.alive {
            return;
        }
        let reachable = host.cut_until <= self.now;
        if !reachable || self.fleet.is_none() {
            let most = if self.options.alone { 60_000 } else { 5_000 };
            let wait = self.between(300, most);
            self.after(wait, Due::Dial(name.clone()));
            return;
        }
        host.connected = true;
        host.session += 1;
        let highest = host.known.ledger.highest;
        let facts = HostFacts {
            runtimes: BTreeSet::from([RuntimeKind::Docker]),
            version: "simulated".into(),
            ..HostFacts::default()
        };
        let session = host.session;
        if let Some(fleet) = &mut self.fleet {
            let host = name.clone();
            fleet.apply(FleetEvent::SessionOpened { host, facts, highest }, self.now);
        }
        self.note(format!("{name} session {session}"));
        self.report(name, true);
        self.decide();
        let told = self.fleet.as_ref().and_then(|fleet| fleet.host(name)?.assignment.clone());
        if let Some(assignment) = told {
            self.send(name, assignment);
        }
    }

    pub(super) fn at_coordinator(&mut self, name: &HostName, session: u64, up: Up) {
        let current = self.hosts.get(name).is_some_and(|h| h.session == session && h.connected);
        let Some(fleet) = self.fleet.as_mut().filter(|_| current) else { return };
        let host = name.clone();
        match up {
            Up::Report(report) => {
                fleet.apply(FleetEvent::Reported { host, report: *report }, self.now);
            }
            Up::Heard(applied) => fleet.apply(FleetEvent::Heard { host, applied }, self.now),
        }
        self.decide();
    }

    /// Decides, stores, sends: in this order.
    pub(super) fn decide(&mut self) {
        self.take_restraint_steps();
        let Some(fleet) = &mut self.fleet else { return };
        let decision = fleet.decide(self.now);
        if decision.is_empty() {
            fleet.begin(&decision);
            return;
        }
        if let Some(order) = decision.order {
            self.saved.order = order;
        }
        self.saved.placements.extend(decision.placements.clone());
        fleet.begin(&decision);
        for (host, assignment) in decision.assignments {
            self.send(&host, assignment);
        }
    }

    /// Sends an order: it may come late or twice; a lost one is a broken session.
    fn send(&mut self, name: &HostName, assignment: Arc<Assignment>) {
        let Some(host) = self.hosts.get(name).filter(|host| host.connected) else { return };
        let session = host.session;
        if self.unlucky(5) {
            let wait = self.between(1_000, 10_000);
            self.after(wait, Due::Broken(name.clone(), session));
            return;
        }
        let late = if self.unlucky(10) { 20_000 } else { 300 };
        let wait = self.between(1, late);
        self.after(wait, Due::AtHost(name.clone(), session, assignment.clone()));
        if self.unlucky(10) {
            let again = self.between(1, 90_000);
            self.after(again, Due::AtHost(name.clone(), session, assignment));
        }
    }

    pub(super) fn session_broken(&mut self, name: &HostName, session: u64) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        if host.session != session || !host.connected {
            return;
        }
        host.connected = false;
        host.alone_since = self.now;
        self.note(format!("{name} session {session} breaks"));
        if let Some(fleet) = &mut self.fleet {
            fleet.apply(FleetEvent::SessionClosed { host: name.clone() }, self.now);
        }
        let wait = self.between(200, 3_000);
        self.after(wait, Due::Dial(name.clone()));
    }

    pub(super) fn highest_order(&self) -> Order {
        self.saved.order
    }
}

fn pool(name: &str, selector: &str, mode: Mode) -> Option<PoolSpec> {
    let target = AzureTarget { url: "https://dev.example/fabrikam".into(), pool: name.into() };
    let template = Template::docker("fleet-agent:demo".parse().ok()?, mode);
    let credential: CredentialName = "nightly".parse().ok()?;
    let name = name.parse().ok()?;
    PoolSpec::single(name, target, credential, selector.parse().ok()?, template).ok()
}
