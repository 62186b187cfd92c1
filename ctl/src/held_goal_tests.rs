//! What is shown while hosts and pools come to rest.

use fleet_proto::v1::watch_response::Change;

use super::*;

fn host(name: &str, state: v1::HostState, restraint: Option<v1::Restraint>) -> Change {
    Change::Host(v1::Host {
        name: name.into(),
        state: state.into(),
        restraint,
        ..v1::Host::default()
    })
}

fn restraint(kind: RestraintKind, done: bool) -> Option<v1::Restraint> {
    let done = done.then(prost_types::Timestamp::default);
    Some(v1::Restraint { kind: kind.into(), by: "ann".into(), done, ..v1::Restraint::default() })
}

fn agent(name: &str, host: &str, phase: Phase, job: Option<&str>) -> Change {
    let since = Some(prost_types::Timestamp { seconds: 1000, nanos: 0 });
    let job = job.map(|name| v1::Job { name: name.into(), request_id: Some(7), since });
    let status = v1::AgentStatus {
        agent: name.into(),
        pool: "nightly".into(),
        phase: phase.into(),
        why: "leaving".into(),
        since,
        job,
        ..v1::AgentStatus::default()
    };
    let run_url = "https://dev.example/run/7".into();
    Change::Agent(v1::Agent {
        status: Some(status),
        host: host.into(),
        run_url,
        ..Default::default()
    })
}

fn live(changes: Vec<Change>) -> Live {
    let mut live = Live::default();
    for change in changes {
        live.take(v1::WatchResponse { change: Some(change) });
    }
    live
}

fn seen(kind: RestraintKind, hosts: &[&str], changes: Vec<Change>) -> Standing {
    let whom = hosts.iter().map(|host| Key::Host((*host).into())).collect();
    let now = Timestamp::from_second(1300).expect("a time");
    look(&HeldGoal { kind, whom }, &live(changes), now)
}

use RestraintKind::{Drain, Pause};
use v1::HostState::{Down, Ready};

#[test]
fn a_drain_names_each_job_with_its_age_and_the_page_of_its_run() {
    let standing = seen(
        Drain,
        &["a"],
        vec![
            host("a", Ready, restraint(Drain, false)),
            agent("n-a-01", "a", Phase::Draining, Some("build")),
            agent("n-a-02", "a", Phase::Drained, None),
            agent("n-a-03", "a", Phase::Quarantined, None),
            agent("n-b-01", "b", Phase::Busy, Some("other")),
        ],
    );
    assert_eq!(standing.state, State::Waiting);
    assert_eq!(
        (standing.line.as_str(), standing.remaining),
        ("2 agents to go, 1 at their job's end", 2)
    );
    assert_eq!(
        standing.missing,
        [
            "n-a-01 has job build for 5m, https://dev.example/run/7",
            "n-a-02 is Drained for 5m: leaving"
        ]
    );
}

#[test]
fn only_the_coordinators_word_makes_it_done() {
    let waits = seen(Drain, &["a"], vec![host("a", Ready, restraint(Drain, false))]);
    assert_eq!((waits.state, waits.remaining), (State::Waiting, 1));
    assert!(waits.line.contains("word of the hosts"), "{}", waits.line);
    let done = seen(Drain, &["a"], vec![host("a", Ready, restraint(Drain, true))]);
    assert_eq!((done.state, done.line.as_str()), (State::Reached, "drained"));
    let both =
        vec![host("a", Ready, restraint(Drain, true)), host("b", Down, restraint(Drain, false))];
    let half = seen(Drain, &["a", "b"], both);
    assert!(half.line.starts_with("1 of 2 done, "), "{}", half.line);
    assert_eq!(half.reasons, ["b is Down; nothing is known of its agents until it is back"]);
}

#[test]
fn a_pause_waits_for_jobs_and_not_for_agents_that_rest() {
    let standing = seen(
        Pause,
        &["a"],
        vec![
            host("a", Ready, restraint(Pause, false)),
            agent("n-a-01", "a", Phase::Busy, Some("build")),
            agent("n-a-02", "a", Phase::Paused, None),
        ],
    );
    assert_eq!(standing.line, "1 agent not at rest, 1 at their job's end");
}

#[test]
fn what_somebody_took_back_is_told() {
    for (now_is, part) in
        [(None, "is Active"), (restraint(Pause, false), "held back otherwise now: pause")]
    {
        let standing = seen(Drain, &["a"], vec![host("a", Ready, now_is)]);
        let State::Different(why) = standing.state else { panic!("{standing:?}") };
        assert!(why.contains(part), "{why}");
    }
    let gone = seen(Drain, &["a"], vec![]);
    assert!(matches!(gone.state, State::Different(why) if why.contains("not exist")));
}
