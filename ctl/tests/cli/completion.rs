//! What a shell is told.

use crate::{samples::fleet, world::World};

#[tokio::test]
async fn each_shell_gets_a_script_that_calls_this_program() {
    let world = World::start(fleet()).await;
    for shell in ["bash", "zsh", "fish"] {
        let shown = world.run(&["completion", shell]).await;
        assert!(shown.starts_with("exit: Some(0)"), "{shown}");
        assert!(shown.contains(env!("CARGO_BIN_EXE_agentctl")), "{shown}");
    }
    assert!(world.run(&["completion", "tcsh"]).await.starts_with("exit: Some(1)"));
}

/// Completes the last of `words` as bash would.
async fn complete(world: &World, words: &[&str]) -> Vec<String> {
    let mut command = world.command(&[&["--", "agentctl"][..], words].concat());
    command.env("COMPLETE", "bash");
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n");
    let shown = world.finish(command.spawn().unwrap()).await;
    assert!(shown.starts_with("exit: Some(0)") && !shown.contains("--- err"), "{shown}");
    shown.lines().skip(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn names_of_the_fleet_are_completed() {
    let world = World::start(fleet()).await;
    assert_eq!(complete(&world, &["scale", "nightly-"]).await, ["nightly-svc"]);
    assert_eq!(complete(&world, &["get", "agents", "--host", "svc"]).await, ["svcstr-server-2"]);
    let agents = complete(&world, &["get", "agents", "nightly-svc-"]).await;
    assert_eq!(agents.len(), 3, "{agents:?}");
    assert_eq!(complete(&world, &["logs", "nightly-svc-"]).await, agents);
    assert!(complete(&world, &["po"]).await.contains(&"pool".to_owned()));
}

#[tokio::test]
async fn without_a_coordinator_nothing_is_completed_and_nothing_is_said() {
    let world = World::start(fleet()).await;
    std::fs::remove_file(world.config()).unwrap();
    assert_eq!(complete(&world, &["scale", "nightly-"]).await, Vec::<String>::new());
}
