//! What differs on a terminal: a bar instead of lines, and colour unless it is not wanted.
//!
//! The terminal is made by script(1), which every Debian and Ubuntu has (package bsdutils).

use std::{process::Stdio, time::Duration};

use fleet_proto::v1::Phase;
use tokio::{process::Command, time::timeout};

use crate::{
    fake::Act,
    samples::{SVC, agent, fleet},
    world::World,
};

async fn on_a_terminal(world: &World, line: &str, variables: &[(&str, &str)]) -> String {
    let command = format!("{} {line}", env!("CARGO_BIN_EXE_agentctl"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.env_clear().env("HOME", world.dir.path()).env("PATH", "/usr/bin:/bin");
    script.env("TERM", "xterm-256color").envs(variables.iter().copied());
    script.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_secs(20), script.output()).await.expect("in time");
    let output = output.expect("script(1) is needed: apt-get install bsdutils");
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn waiting_shows_a_bar_and_takes_it_away() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        Act::agent(agent("nightly-svc", SVC, 4, Phase::Starting)),
        Act::agent(agent("nightly-svc", SVC, 4, Phase::Idle)),
        Act::agent(agent("nightly-svc", SVC, 5, Phase::Idle)),
    ]);
    let shown = on_a_terminal(&world, "scale nightly-svc 5", &[]).await;
    assert!(shown.contains("nightly-svc [          "), "no bar: {shown:?}");
    assert!(!shown.contains("nightly-svc: 3 of 5"), "lines as for a file: {shown:?}");
    let last = shown.trim_end().rsplit("\u{1b}[2K").next().unwrap();
    assert!(last.starts_with("nightly-svc: 3 → 5, 5 of 5 ready after"), "{last:?}");
}

#[tokio::test]
async fn colour_is_for_terminals_that_want_it() {
    let world = World::start(fleet()).await;
    let colour = "\u{1b}[";
    assert!(on_a_terminal(&world, "status", &[]).await.contains(colour));
    assert!(!on_a_terminal(&world, "status", &[("NO_COLOR", "1")]).await.contains(colour));
    assert!(!world.run(&["status"]).await.contains(colour));
}
