//! Groups of a pool: added, removed, refused, shown.

use crate::{
    samples::{SVC, fleet},
    world::{World, shown},
};

const SUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn add<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["group", "add", "nightly-svc", name, "--selector", "lab=tk5"], more].concat()
}

#[tokio::test]
async fn a_group_of_units_is_added_and_shown() {
    let world = World::start(fleet()).await;
    let args = add(
        "units",
        &[
            "--runtime",
            "systemd",
            "--mode",
            "long-lived",
            "--package",
            "https://packages.example/agent-4.tar.gz",
            "--package-sha256",
            SUM,
            "--docker-group",
            "--env",
            "GPU=h200",
            "--cpu",
            "2",
            "--memory",
            "4g",
            "--weight",
            "3",
            "--max-per-host",
            "2",
        ],
    );
    let added = world.run(&args).await;
    let again = world.run(&args).await;
    world.state().change_pool("nightly-svc", |pool| {
        let place = |host: &str, group: &str, replicas| fleet_proto::v1::PlacedCount {
            host: host.into(),
            group: group.into(),
            replicas,
        };
        pool.placement = vec![place(SVC, "default", 1), place("tk5-1", "units", 2)];
    });
    let wide = world.run(&["get", "pools", "nightly-svc", "-o", "wide"]).await;
    let json = world.run(&["get", "pools", "nightly-svc", "-o", "json"]).await;
    let (_, groups) = json.split_once("\"groups\"").unwrap();
    shown!(format!("{added}{again}{wide}{groups}"));
}

#[tokio::test]
async fn what_cannot_be_a_group_is_refused_before_anything_is_sent() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for more in [
        &["--runtime", "systemd", "--image", "a:1"][..],
        &["--runtime", "systemd", "--docker-socket"],
        &["--runtime", "systemd", "--cache", "nuget:/nuget"],
        &["--image", "a:1", "--docker-group"],
        &["--image", "a:1", "--package", "/srv/agent.tar.gz", "--package-sha256", SUM],
        &["--runtime", "systemd", "--package", "/srv/agent.tar.gz"],
        &["--runtime", "systemd", "--package", "/srv/a", "--package-sha256", "12ab"],
        &["--runtime", "systemd", "--package", "https://u:p@x/a", "--package-sha256", SUM],
        &["--http-proxy", "http://u:p@proxy.example:1", "--image", "a:1"],
        &["--runtime", "incus"],
        &[],
    ] {
        let output = world.run(&add("units", more)).await;
        assert!(!output.contains("u:p@"), "{output}");
        all += &format!("$ {}\n{output}", more.join(" "));
    }
    shown!(all);
    assert!(world.state().log.is_empty());
}

#[tokio::test]
async fn a_group_is_removed_but_not_the_last_one() {
    let world = World::start(fleet()).await;
    world.run(&add("units", &["--runtime", "systemd"])).await;
    let mut all = String::new();
    for (pool, group) in [
        ("nightly-svc", "units"),
        ("nightly-svc", "units"),
        ("nightly-svc", "default"),
        ("nightly-svc", "unit"),
        ("nigthly-svc", "units"),
    ] {
        all += &format!("$ group remove {pool} {group}\n");
        all += &world.run(&["group", "remove", pool, group]).await;
    }
    shown!(all);
}

#[tokio::test]
async fn another_group_under_a_name_that_is_taken_is_refused() {
    let world = World::start(fleet()).await;
    let taken = world.run(&add("default", &["--runtime", "systemd"])).await;
    let mut unknown = add("units", &["--runtime", "systemd"]);
    unknown[2] = "nigthly-svc";
    let unknown = world.run(&unknown).await;
    shown!(format!("{taken}{unknown}"));
}
