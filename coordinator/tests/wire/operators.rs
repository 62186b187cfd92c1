//! What operators ask and get, and what they are refused.

use fleet_model::Phase;
use fleet_proto::v1;
use tonic::Code;

use crate::{
    host::{BEATS, Host, keeps},
    support::{Bench, NO_AZURE, pool_request},
};

#[tokio::test]
async fn an_unknown_pool_and_absurd_counts_are_refused_and_change_nothing() {
    let mut bench = Bench::start().await;
    let none = bench.scale("nightly", 1).await.expect_err("there is none");
    assert_eq!(none.code(), Code::NotFound);
    assert!(none.message().contains("there are none yet"), "{none}");
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let unknown = bench.scale("nigthly", 1).await.expect_err("misspelt");
    assert!(unknown.message().contains("the pools are nightly"), "{unknown}");
    let before = bench.status().await;
    for count in [-1, i64::MIN, 500_001, i64::MAX] {
        let refused = bench.scale("nightly", count).await.expect_err("absurd");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let message = refused.message();
        assert!(
            message.contains(&count.to_string()) && message.contains("0 to 500000"),
            "{message}"
        );
    }
    let after = bench.status().await;
    assert_eq!((before.order, before.pools), (after.order, after.pools));
}

#[tokio::test]
async fn a_scale_is_spread_and_written_down() {
    let mut bench = Bench::start().await;
    let hosts =
        [Host::join(&mut bench, "h1", "svc").await, Host::join(&mut bench, "h2", "svc").await];
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut sessions = [hosts[0].open_empty(&bench).await, hosts[1].open_empty(&bench).await];
    for host in ["h1", "h2"] {
        bench.wait_host(host, |host| host.state == v1::HostState::Ready as i32).await;
    }
    let scaled = bench.scale("nightly", 5).await.expect("scaled");
    let placement = scaled.pool.expect("the pool").placement;
    let counts: Vec<(String, u32)> =
        placement.into_iter().map(|place| (place.host, place.replicas)).collect();
    assert_eq!(counts, [("h1".to_owned(), 3), ("h2".to_owned(), 2)]);
    sessions[0].assigned("nightly", 3).await;
    sessions[1].assigned("nightly", 2).await;
    let event = bench.wait_event("pool.scaled").await;
    assert_eq!(event.actor, "ann");
    assert_eq!(event.message, "0 → 5 agents");
    // The same again is no new order.
    let same = bench.scale("nightly", 5).await.expect("as it is");
    assert_eq!((same.order, same.before), (scaled.order, 5));
    sessions[0].nothing_but_beats(BEATS).await;
}

#[tokio::test]
async fn what_has_no_place_is_explained() {
    let mut bench = Bench::start().await;
    Host::join(&mut bench, "h1", "str").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let pool = bench.scale("nightly", 2).await.expect("taken").pool.expect("the pool");
    assert_eq!(pool.unplaced, 2);
    let said = pool.unplaced_reasons.join("; ");
    assert!(said.contains("label lab=svc is not met"), "{said}");
}

#[tokio::test]
async fn a_pool_is_created_once_and_checked_first() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut create =
        async |request| bench.operator.create_pool(request).await.expect_err("refused");
    let again = create(pool_request("nightly", "lab=svc", NO_AZURE)).await;
    assert_eq!(again.code(), Code::AlreadyExists);
    let mut no_secret = pool_request("other", "lab=svc", NO_AZURE);
    no_secret.secret.clear();
    let refused = create(no_secret).await;
    assert!(refused.message().contains("--pat-file"), "{refused}");
    let mut no_image = pool_request("other", "lab=svc", NO_AZURE);
    let spec = no_image.spec.as_mut().expect("a spec");
    spec.groups[0].template.as_mut().expect("a template").image.clear();
    let refused = create(no_image).await;
    assert!(refused.message().contains("--image"), "{refused}");
    let mut same_names = pool_request("other", "lab=svc", NO_AZURE);
    let spec = same_names.spec.as_mut().expect("a spec");
    spec.prefix = "nightly".into();
    spec.azure.as_mut().expect("a target").pool = "nightly".into();
    let refused = create(same_names).await;
    assert!(refused.message().contains("--prefix"), "{refused}");
    // Another pool's secret is not replaced by the way.
    let mut shared = pool_request("other", "lab=svc", NO_AZURE);
    shared.spec.as_mut().expect("a spec").credential = "nightly".into();
    let refused = create(shared.clone()).await;
    assert!(refused.message().contains("another secret"), "{refused}");
    shared.secret.clear();
    bench.operator.create_pool(shared).await.expect("the secret that is there");
}

