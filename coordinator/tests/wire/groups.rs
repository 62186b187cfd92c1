//! Groups of a pool: what operators ask, what hosts are told, what is written down.

use fleet_model::{GroupName, Mode, Phase, Template};
use fleet_proto::v1;
use tonic::{Code, Status};

use crate::{
    host::{Host, keeps},
    support::{Bench, NO_AZURE},
};

fn group(name: &str, template: Template) -> v1::GroupSpec {
    v1::GroupSpec {
        name: name.into(),
        selector: "lab=svc".into(),
        template: Some(template.into()),
        weight: 1,
        max_per_host: None,
    }
}

fn containers(image: &str) -> Template {
    Template::docker(image.parse().expect("an image"), Mode::Once)
}

async fn add(
    bench: &mut Bench,
    pool: &str,
    group: v1::GroupSpec,
) -> Result<v1::AddGroupResponse, Status> {
    let request = v1::AddGroupRequest { pool: pool.into(), group: Some(group) };
    Ok(bench.operator.add_group(request).await?.into_inner())
}

async fn remove(
    bench: &mut Bench,
    pool: &str,
    group: &str,
) -> Result<v1::RemoveGroupResponse, Status> {
    let request = v1::RemoveGroupRequest { pool: pool.into(), group: group.into() };
    Ok(bench.operator.remove_group(request).await?.into_inner())
}

fn name(text: &str) -> GroupName {
    text.parse().expect("a group")
}

#[tokio::test]
async fn a_group_takes_its_share_and_gives_it_back() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 4).await.expect("scaled");
    session.assigned("nightly", 4).await;

    let added = add(&mut bench, "nightly", group("other", containers("b:2"))).await.expect("added");
    assert!(added.changed);
    let told = session.assignment().await;
    let part = &told.pools["nightly"];
    for group in ["default", "other"] {
        assert_eq!(part.group(&name(group)).expect(group).replicas, 2, "{group}");
    }
    let event = bench.wait_event("pool.group-added").await;
    assert_eq!(event.actor, "ann");
    assert_eq!(
        event.message,
        "groups default → default, other; other: docker, once, on lab=svc, weight 1"
    );
    let again = add(&mut bench, "nightly", group("other", containers("b:2"))).await.expect("fine");
    assert_eq!((again.changed, again.order), (false, added.order));

    session.report(&keeps(&host.name, &told, Phase::Busy)).await;
    bench.wait_pool("nightly", |pool| pool.counts.as_ref().is_some_and(|c| c.busy == 4)).await;
    let removed = remove(&mut bench, "nightly", "other").await.expect("removed");
    assert!(removed.changed && removed.order != added.order);
    let told = session.assignment().await;
    let part = &told.pools["nightly"];
    assert!(part.gone_groups.contains(&name("other")), "the host is told in so many words");
    // Those that leave count until they are gone.
    assert_eq!((part.group(&name("other")), part.replicas()), (None, 2));
    let event = bench.wait_event("pool.group-removed").await;
    assert!(event.message.starts_with("groups default, other → default;"), "{}", event.message);
    let twice = remove(&mut bench, "nightly", "other").await.expect("as good as once");
    assert!(!twice.changed);
    // Its agents still work, built as they were.
    let early = add(&mut bench, "nightly", group("other", containers("c:3"))).await;
    let early = early.expect_err("they are not gone");
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert!(early.message().contains("not all left h1; wait"), "{early}");
    session.report(&keeps(&host.name, &told, Phase::Idle)).await;
    let told = session.assigned("nightly", 4).await;
    session.report(&keeps(&host.name, &told, Phase::Idle)).await;
    bench.wait_pool("nightly", |pool| pool.counts.as_ref().is_some_and(|c| c.idle == 4)).await;
    let late = add(&mut bench, "nightly", group("other", containers("c:3"))).await.expect("now");
    assert!(late.changed);
    let told = session.assignment().await;
    assert!(told.pools["nightly"].gone_groups.is_empty());
}

#[tokio::test]
async fn what_groups_cannot_do_is_refused_and_changes_nothing() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let before = bench.status().await;
    let units = || group("units", Template::systemd(Mode::Once));
    let mut wrong = units();
    wrong.template.as_mut().expect("a template").image = "a:1".into();
    let unnamed = v1::GroupSpec { name: String::new(), ..units() };
    let same_name = group("default", containers("b:2"));
    for (refused, code, part) in [
        (add(&mut bench, "nigthly", units()).await, Code::NotFound, "the pools are nightly"),
        (
            add(&mut bench, "nightly", wrong).await,
            Code::InvalidArgument,
            "--image does not go with",
        ),
        (add(&mut bench, "nightly", unnamed).await, Code::InvalidArgument, "group.name"),
        (add(&mut bench, "nightly", same_name).await, Code::AlreadyExists, "exists already"),
    ] {
        let refused = refused.expect_err(part);
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
    for (pool, group, code, part) in [
        ("nigthly", "default", Code::NotFound, "the pools are nightly"),
        ("nightly", "default", Code::FailedPrecondition, "agentctl pool delete nightly"),
        ("nightly", "units", Code::InvalidArgument, "its groups are default"),
        ("nightly", "a b", Code::InvalidArgument, "a b"),
    ] {
        let refused = remove(&mut bench, pool, group).await.expect_err(part);
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
    let after = bench.status().await;
    assert_eq!((before.order, before.pools), (after.order, after.pools));
    let delete = v1::DeletePoolRequest { pool: "nightly".into(), ..Default::default() };
    add(&mut bench, "nightly", units()).await.expect("a second one");
    bench.restart().await;
    assert_eq!(bench.status().await.pools[0].spec.as_ref().expect("a spec").groups.len(), 2);
    remove(&mut bench, "nightly", "units").await.expect("removed");
    bench.restart().await;
    let pools = bench.status().await.pools;
    assert_eq!(pools[0].spec.as_ref().expect("a spec").gone_groups, ["units"]);
    bench.operator.delete_pool(delete).await.expect("deleted");
    let gone = add(&mut bench, "nightly", units()).await.expect_err("it goes");
    assert!(matches!(gone.code(), Code::FailedPrecondition | Code::NotFound), "{gone}");
}
