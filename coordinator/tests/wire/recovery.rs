//! Restarts, and stores that are behind their hosts.

use coordinator::recover::recover;
use fleet_model::{Order, Phase};
use fleet_proto::v1;
use tonic::Code;

use crate::{
    host::{BEATS, Host, keeps},
    support::{Bench, NO_AZURE},
};

#[tokio::test]
async fn after_a_restart_the_same_is_wanted_of_the_same_hosts() {
    let mut bench = Bench::start().await;
    let mut hosts =
        [Host::join(&mut bench, "h1", "svc").await, Host::join(&mut bench, "h2", "svc").await];
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut first = Vec::new();
    {
        let mut sessions = [hosts[0].open_empty(&bench).await, hosts[1].open_empty(&bench).await];
        for host in ["h1", "h2"] {
            bench.wait_host(host, |host| host.state == v1::HostState::Ready as i32).await;
        }
        bench.scale("nightly", 5).await.expect("scaled");
        for (session, count) in sessions.iter_mut().zip([3, 2]) {
            first.push(session.assigned("nightly", count).await);
        }
        bench.stop().await;
        for session in &mut sessions {
            assert_eq!(session.end().await.code(), Code::Unavailable, "told to come again");
        }
    }
    bench.begin().await;
    for (host, before) in hosts.iter_mut().zip(&first) {
        host.highest = before.order;
        let session = host.open(&bench).await;
        session.report(&keeps(&host.name, before, Phase::Idle)).await;
        let mut session = session;
        let after = session.assignment().await;
        assert_eq!(after.pools, before.pools, "nobody is drained");
        assert!(after.order >= before.order);
        host.highest = after.order;
    }
    let status = bench.status().await;
    assert_eq!(status.read_only, "");
    assert_eq!(status.pools[0].counts.as_ref().map(|c| c.desired), Some(5));
}

#[tokio::test]
async fn an_empty_store_drains_nobody_and_recover_takes_over_what_runs() {
    let mut bench = Bench::start().await;
    let mut host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let backup = bench.dir().join("backup.db");
    // The backup is of before the scale.
    copy_store(&mut bench, &backup).await;
    let kept = {
        let mut session = host.open_empty(&bench).await;
        bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
        bench.scale("nightly", 4).await.expect("scaled");
        session.assigned("nightly", 4).await
    };
    host.highest = kept.order;
    bench.stop().await;
    std::fs::copy(&backup, bench.data().join("fleet.db")).expect("restored");
    bench.begin().await;

    let mut session = host.open(&bench).await;
    session.report(&keeps(&host.name, &kept, Phase::Busy)).await;
    session.nothing_but_beats(BEATS).await;
    let refused = bench.scale("nightly", 0).await.expect_err("read-only");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let said = refused.message();
    assert!(said.contains("read-only") && said.contains("coordinator recover"), "{said}");
    assert!(bench.status().await.read_only.contains("h1"));
    bench.wait_event("fleet.read-only").await;
    // A restart forgets nothing of it.
    drop(session);
    bench.restart().await;
    assert!(bench.status().await.read_only.contains("coordinator recover"));
    let running = recover(&bench.data()).await.expect_err("it runs").to_string();
    assert!(running.contains("stop it first"), "{running}");

    bench.stop().await;
    let done = recover(&bench.data()).await.expect("recovered");
    assert!(done.after > kept.order, "{done:?} against {}", kept.order);
    bench.begin().await;
    let waiting = bench.scale("nightly", 1).await.expect_err("hosts are asked first");
    assert!(waiting.message().contains("taking over"), "{waiting}");
    let mut session = host.open(&bench).await;
    session.report(&keeps(&host.name, &kept, Phase::Busy)).await;
    let assignment = session.assignment().await;
    assert_eq!(assignment.pools["nightly"].replicas(), 4, "what runs is what is wanted");
    assert!(assignment.order > kept.order);
    let pool =
        bench.wait_pool("nightly", |pool| pool.counts.as_ref().is_some_and(|c| c.busy == 4)).await;
    assert_eq!(pool.counts.map(|c| c.desired), Some(4));
    bench.scale("nightly", 5).await.expect("and orders are taken again");
    session.assigned("nightly", 5).await;
}

#[tokio::test]
async fn a_store_without_its_hosts_adopts_them_too() {
    let mut bench = Bench::start().await;
    let backup = bench.dir().join("backup.db");
    copy_store(&mut bench, &backup).await;
    let mut host = Host::join(&mut bench, "h1", "svc").await;
    let removed = Host::join(&mut bench, "h2", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let kept = {
        let mut session = host.open_empty(&bench).await;
        bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
        bench.scale("nightly", 1).await.expect("scaled");
        session.assigned("nightly", 1).await
    };
    host.highest = kept.order;
    bench.stop().await;
    std::fs::copy(&backup, bench.data().join("fleet.db")).expect("restored");
    bench.begin().await;
    // A host that never took an order proves nothing; it is simply not known.
    let refused = removed.dial(&bench, removed.hello()).await.expect("a stream").end().await;
    assert!(refused.message().contains("not part of the fleet"), "{refused}");
    let refused = host.dial(&bench, host.hello()).await.expect("a stream").end().await;
    assert!(refused.message().contains("read-only"), "{refused}");
    bench.stop().await;
    recover(&bench.data()).await.expect("recovered");
    bench.begin().await;
    let mut session = host.open(&bench).await;
    session.report(&keeps(&host.name, &kept, Phase::Busy)).await;
    bench.wait_event("host.adopted").await;
    bench.wait_event("fleet.recovered").await;
    // The pool is unknown to the store: its agents are not spoken of, which leaves them alone.
    let assignment = session.assignment().await;
    assert!(assignment.pools.is_empty(), "{assignment:?}");
}

#[tokio::test]
async fn an_order_that_nobody_can_have_given_is_not_believed() {
    let mut bench = Bench::start().await;
    let mut host = Host::join(&mut bench, "h1", "svc").await;
    host.highest = Order::new(u64::MAX, 0);
    let refused = host.dial(&bench, host.hello()).await.expect("a stream").end().await;
    assert!(refused.message().contains("which nobody gave"), "{refused}");
    assert_eq!(bench.status().await.read_only, "");
}

/// The store as it is on disk, at rest.
async fn copy_store(bench: &mut Bench, to: &std::path::Path) {
    bench.stop().await;
    std::fs::copy(bench.data().join("fleet.db"), to).expect("copied");
    bench.begin().await;
}
