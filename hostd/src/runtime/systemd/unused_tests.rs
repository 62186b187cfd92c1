#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fleet_model::Package;

use super::*;
use crate::{
    execute::ProxyForAzure,
    runtime::{package, systemd::SystemdSettings},
};

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const OWN: &str = "3333333333333333333333333333333333333333333333333333333333333333";

fn runtime(dir: &Path) -> SystemdRuntime {
    SystemdRuntime::new(SystemdSettings {
        package: Some(Package { source: "/nowhere".into(), sha256: OWN.to_ascii_uppercase() }),
        homes: dir.join("homes"),
        first_uid: 40_000,
        users_file: dir.join("users.json"),
        runs_dir: dir.join("runs"),
        remembered: dir.join("units"),
        program: "/bin/true".into(),
        proxy: ProxyForAzure(None),
        bus: "unix:path=/nowhere".into(),
        engine: dir.join("none"),
    })
}

fn unpacked(dir: &Path, sha256: &str) -> PathBuf {
    let place = dir.join("homes/.fleet-packages").join(sha256);
    fs::create_dir_all(place.join("bin/deep")).unwrap();
    fs::write(place.join("bin/Agent.Listener"), vec![1; 1 << 16]).unwrap();
    fs::write(place.join("bin/deep/one"), "x").unwrap();
    // One file under two names, as packages have it.
    fs::hard_link(place.join("bin/Agent.Listener"), place.join("bin/Agent.Worker")).unwrap();
    fs::write(place.join("config.sh"), "x").unwrap();
    place
}

async fn things(runtime: &SystemdRuntime, keep: &Keep) -> Vec<Thing> {
    runtime.unused_things(keep).await.unwrap().into_iter().map(|(thing, _)| thing).collect()
}

#[tokio::test]
async fn a_package_goes_only_when_nothing_names_it_and_nothing_is_linked_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime(dir.path());
    let (one, two) = (unpacked(dir.path(), ONE), unpacked(dir.path(), TWO));
    unpacked(dir.path(), OWN);
    let named = Keep { packages: [ONE.to_owned()].into(), ..Keep::default() };
    let package = |sum: &str| Thing::Package(sum.to_owned());
    assert_eq!(things(&runtime, &named).await, [package(TWO)]);
    // An agent's home is linked to it, at whatever depth.
    let home = dir.path().join("homes/az-1/agent");
    package::unfold(&two, &home).unwrap();
    assert_eq!(things(&runtime, &named).await, []);
    assert_eq!(runtime.remove_thing(&package(TWO), &named).await.unwrap(), None);
    for name in ["bin/Agent.Listener", "bin/Agent.Worker"] {
        fs::remove_file(home.join(name)).unwrap();
        assert_eq!(things(&runtime, &named).await, [], "another file of it is still linked");
    }
    fs::remove_dir_all(home).unwrap();
    // An agent is about to be made of it.
    let wanted = Package { source: "/nowhere".into(), sha256: TWO.to_owned() };
    assert_eq!(runtime.packages.ensure(&wanted).await.unwrap(), two);
    assert_eq!(things(&runtime, &named).await, []);
    assert_eq!(runtime.remove_thing(&package(TWO), &named).await.unwrap(), None);
    assert!(two.exists());
    // Nothing names this one any more; the settings' own stays.
    let bytes = runtime.remove_thing(&package(ONE), &Keep::default()).await.unwrap();
    assert!(bytes.is_some_and(|bytes| bytes >= 1 << 16), "{bytes:?}");
    assert!(!one.exists() && two.exists());
    assert_eq!(runtime.remove_thing(&package(OWN), &Keep::default()).await.unwrap(), None);
}

#[tokio::test]
async fn half_a_package_goes_unless_somebody_is_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime(dir.path());
    let store = dir.path().join("homes/.fleet-packages");
    fs::create_dir_all(store.join(format!("{ONE}.new/bin"))).unwrap();
    for name in [format!("{ONE}.tar.gz"), "notes.txt".into(), "0.new".into()] {
        fs::write(store.join(name), "x").unwrap();
    }
    let half = [".new", ".tar.gz"].map(|end| Thing::Scrap(format!("{ONE}{end}")));
    assert_eq!(things(&runtime, &Keep::default()).await, half);
    let turn = runtime.packages.turn.lock().await;
    assert_eq!(things(&runtime, &Keep::default()).await, []);
    assert_eq!(runtime.remove_thing(&half[0], &Keep::default()).await.unwrap(), None);
    drop(turn);
    for thing in &half {
        assert!(runtime.remove_thing(thing, &Keep::default()).await.unwrap().is_some());
    }
    let left: Vec<_> = entries(&store).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["0.new", "notes.txt"], "not ours");
}

#[test]
fn a_package_counts_once_and_an_agent_what_it_has_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let package = unpacked(dir.path(), ONE);
    let homes: Vec<(AgentName, PathBuf)> = ["p-h-01", "p-h-02"]
        .map(|name| (name.parse().unwrap(), dir.path().join("homes").join(name)))
        .into();
    for (_, home) in &homes {
        package::unfold(&package, &home.join("agent")).unwrap();
        fs::write(home.join("own"), vec![1; 1 << 17]).unwrap();
    }
    let sizes = weigh(&dir.path().join("homes/.fleet-packages"), &homes);
    assert_eq!(sizes.caches.len(), 1);
    assert_eq!(sizes.caches[0].what, "package 111111111111");
    assert!(sizes.caches[0].bytes >= 1 << 16);
    for bytes in sizes.agents.values() {
        assert!((1 << 17..(1 << 17) + (1 << 16)).contains(bytes), "{bytes}");
    }
}
