//! What agents' homes and packages take on a real server, and which of them may go.

use std::path::Path;

use fleet_model::Mode;
use hostd::{
    guardian::{Keep, Thing},
    runtime::{Runtime, systemd::SystemdRuntime},
};

use crate::{
    bench::Bench,
    systemd::{Case, Units},
    systemd_clean::{registered, shell},
    watching::Watching,
};

pub(crate) const CASES: &[Case] = &[
    ("homes_and_packages_are_weighed_and_go_when_nobody_has_them", |b| Box::pin(unused(b))),
    ("a_package_stays_while_an_agent_is_made_of_it", |b| Box::pin(packages(b))),
];

async fn things(runtime: &SystemdRuntime, keep: &Keep) -> Vec<Thing> {
    runtime.unused(keep).await.unwrap().into_iter().map(|(thing, _)| thing).collect()
}

async fn unused(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::LongLived);
    registered(&mut watching, bench, &spec).await;
    let (runtime, agent) = (&bench.runtime, spec.run.agent.clone());
    let has_it = Keep { agents: [(agent.clone(), None)].into(), ..Keep::default() };
    let sizes = runtime.sizes(&has_it).await.unwrap();
    let package = sizes.caches.iter().find(|cache| cache.what.starts_with("package ")).unwrap();
    let own = sizes.agents[&agent];
    assert!(0 < own && own < package.bytes / 2, "{own} of {} bytes are shared", package.bytes);

    // Nobody has it, and it runs: whatever the ledger says, it stays.
    let nobody = Keep::default();
    let user = Thing::User(agent);
    assert!(!things(runtime, &nobody).await.contains(&user));
    assert_eq!(runtime.remove_unused(&user, &nobody).await.unwrap(), None);
    let home = bench.unit_json(&spec)["user"].as_str().unwrap().to_owned();
    runtime.interrupt(&spec.run).await.unwrap();
    watching.ended(&spec.run).await;
    runtime.ensure_removed(&spec.run).await.unwrap();
    assert!(!things(runtime, &has_it).await.contains(&user));
    assert!(things(runtime, &nobody).await.contains(&user));
    assert!(runtime.remove_unused(&user, &nobody).await.unwrap().is_some());
    assert!(!Path::new("/home").join(&home).exists());
    assert_eq!(shell(&format!("getent passwd {home} || echo none")).trim(), "none");
    // What was put aside goes in the next turn.
    for thing in things(runtime, &nobody).await {
        if matches!(thing, Thing::Scrap(_)) {
            runtime.remove_unused(&thing, &nobody).await.unwrap();
        }
    }
}

async fn packages(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::LongLived);
    registered(&mut watching, bench, &spec).await;
    // A hostd whose settings name no package, and whose templates name none.
    let mut settings = bench.settings.clone();
    let sha256 = settings.package.take().unwrap().sha256;
    let other = SystemdRuntime::new(settings);
    let package = Thing::Package(sha256.clone());
    let keep = Keep::default();
    assert!(!things(&other, &keep).await.contains(&package), "a home is linked to it");
    let dir = bench.settings.homes.join(".fleet-packages").join(&sha256);
    assert_eq!(other.remove_unused(&package, &keep).await.unwrap(), None);
    assert!(dir.exists());
    // A copy that nobody is linked to, under the name of another package.
    let old = "0".repeat(sha256.len());
    shell(&format!("cp -r {} {}", dir.display(), dir.with_file_name(&old).display()));
    let old_one = Thing::Package(old.clone());
    let named = Keep { packages: [old.clone()].into(), ..Keep::default() };
    assert!(!things(&other, &named).await.contains(&old_one), "a template names it");
    assert!(things(&other, &keep).await.contains(&old_one));
    assert!(other.remove_unused(&old_one, &keep).await.unwrap().is_some());
    assert!(!dir.with_file_name(&old).exists() && dir.exists());
}
