//! Removing without Azure's word: who gave leave, for how long, and what hosts are told.

use fleet_proto::v1;
use tonic::Code;

use crate::{
    host::Host,
    support::{Bench, NO_AZURE},
};

fn scale(replicas: i64, force: bool, reason: &str) -> v1::ScaleRequest {
    v1::ScaleRequest { pool: "nightly".into(), replicas, force, reason: reason.into() }
}

#[tokio::test]
async fn a_leave_reaches_the_hosts_and_the_next_plain_scale_takes_it_back() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 2).await.expect("scaled");
    session.assigned("nightly", 2).await;

    let forced = scale(0, true, " Azure is away ");
    bench.operator.scale(forced).await.expect("scaled");
    let told = session.assigned("nightly", 0).await;
    let leave = told.pools["nightly"].forced.clone().expect("a leave");
    assert_eq!(leave.to_string(), "forced by ann: Azure is away");
    let said = |events: Vec<v1::Event>| events.into_iter().rfind(|e| e.kind == "pool.scaled");
    let event = said(bench.history().await).expect("an event");
    assert_eq!(
        (event.actor.as_str(), event.message.as_str()),
        ("ann", "2 → 0 agents, forced: Azure is away")
    );
    // It is part of the pool, so a restart keeps it.
    bench.restart().await;
    let spec = bench.status().await.pools[0].spec.clone().expect("a spec");
    assert_eq!(spec.forced.expect("kept").reason, "Azure is away");

    let mut session = host.open_empty(&bench).await;
    session.assigned("nightly", 0).await;
    bench.operator.scale(scale(0, false, "all is well")).await.expect("scaled");
    let told = session.assignment().await;
    assert_eq!(told.pools["nightly"].forced, None);
    let event = said(bench.history().await).expect("an event");
    assert_eq!(
        event.message,
        "stays at 0 agents: all is well; the leave to remove without Azure's word is taken back"
    );

    // A pool that goes already may be given leave later.
    let delete = |force, reason: &str| v1::DeletePoolRequest {
        pool: "nightly".into(),
        force,
        reason: reason.into(),
    };
    bench.operator.scale(scale(1, false, "")).await.expect("scaled");
    session.assigned("nightly", 1).await;
    bench.operator.delete_pool(delete(false, "")).await.expect("deleted");
    assert_eq!(session.assignment().await.pools["nightly"].forced, None);
    bench.operator.delete_pool(delete(true, "moving out")).await.expect("forced");
    let told = session.assignment().await;
    assert_eq!(told.pools["nightly"].wanted, fleet_model::Wanted::Gone);
    assert!(told.pools["nightly"].forced.is_some());
}

#[tokio::test]
async fn a_force_without_a_reason_changes_nothing() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let before = bench.status().await;
    for reason in ["", "  ", "two\nlines", &"x".repeat(301)] {
        let refused = bench.operator.scale(scale(1, true, reason)).await.expect_err("no reason");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("the reason "), "{refused}");
    }
    let after = bench.status().await;
    assert_eq!((before.order, before.pools), (after.order, after.pools));
}
