//! Watches and the history: the state, a mark, then every change; slow readers cost nothing.

use fleet_proto::v1::{self, watch_response::Change};

use crate::support::{Bench, NO_AZURE, wait_in};

#[tokio::test]
async fn a_watch_begins_with_the_state_and_a_mark() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    bench.invite("h1", "svc").await;
    let request = v1::WatchRequest { pools: true, hosts: true, ..v1::WatchRequest::default() };
    let mut watch = bench.operator.watch(request).await.expect("a watch").into_inner();
    let mut seen = Vec::new();
    loop {
        let change = watch.message().await.expect("live").expect("goes on").change;
        match change.expect("a change") {
            Change::Pool(pool) => seen.push(pool.spec.expect("a spec").name),
            Change::Host(host) => seen.push(host.name),
            Change::Synced(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["h1", "nightly"]);
    bench.scale("nightly", 4).await.expect("scaled");
    let desired = |change: &Change| match change {
        Change::Pool(pool) => pool.counts.as_ref().map(|c| c.desired).filter(|d| *d == 4),
        _ => None,
    };
    wait_in(&mut watch, desired).await;
    let remove = v1::RemoveHostRequest { host: "h1".into(), force: false };
    bench.operator.remove_host(remove).await.expect("removed");
    let removed = |change: &Change| (*change == Change::HostRemoved("h1".into())).then_some(());
    wait_in(&mut watch, removed).await;
}

#[tokio::test]
async fn a_slow_watcher_gets_the_newest_and_holds_nobody_back() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let request = v1::WatchRequest { pools: true, ..v1::WatchRequest::default() };
    let mut slow = bench.operator.watch(request).await.expect("a watch").into_inner();
    // It reads nothing while the pool changes a thousand times.
    for replicas in 1..=1000 {
        bench.scale("nightly", replicas).await.expect("scaled at once");
    }
    let mut messages = 0;
    loop {
        let change = slow.message().await.expect("live").expect("goes on").change;
        messages += 1;
        if let Some(Change::Pool(pool)) = change
            && pool.counts.is_some_and(|counts| counts.desired == 1000)
        {
            break;
        }
    }
    assert!(messages < 500, "changes are coalesced: {messages} messages for 1000 changes");
}

#[tokio::test]
async fn misspelt_names_and_empty_watches_are_refused() {
    let mut bench = Bench::start().await;
    let nothing = bench.operator.watch(v1::WatchRequest::default()).await.expect_err("nothing");
    assert!(nothing.message().contains("what to watch"), "{nothing}");
    let request =
        v1::WatchRequest { pools: true, pool: "nope".into(), ..v1::WatchRequest::default() };
    let unknown = bench.operator.watch(request).await.expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn the_history_is_read_from_a_place_and_followed() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    bench.create_pool("other", "lab=svc", NO_AZURE).await;
    let request = v1::ListEventsRequest {
        follow: true,
        pool: "nightly".into(),
        limit: 1,
        ..v1::ListEventsRequest::default()
    };
    let mut stream = bench.operator.list_events(request).await.expect("a stream").into_inner();
    let mut next = async || {
        let response = stream.message().await.expect("live").expect("goes on");
        response.event.expect("an event")
    };
    assert_eq!(next().await.pool, "nightly");
    bench.scale("other", 1).await.expect("scaled");
    bench.scale("nightly", 1).await.expect("scaled");
    let found = loop {
        let event = next().await;
        assert_eq!(event.pool, "nightly");
        if event.kind == "pool.scaled" {
            break event;
        }
    };
    let request = v1::ListEventsRequest {
        after_seq: found.seq - 1,
        limit: 1,
        ..v1::ListEventsRequest::default()
    };
    let mut page = bench.operator.list_events(request).await.expect("a page").into_inner();
    let event = page.message().await.expect("live").expect("one").event.expect("an event");
    assert_eq!(event, found);
    assert!(page.message().await.expect("its end").is_none());
}
