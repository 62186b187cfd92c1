//! A small fleet for tests: two hosts in session, a pool of four.

use std::collections::BTreeSet;

use fleet_model::{
    AgentStatus, At, AzureTarget, HostFacts, HostName, HostReport, Intent, Labels, Mode, Order,
    Phase, PoolName, PoolSpec, RuntimeKind, Template,
};

use crate::{Decision, Fleet, FleetEvent, HostRecord, Saved};

pub(crate) const START: At = At(1_000_000);

pub(crate) fn host(name: &str) -> HostName {
    name.parse().expect("host")
}

pub(crate) fn pool_name() -> PoolName {
    "nightly".parse().expect("pool")
}

pub(crate) fn pool(replicas: u32) -> PoolSpec {
    let target = AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() };
    let template = Template::docker("img:1".parse().expect("image"), Mode::Once);
    let credential = "pat".parse().expect("credential");
    let mut spec = PoolSpec::single(pool_name(), target, credential, Default::default(), template)
        .expect("a prefix");
    spec.replicas = replicas;
    spec
}

pub(crate) fn record(name: &str) -> HostRecord {
    HostRecord {
        name: host(name),
        labels: Labels::new(),
        restraint: None,
        invited: START,
        joined: Some(START),
        keys: Vec::new(),
        certificate_expires: None,
    }
}

pub(crate) fn facts() -> HostFacts {
    HostFacts { runtimes: BTreeSet::from([RuntimeKind::Docker]), ..HostFacts::default() }
}

pub(crate) fn open(fleet: &mut Fleet, name: &str, highest: Order, now: At) {
    let event = FleetEvent::SessionOpened { host: host(name), facts: facts(), highest };
    fleet.apply(event, now);
}

pub(crate) fn settle(fleet: &mut Fleet, now: At) -> Decision {
    let decision = fleet.decide(now);
    fleet.begin(&decision);
    decision
}

pub(crate) fn agent(name: &str, phase: Phase, intent: Intent) -> AgentStatus {
    AgentStatus {
        agent: name.parse().expect("agent"),
        pool: pool_name(),
        group: "default".parse().expect("group"),
        slot: 1,
        runtime: RuntimeKind::Docker,
        attempt: 1,
        phase,
        since: START,
        intent,
        job: None,
        why: String::new(),
        agent_id: None,
        placeholder: false,
        quarantine: None,
        disk_bytes: None,
    }
}

pub(crate) fn report(fleet: &mut Fleet, name: &str, full: bool, agents: Vec<AgentStatus>, now: At) {
    let applied = fleet.order();
    let report = HostReport { full, applied, agents, ..HostReport::default() };
    fleet.apply(FleetEvent::Reported { host: host(name), report }, now);
}

/// Two hosts in session, a pool of four.
pub(crate) fn fleet() -> Fleet {
    let mut fleet = Fleet::restore(
        Saved {
            order: Order::new(1, 0),
            pools: vec![pool(4)],
            hosts: vec![record("a"), record("b")],
            ..Saved::default()
        },
        START,
    );
    open(&mut fleet, "a", Order::default(), START);
    open(&mut fleet, "b", Order::default(), START);
    settle(&mut fleet, START);
    fleet
}
