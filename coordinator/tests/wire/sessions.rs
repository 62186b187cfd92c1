//! Sessions: who may speak, what comes in which order, who gives way.

use fleet_model::{Order, Phase};
use fleet_proto::v1::{self, session_request, session_response};
use tonic::Code;

use crate::{
    host::{BEATS, Host, keeps},
    support::{Bench, NO_AZURE, pool_request},
};

#[tokio::test]
async fn a_host_joins_is_told_what_to_keep_and_beats() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    let scaled = bench.scale("nightly", 3).await.expect("scaled");
    assert_eq!(scaled.before, 0);
    let assignment = session.assigned("nightly", 3).await;
    assert_eq!(Some(assignment.order.into()), scaled.order);
    let part = &assignment.pools["nightly"];
    assert_eq!(part.azure.pool, "nightly");
    let secret = session.secrets.last().expect("the secret came first");
    assert_eq!(secret.secret, b"pat-of-nightly", "without the newline of its file");
    assert_eq!(secret.credential, Some(part.credential.clone().into()));
    // The heartbeat names the order, so that a host notices what it missed.
    while session.heartbeat().await != assignment.order {}

    session.report(&keeps(&host.name, &assignment, Phase::Idle)).await;
    let pool =
        bench.wait_pool("nightly", |pool| pool.counts.as_ref().is_some_and(|c| c.ready == 3)).await;
    assert_eq!(pool.counts.expect("counts").idle, 3);
    bench.wait_host("h1", |host| host.agents == 3 && host.applied == host.ordered).await;
}

#[tokio::test]
async fn a_host_speaks_only_as_itself_and_begins_with_hello() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    Host::join(&mut bench, "h2", "svc").await;
    let mut hello = host.hello();
    hello.host = "h2".parse().expect("a name");
    let refused = host.dial(&bench, hello).await.expect("a stream").end().await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("only speak as itself"), "{refused}");
    let event = bench.wait_event("host.refused").await;
    assert_eq!(event.host, "h1");

    let mut session = host.open(&bench).await;
    session.send(session_request::Message::Hello(host.hello().into())).await;
    let end = session.end().await;
    bench.wait_event("host.disconnected").await;
    assert!(end.message().contains("said Hello twice"), "{end:?}");
}

#[tokio::test]
async fn a_report_that_cannot_be_read_ends_the_session_and_changes_nothing() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut session = host.open_empty(&bench).await;
    let agent = v1::AgentStatus { agent: "a b".into(), ..v1::AgentStatus::default() };
    let report = v1::Report {
        full: true,
        applied: Some(v1::Order::default()),
        agents: vec![agent],
        ..v1::Report::default()
    };
    session.send(session_request::Message::Report(report)).await;
    let end = session.end().await;
    assert_eq!(end.code(), Code::InvalidArgument, "{end:?}");
    assert!(end.message().contains("agents[0]"), "{end:?}");
    let agents = bench.operator.list_agents(v1::ListAgentsRequest::default()).await;
    assert!(agents.expect("a list").into_inner().agents.is_empty());
}

#[tokio::test]
async fn a_second_live_instance_is_refused_and_the_first_goes_on() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut first = host.open_empty(&bench).await;
    let mut hello = host.hello();
    hello.instance_id = "copy".into();
    let mut second = host.dial(&bench, hello).await.expect("a stream");
    // The first one goes on speaking, as a living host does.
    let refused = {
        let ended = second.end();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                refused = &mut ended => break refused,
                _ = first.heartbeat() => first.beat(Order::default()).await,
            }
        }
    };
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("in session from another place"), "{refused}");
    first.heartbeat().await;
    let event = bench.wait_event("host.second-instance").await;
    assert_eq!(event.host, "h1");
}

#[tokio::test]
async fn a_restarted_host_takes_over_from_its_silent_past() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut silent = host.open_empty(&bench).await;
    let mut hello = host.hello();
    hello.instance_id = "after the restart".into();
    // The old stream is open, but nobody speaks on it.
    let mut session = host.dial(&bench, hello).await.expect("a stream");
    let welcome = session.next().await.expect("welcomed");
    assert!(matches!(welcome, session_response::Message::Welcome(_)), "{welcome:?}");
    assert_eq!(silent.end().await.code(), Code::Aborted);
    assert!(bench.history().await.iter().all(|event| event.kind != "host.second-instance"));
}

#[tokio::test]
async fn a_new_stream_of_the_same_instance_takes_over_at_once() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut older = host.open_empty(&bench).await;
    let mut newer = host.open_empty(&bench).await;
    assert_eq!(older.end().await.code(), Code::Aborted);
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    bench.scale("nightly", 1).await.expect("scaled");
    newer.assigned("nightly", 1).await;
    // What the older one still says is nobody's word any more.
    older.beat(Order::new(9, 9)).await;
    newer.heartbeat().await;
    let applied = bench.status().await.hosts[0].applied;
    assert_eq!(applied, Some(v1::Order::default()));
}

#[tokio::test]
async fn a_silent_host_loses_its_session_after_the_lease() {
    let mut bench = Bench::start_with(|config| {
        config.lease = config.heartbeat * 3;
    })
    .await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut session = host.open_empty(&bench).await;
    let end = session.end().await;
    assert!(end.message().contains("not heard of"), "{end:?}");
    bench.wait_host("h1", |host| host.state == v1::HostState::Disconnected as i32).await;
}

#[tokio::test]
async fn a_slow_host_gets_the_newest_assignment_and_not_all_of_them() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    // Each assignment fills the connection's window, so that the host's slowness is felt at once.
    let mut request = pool_request("nightly", "lab=svc", NO_AZURE);
    let group = &mut request.spec.as_mut().expect("a spec").groups[0];
    let template = group.template.as_mut().expect("a template");
    template.env.insert("LARGE".into(), "x".repeat(100_000));
    bench.operator.create_pool(request).await.expect("created");
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    // The host reads nothing meanwhile.
    for replicas in 1..=200 {
        bench.scale("nightly", replicas).await.expect("scaled");
    }
    let mut seen = 0;
    loop {
        let assignment = session.assignment().await;
        seen += 1;
        if assignment.pools.get("nightly").is_some_and(|part| part.replicas() == 200) {
            break;
        }
    }
    // What the connection itself holds (2 MiB) comes first; the rest was never sent.
    assert!(seen <= 60, "{seen} assignments of 200");
    session.nothing_but_beats(BEATS).await;
}

#[tokio::test]
async fn what_a_host_notes_stands_in_the_history_under_its_own_name() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let session = host.open_empty(&bench).await;
    let note = v1::HostEvent {
        at: None,
        kind: "agent.disabled".into(),
        pool: "nightly".into(),
        agent: "nightly-h1-01".into(),
        message: "surplus".into(),
    };
    session.send(session_request::Message::Event(note.clone())).await;
    let event = bench.wait_event("agent.disabled").await;
    assert_eq!((event.actor.as_str(), event.host.as_str()), ("host h1", "h1"));
    let odd = v1::HostEvent { kind: "no word\n".into(), ..note };
    session.send(session_request::Message::Event(odd)).await;
    bench.wait_event("host.event").await;
}
