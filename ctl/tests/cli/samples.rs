//! A small fleet: two labs, two pools, a few agents.

use std::{collections::BTreeMap, time::Duration};

use fleet_proto::v1::{self, HostState, Intent, Phase};
use jiff::{SignedDuration, Timestamp};

use crate::fake::State;

pub(crate) const SVC: &str = "svcstr-server-2";
pub(crate) const STR: &str = "str-acs-serv-15";

/// Half a unit more than shown, so that a slow test still shows the same.
pub(crate) fn ago(length: Duration) -> Option<prost_types::Timestamp> {
    let length = SignedDuration::try_from(length).unwrap();
    Some(moment(Timestamp::now() - length))
}

pub(crate) fn ahead(length: Duration) -> Option<prost_types::Timestamp> {
    Some(moment(Timestamp::now() + SignedDuration::try_from(length).unwrap()))
}

fn moment(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `nightly-svc` with three agents wanted and there, `nightly` with none.
pub(crate) fn fleet() -> State {
    let mut state = State::default();
    state.put_pool(pool("nightly-svc", 3, "lab=svc"));
    state.put_pool(pool("nightly", 0, "lab in (str,str3)"));
    state.put_host(host(SVC, "svc", HostState::Ready));
    state.put_host(host(STR, "str", HostState::Ready));
    state.put_agent(agent("nightly-svc", SVC, 1, Phase::Idle));
    state.put_agent(agent("nightly-svc", SVC, 2, Phase::Busy));
    state.put_agent(agent("nightly-svc", SVC, 3, Phase::Idle));
    state
}

pub(crate) fn pool(name: &str, replicas: u32, selector: &str) -> v1::Pool {
    let template = v1::Template {
        runtime: v1::RuntimeKind::Docker.into(),
        image: "fleet-agent:demo".into(),
        mode: v1::Mode::Once.into(),
        entry: v1::Entry::Own.into(),
        ..Default::default()
    };
    let group = v1::GroupSpec {
        name: "default".into(),
        selector: selector.into(),
        template: Some(template),
        weight: 1,
        max_per_host: None,
    };
    let spec = v1::PoolSpec {
        name: name.into(),
        azure: Some(v1::AzureTarget {
            url: "https://dev.example/fabrikam".into(),
            pool: name.into(),
        }),
        prefix: name.into(),
        replicas,
        settle: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
        credential: name.into(),
        groups: vec![group],
        deleted: false,
        gone_groups: Vec::new(),
        forced: None,
        restraint: None,
    };
    let credential = v1::CredentialStatus {
        credential: Some(v1::CredentialRef {
            name: name.into(),
            fingerprint: "0123456789ab".into(),
        }),
        loaded: ago(2 * DAY + DAY / 2),
        expires: None,
    };
    v1::Pool {
        spec: Some(spec),
        credential: Some(credential),
        azure_seen: ago(3 * MINUTE + MINUTE / 2),
        ..Default::default()
    }
}

pub(crate) fn host(name: &str, lab: &str, state: HostState) -> v1::Host {
    v1::Host {
        name: name.into(),
        lab: lab.into(),
        labels: BTreeMap::from([("lab".into(), lab.into()), ("rack".into(), "7".into())]),
        state: state.into(),
        since: ago(5 * MINUTE + MINUTE / 2),
        availability: v1::Availability::Active.into(),
        capacity: Some(20),
        version: "0.1.0".into(),
        engine: "docker 28.0.1".into(),
        applied: Some(v1::Order { term: 1, generation: 7 }),
        ordered: Some(v1::Order { term: 1, generation: 7 }),
        certificate_expires: ahead(DAY / 2 + MINUTE / 2),
        disks: vec![v1::Disk {
            place: "/var".into(),
            bytes_total: 400 << 30,
            bytes_free: 150 << 30,
            inodes_total: 1000,
            inodes_free: 900,
            runtimes: vec![v1::RuntimeKind::Docker.into()],
        }],
        caches: vec![v1::CacheSize { what: "image nightly:1".into(), bytes: 3 << 30 }],
        ..Default::default()
    }
}

pub(crate) fn agent(pool: &str, host: &str, slot: u32, phase: Phase) -> v1::Agent {
    let busy = phase == Phase::Busy;
    let status = v1::AgentStatus {
        agent: format!("{pool}-{host}-{slot:02}"),
        pool: pool.into(),
        group: "default".into(),
        slot,
        runtime: v1::RuntimeKind::Docker.into(),
        attempt: 1,
        phase: phase.into(),
        since: ago(3 * MINUTE + MINUTE / 2),
        intent: Intent::Keep.into(),
        job: busy.then(|| v1::Job {
            name: "Build and test".into(),
            request_id: Some(71),
            since: ago(3 * MINUTE + MINUTE / 2),
        }),
        why: String::new(),
        agent_id: Some(i64::from(100 + slot)),
        placeholder: false,
        quarantine: None,
        disk_bytes: busy.then_some(7 << 30),
    };
    let lab = if host == SVC { "svc" } else { "str" };
    v1::Agent {
        status: Some(status),
        host: host.into(),
        lab: lab.into(),
        online: Some(true),
        enabled: Some(true),
        stale: false,
        run_url: String::new(),
    }
}

pub(crate) fn event(seq: u64, kind: &str, agent: &str, message: &str) -> v1::Event {
    v1::Event {
        seq,
        at: ago(MINUTE),
        kind: kind.into(),
        actor: "ann".into(),
        pool: "nightly-svc".into(),
        host: String::new(),
        agent: agent.into(),
        message: message.into(),
    }
}
