//! Cordon, pause and drain: from an operator through scripted hosts to the word that it is done.

use std::time::Duration;

use fleet_model::{HostReport, Phase};
use fleet_proto::v1::{self, RestrainVerb, RestraintKind, restrain_request::Target as Asked};
use tonic::{Code, Status};

use crate::{
    azure::{host_with_agent, set_enabled, sim},
    host::{Host, Session, keeps},
    support::{Bench, NO_AZURE},
};

fn request(target: Asked, verb: RestrainVerb) -> v1::RestrainRequest {
    v1::RestrainRequest {
        target: Some(target),
        verb: verb.into(),
        reason: "disk swap".into(),
        ..v1::RestrainRequest::default()
    }
}

fn host(name: &str, verb: RestrainVerb) -> v1::RestrainRequest {
    request(Asked::Name(name.into()), verb)
}

async fn ask(
    bench: &mut Bench,
    request: v1::RestrainRequest,
) -> Result<v1::RestrainResponse, Status> {
    bench.operator.restrain(request).await.map(tonic::Response::into_inner)
}

/// Two hosts of lab svc, two agents on each.
async fn fleet() -> (Bench, [(Host, Session); 2]) {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut hosts = Vec::new();
    for name in ["h1", "h2"] {
        let host = Host::join(&mut bench, name, "svc").await;
        let session = host.open_empty(&bench).await;
        bench.wait_host(name, |host| host.state == v1::HostState::Ready as i32).await;
        hosts.push((host, session));
    }
    bench.scale("nightly", 4).await.expect("scaled");
    for (host, session) in &mut hosts {
        let assignment = session.assigned("nightly", 2).await;
        session.report(&keeps(&host.name, &assignment, Phase::Idle)).await;
        bench.wait_host(host.name.as_str(), |host| host.agents == 2).await;
    }
    let hosts = hosts.try_into().unwrap_or_else(|_| panic!("two hosts"));
    (bench, hosts)
}

#[tokio::test]
async fn a_drain_moves_agents_away_and_is_done_when_the_host_says_that_none_is_left() {
    let (mut bench, [(h1, mut first), (_, mut second)]) = fleet().await;
    let answer = ask(&mut bench, host("h1", RestrainVerb::Drain)).await.expect("accepted");
    let one = &answer.restrained[0];
    assert_eq!((one.host.as_str(), one.before.clone()), ("h1", None));
    let drain = one.after.clone().expect("a drain");
    assert_eq!(
        (drain.kind(), drain.by.as_str(), drain.reason.as_str()),
        (RestraintKind::Drain, "ann", "disk swap")
    );
    let told = first.assigned("nightly", 0).await;
    let draining = v1::Availability::Draining as i32;
    let seen = bench.wait_host("h1", |host| host.availability == draining).await;
    assert_eq!(seen.restraint.expect("a drain").done, None, "its agents are there");
    let event = bench.wait_event("host.draining").await;
    assert_eq!((event.actor.as_str(), event.host.as_str()), ("ann", "h1"));
    assert_eq!(event.message, "Active → Draining: disk swap");
    // Its agents go, and it has taken the order.
    let gone = HostReport { full: true, applied: told.order, ..HostReport::default() };
    first.report(&gone).await;
    // Never more than four: the other one is told as they leave.
    second.assigned("nightly", 4).await;
    bench.wait_host("h1", |host| host.restraint.as_ref().is_some_and(|r| r.done.is_some())).await;
    let event = bench.wait_event("host.drained").await;
    assert_eq!((event.actor.as_str(), event.host.as_str()), ("coordinator", "h1"));
    // A restart of the coordinator forgets nothing of it.
    drop(first);
    bench.restart().await;
    let again = bench.wait_host("h1", |host| host.availability == draining).await;
    assert_eq!(again.restraint.expect("a drain").reason, "disk swap");
    let _first = h1.open_empty(&bench).await;
    ask(&mut bench, host("h1", RestrainVerb::Uncordon)).await.expect("accepted");
    bench.wait_host("h1", |host| host.restraint.is_none()).await;
    assert_eq!(bench.wait_event("host.uncordoned").await.message, "Draining → Active: disk swap");
}

#[tokio::test]
async fn a_pause_reaches_the_hosts_of_a_lab_and_ends_with_resume() {
    let (mut bench, [(_, mut first), (_, mut second)]) = fleet().await;
    let lab = || Asked::Lab("svc".into());
    let answer = ask(&mut bench, request(lab(), RestrainVerb::Pause)).await.expect("accepted");
    let names: Vec<&str> = answer.restrained.iter().map(|one| one.host.as_str()).collect();
    assert_eq!(names, ["h1", "h2"]);
    for session in [&mut first, &mut second] {
        let told = session.assigned("nightly", 2).await;
        let part = told.pools.values().next().expect("the pool");
        assert_eq!(part.paused.as_deref(), Some("ann: disk swap"));
    }
    ask(&mut bench, request(lab(), RestrainVerb::Resume)).await.expect("accepted");
    let told = first.assigned("nightly", 2).await;
    assert_eq!(told.pools.values().next().expect("the pool").paused, None);
}