#[tokio::test]
async fn a_deleted_pool_goes_when_its_last_agent_is_gone_and_not_before() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 2).await.expect("scaled");
    let assignment = session.assigned("nightly", 2).await;
    session.report(&keeps(&host.name, &assignment, Phase::Busy)).await;
    bench.wait_pool("nightly", |pool| pool.counts.as_ref().is_some_and(|c| c.busy == 2)).await;

    let delete =
        || v1::DeletePoolRequest { pool: "nightly".into(), ..v1::DeletePoolRequest::default() };
    bench.operator.delete_pool(delete()).await.expect("deleted");
    let tombstone = session.assignment().await;
    assert_eq!(tombstone.pools["nightly"].wanted, fleet_model::Wanted::Gone);
    let refused = bench.scale("nightly", 1).await.expect_err("it goes");
    assert!(refused.message().contains("being deleted"), "{refused}");
    bench.operator.delete_pool(delete()).await.expect("asked twice is as good as once");
    assert_eq!(bench.status().await.pools.len(), 1, "its agents still work");

    let mut report = keeps(&host.name, &assignment, Phase::Busy);
    report.applied = tombstone.order;
    report.full = false;
    report.removed = std::mem::take(&mut report.agents).into_iter().map(|a| a.agent).collect();
    session.report(&report).await;
    bench.wait_event("pool.gone").await;
    assert!(bench.status().await.pools.is_empty());
    // A secret that nobody uses is not kept, and the name is free again.
    bench.wait_event("credential.removed").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
}

#[tokio::test]
async fn a_new_secret_reaches_the_hosts_that_use_it() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 1).await.expect("scaled");
    let before = session.assigned("nightly", 1).await;
    let request = v1::SetCredentialRequest {
        name: "nightly".into(),
        secret: b"a-newer-token".to_vec(),
        expires: None,
    };
    let set = bench.operator.set_credential(request).await.expect("set").into_inner();
    let after = session.assignment().await;
    assert!(after.order > before.order);
    assert_eq!(Some(after.pools["nightly"].credential.clone().into()), set.credential);
    assert_eq!(session.secrets.last().expect("a secret").secret, b"a-newer-token");
}

#[tokio::test]
async fn secrets_are_sealed_on_disk() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    bench.stop().await;
    let secret = b"pat-of-nightly";
    for entry in std::fs::read_dir(bench.data()).expect("listed") {
        let path = entry.expect("an entry").path();
        let content = std::fs::read(&path).expect("readable");
        assert!(!content.windows(secret.len()).any(|w| w == secret), "{}", path.display());
    }
}

#[tokio::test]
async fn bad_labels_and_names_are_refused() {
    let mut bench = Bench::start().await;
    for (host, lab, part) in
        [("UPPER", "svc", "host"), ("h1", "", "--lab"), ("h1", "a,b", "cannot be the value")]
    {
        let request = v1::InviteHostRequest {
            host: host.into(),
            lab: lab.into(),
            ..v1::InviteHostRequest::default()
        };
        let refused = bench.operator.invite_host(request).await.expect_err(part);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{refused}");
    }
    let request = v1::ListHostsRequest { host: "h7".into() };
    let refused = bench.operator.list_hosts(request).await.expect_err("no such host");
    assert!(refused.message().contains("agentctl host invite"), "{refused}");
}
