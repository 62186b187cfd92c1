//! What containers and images take on a real engine, and which image may go.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, process::Command};

use fleet_model::{ImageRef, Mode};
use hostd::{
    guardian::{Keep, Thing},
    runtime::Runtime,
};

use crate::{
    bench::Bench,
    docker::{bench, docker, runtime},
    watching::Watching,
};

const WRITTEN: u64 = 3 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_as_large_as_what_it_wrote() {
    let bench = bench().await;
    let spec = bench.spec(1, Mode::LongLived);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let image = bench.template.image.clone().unwrap();
    let agents = BTreeMap::from([(spec.run.agent.clone(), None)]);
    let keep = Keep { agents, images: [image.clone()].into(), ..Keep::default() };
    let before = bench.runtime.sizes(&keep).await.unwrap();
    let write = format!("head -c {WRITTEN} /dev/urandom > /root/written");
    docker(&["exec", &spec.run.to_string(), "sh", "-c", &write]);
    let after = bench.runtime.sizes(&keep).await.unwrap();
    let grown = after.agents[&spec.run.agent] - before.agents[&spec.run.agent];
    assert!((WRITTEN..2 * WRITTEN).contains(&grown), "{grown} bytes");
    let own = after.caches.iter().find(|cache| cache.what == format!("image {image}"));
    assert!(own.is_some_and(|cache| cache.bytes > 1 << 20), "{:?}", after.caches);
}

/// An image of this test's own, gone with this.
struct Image(ImageRef);

impl Image {
    /// Under a second name the engine would only take the name away.
    fn like(image: &ImageRef, name: &str) -> Self {
        let tag = format!("fleet-test/{name}:1");
        let made = docker(&["create", image.as_str()]);
        docker(&["commit", made.trim(), &tag]);
        docker(&["rm", made.trim()]);
        Self(tag.parse().unwrap())
    }

    fn is_there(&self) -> bool {
        let look = Command::new("docker").args(["image", "inspect", self.0.as_str()]).output();
        look.unwrap().status.success()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["image", "rm", self.0.as_str()]).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_goes_that_hostd_pulled_and_nobody_uses() {
    let bench = bench().await;
    let base = bench.template.image.clone().unwrap();
    let host = bench.settings.host.as_str();
    let (old, used) =
        (Image::like(&base, &format!("{host}-old")), Image::like(&base, &format!("{host}-used")));
    let foreign = Image::like(&base, &format!("{host}-foreign"));
    let mut settings = bench.settings.clone();
    let file = bench.dir.path().join("pulled.json");
    fs::write(&file, serde_json::to_vec(&[&old.0, &used.0]).unwrap()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    settings.pulled = Some(file);
    let runtime = runtime(&settings);
    let keep = Keep { images: [used.0.clone()].into(), ..Keep::default() };
    let unused: Vec<Thing> =
        runtime.unused(&keep).await.unwrap().into_iter().map(|(thing, _)| thing).collect();
    assert_eq!(unused, [Thing::Image(old.0.clone())], "only what hostd pulled and nothing names");

    // A container has it: it stays, whatever was thought of it.
    let label = format!("fleet.host={host}");
    let made = docker(&["create", "--label", &label, old.0.as_str()]);
    let thing = Thing::Image(old.0.clone());
    assert_eq!(runtime.remove_unused(&thing, &keep).await.unwrap(), None);
    assert!(old.is_there());
    docker(&["rm", made.trim()]);
    for other in [&used, &foreign] {
        let thing = Thing::Image(other.0.clone());
        assert_eq!(runtime.remove_unused(&thing, &keep).await.unwrap(), None, "{}", other.0);
        assert!(other.is_there(), "{}", other.0);
    }
    assert!(runtime.remove_unused(&thing, &keep).await.unwrap().is_some());
    assert!(!old.is_there());
    assert!(runtime.unused(&keep).await.unwrap().is_empty(), "and is forgotten");
}
