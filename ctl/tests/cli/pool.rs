//! Care of the pools.

use crate::{
    fake::Act,
    samples::fleet,
    world::{World, shown, write_file},
};

const TOKEN: &str = "pat-do-not-show-0123456789";

fn create<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let basics = [
        "pool",
        "create",
        "nightly-tk5",
        "--azure-url",
        "https://dev.example/fabrikam/",
        "--selector",
        "lab=tk5",
    ];
    [&basics[..], more].concat()
}

#[tokio::test]
async fn a_pool_is_created_with_all_it_was_given() {
    let world = World::start(fleet()).await;
    let args = create(&[
        "--image",
        "registry.example:5000/agent:4",
        "--mode",
        "long-lived",
        "--entry",
        "image",
        "--pat-file",
        "-",
        "--expires-in",
        "7d",
        "--azure-pool",
        "Nightly TK5",
        "--env",
        "GPU=h200",
        "--env",
        "B=c=d",
        "--cpu",
        "1.5",
        "--memory",
        "2g",
        "--pids",
        "512",
        "--cache",
        "nuget:/root/.nuget",
        "--mtu",
        "1400",
        "--http-proxy",
        "http://proxy.example:3128",
        "--no-proxy",
        "localhost,.example",
        "--docker-socket",
        "--settle",
        "5s",
        "--prefix",
        "tk5",
        "--max-per-host",
        "4",
    ]);
    let output = world.run_with_input(&args, &format!("{TOKEN}\n")).await;
    assert!(!output.contains(TOKEN));
    let request = world.state().created.pop().unwrap();
    assert_eq!(request.secret, TOKEN.as_bytes(), "the token alone, without its line's end");
    assert!(request.secret_expires.is_some());
    shown!(format!("{output}{:#?}", request.spec.unwrap()));
}

#[tokio::test]
async fn a_token_comes_from_a_file_or_the_environment() {
    let world = World::start(fleet()).await;
    let file = world.dir.path().join("pat");
    write_file(&file, &format!("  {TOKEN}\n"), 0o644);
    let path = file.display().to_string();
    let output = world.run(&create(&["--image", "a:1", "--pat-file", &path])).await;
    assert_eq!(world.state().created.pop().unwrap().secret, TOKEN.as_bytes());
    let mut args = create(&["--image", "a:1", "--pat-env", "MY_PAT"]);
    args[2] = "nightly-bjw";
    let child = world.command(&args).env("MY_PAT", TOKEN).spawn().unwrap();
    let second = world.finish(child).await;
    assert_eq!(world.state().created.pop().unwrap().secret, TOKEN.as_bytes());
    shown!(format!("{output}{second}"));
}

#[tokio::test]
async fn a_credential_that_exists_needs_no_token() {
    let world = World::start(fleet()).await;
    let output = world.run(&create(&["--image", "a:1", "--credential", "nightly"])).await;
    let request = world.state().created.pop().unwrap();
    assert!(request.secret.is_empty());
    assert_eq!(request.spec.unwrap().credential, "nightly");
    assert!(output.starts_with("exit: Some(0)"), "{output}");
}

#[tokio::test]
async fn what_cannot_be_a_pool_is_refused_before_anything_is_sent() {
    let world = World::start(fleet()).await;
    let empty = world.dir.path().join("empty");
    write_file(&empty, "\n", 0o600);
    let empty = empty.display().to_string();
    let mut all = String::new();
    for more in [
        &["--image", "a:1"][..],
        &["--pat-env", "UNSET", "--image", "a:1"],
        &["--pat-file", &empty, "--image", "a:1"],
        &["--pat-file", "/nonexistent/pat", "--image", "a:1"],
        &["--pat-env", "X"],
        &["--pat-env", "X", "--image", "a:1", "--env", "AZP_TOKEN=x"],
        &["--pat-env", "X", "--image", "a:1", "--cache", "nuget:root"],
        &["--pat-env", "X", "--image", "a:1", "--settle", "0s"],
        &["--pat-env", "X", "--image", "a:1", "--azure-url", "dev.example"],
        &["--pat-env", "X", "--image", "a:1", "--http-proxy", "http://u:p@proxy.example:1"],
        &["--pat-env", "X", "--image", "a:1", "--memory", "lots"],
        &["--pat-env", "X", "--image", "a:1", "--mode", "twice"],
        &["--pat-env", "X", "--image", "a:1", "--selector", "lab="],
    ] {
        let mut args = create(more);
        // An option that is given again stands in the place of the first.
        for option in ["--azure-url", "--selector"] {
            if more.contains(&option) {
                let at = args.iter().position(|a| *a == option).unwrap();
                args.drain(at..at + 2);
            }
        }
        all += &format!("$ {}\n{}", more.join(" "), world.run(&args).await);
    }
    shown!(all.replace(&empty, "[EMPTY]"));
    assert!(world.state().log.is_empty());
}

#[tokio::test]
async fn a_pool_of_units_needs_no_image() {
    let world = World::start(fleet()).await;
    let output = world.run(&create(&["--runtime", "systemd", "--credential", "nightly"])).await;
    assert!(output.starts_with("exit: Some(0)"), "{output}");
    let request = world.state().created.pop().unwrap();
    let template = request.spec.unwrap().groups[0].template.clone().unwrap();
    assert_eq!(template.runtime(), fleet_proto::v1::RuntimeKind::Systemd);
    assert_eq!((template.image.as_str(), template.package), ("", None));
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() {
    let world = World::start(fleet()).await;
    let mut args = create(&["--image", "a:1", "--credential", "nightly"]);
    args[2] = "nightly";
    shown!(world.run(&args).await);
}

#[tokio::test]
async fn pools_are_listed_as_by_get() {
    let world = World::start(fleet()).await;
    assert_eq!(world.run(&["pool", "list"]).await, world.run(&["get", "pools"]).await);
}

#[tokio::test]
async fn deleting_waits_until_nothing_is_left() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        Act::Leaves("nightly-svc-svcstr-server-2-01"),
        Act::Leaves("nightly-svc-svcstr-server-2-02"),
        Act::Leaves("nightly-svc-svcstr-server-2-03"),
        Act::Gone("nightly-svc-svcstr-server-2-01"),
        Act::Gone("nightly-svc-svcstr-server-2-03"),
        Act::Gone("nightly-svc-svcstr-server-2-02"),
        Act::PoolGone("nightly-svc"),
    ]);
    shown!(world.run(&["pool", "delete", "nightly-svc"]).await);
}

#[tokio::test]
async fn a_pool_that_goes_while_nobody_looks_is_gone() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![Act::Break, Act::PoolGone("nightly")]);
    shown!(world.run(&["pool", "delete", "nightly"]).await);
}

#[tokio::test]
async fn deleting_can_be_left_alone_and_an_unknown_pool_cannot_be_deleted() {
    let world = World::start(fleet()).await;
    let accepted = world.run(&["pool", "delete", "nightly", "--detach"]).await;
    let unknown = world.run(&["pool", "delete", "weekly"]).await;
    let late = world.run(&["pool", "delete", "nightly-svc", "--timeout", "1s"]).await;
    shown!(format!("{accepted}{unknown}{late}"));
}