#[tokio::test]
async fn a_pause_is_done_only_when_azure_shows_the_rows_disabled() {
    let sim = sim().await;
    let mut bench = Bench::start().await;
    let (mut session, id) = host_with_agent(&mut bench, &sim).await;
    let pool = Asked::Pool("nightly".into());
    ask(&mut bench, request(pool, RestrainVerb::Pause)).await.expect("accepted");
    let told = session.assigned("nightly", 1).await;
    let mut report = keeps(&"h1".parse().expect("host"), &told, Phase::Paused);
    (report.full, report.agents[0].agent_id) = (true, Some(id));
    session.report(&report).await;
    let paused = |pool: &v1::Pool| pool.spec.as_ref().and_then(|spec| spec.restraint.clone());
    let seen = bench.wait_pool("nightly", |pool| pool.counts.is_some_and(|c| c.paused == 1)).await;
    assert_eq!(paused(&seen).expect("a pause").done, None, "its row is enabled");
    set_enabled(&sim, id, "nightly-h1-01", false).await;
    bench.wait_pool("nightly", |pool| paused(pool).is_some_and(|r| r.done.is_some())).await;
    assert_eq!(bench.wait_event("pool.at-rest").await.pool, "nightly");
}

#[tokio::test]
async fn a_deadline_that_passes_does_what_was_chosen_and_a_time_that_is_over_ends_it() {
    let (mut bench, [(_, mut first), _]) = fleet().await;
    let short = |verb, at_deadline: v1::AtDeadline| v1::RestrainRequest {
        deadline: Some(wire(Duration::from_millis(300))),
        at_deadline: at_deadline.into(),
        ..host("h1", verb)
    };
    ask(&mut bench, short(RestrainVerb::Drain, v1::AtDeadline::GiveUp)).await.expect("accepted");
    first.assigned("nightly", 0).await;
    let event = bench.wait_event("host.uncordoned").await;
    assert!(event.message.contains("is given up (ann: disk swap)"), "{}", event.message);
    assert_eq!(event.actor, "coordinator");
    ask(&mut bench, short(RestrainVerb::Drain, v1::AtDeadline::Wait)).await.expect("accepted");
    bench.wait_event("host.late").await;
    let draining = bench.wait_host("h1", |host| host.restraint.is_some()).await;
    assert!(draining.restraint.expect("a drain").deadline.expect("one").passed);
    let brief = v1::RestrainRequest {
        lasts: Some(wire(Duration::from_millis(300))),
        ..host("h2", RestrainVerb::Pause)
    };
    ask(&mut bench, brief).await.expect("accepted");
    assert!(bench.wait_event("host.resumed").await.message.contains("time of the pause is over"));
}

fn wire(length: Duration) -> prost_types::Duration {
    fleet_proto::convert::wire_duration(length)
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_a_dry_run_changes_nothing() {
    let (mut bench, _sessions) = fleet().await;
    let dry = v1::RestrainRequest { dry_run: true, ..host("h1", RestrainVerb::Drain) };
    let answer = ask(&mut bench, dry).await.expect("a look");
    assert!(answer.restrained[0].after.is_some());
    ask(&mut bench, host("h2", RestrainVerb::Pause)).await.expect("accepted");
    let unclear = v1::RestrainRequest { target: None, ..host("h1", RestrainVerb::Drain) };
    let late = v1::RestrainRequest {
        deadline: Some(wire(Duration::from_secs(60))),
        lasts: Some(wire(Duration::from_secs(60))),
        ..host("h1", RestrainVerb::Drain)
    };
    let senseless = v1::RestrainRequest {
        deadline: Some(wire(Duration::from_secs(60))),
        ..host("h1", RestrainVerb::Cordon)
    };
    let endless = v1::RestrainRequest {
        lasts: Some(wire(Duration::from_secs(91 * 86_400))),
        ..host("h1", RestrainVerb::Pause)
    };
    for (request, code, part) in [
        (host("h9", RestrainVerb::Drain), Code::NotFound, "neither a host nor a pool \"h9\""),
        (
            request(Asked::Lab("tk9".into()), RestrainVerb::Drain),
            Code::NotFound,
            "the labs are svc",
        ),
        (host("h2", RestrainVerb::Uncordon), Code::FailedPrecondition, "agentctl resume h2"),
        (unclear, Code::InvalidArgument, "name a host, a pool or a lab"),
        (late, Code::InvalidArgument, "not before the end"),
        (senseless, Code::InvalidArgument, "a pause or a drain only"),
        (endless, Code::InvalidArgument, "90 days"),
        (host("h1", RestrainVerb::Unspecified), Code::InvalidArgument, "verb"),
    ] {
        let refused = ask(&mut bench, request).await.expect_err(part);
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(part), "{} should say {part:?}", refused.message());
    }
    let first = bench.wait_host("h1", |_| true).await;
    assert_eq!(first.restraint, None, "nothing of all that changed it");
    assert!(
        bench
            .history()
            .await
            .iter()
            .all(|event| event.host != "h1" || event.kind != "host.draining")
    );
}
