//! The fleet's history.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::{
    fake::State,
    samples::{event, fleet},
    world::{World, shown},
};

fn history() -> State {
    let mut state = fleet();
    let agent = "nightly-svc-svcstr-server-2-01";
    state.events = vec![
        event(1, "pool.scaled", "", "0 → 3"),
        event(2, "agent.phase", agent, "Starting → Idle"),
        event(3, "agent.phase", agent, "Idle → Busy: job \u{1b}]0;x\u{7}\n"),
    ];
    state
}

#[tokio::test]
async fn events_are_lines() {
    let world = World::start(history()).await;
    shown!(world.run(&["events"]).await);
}

#[tokio::test]
async fn events_for_programs_are_one_object_a_line() {
    let world = World::start(history()).await;
    shown!(world.run(&["events", "-n", "1", "-o", "json"]).await);
}

#[tokio::test]
async fn events_can_be_narrowed() {
    let world = World::start(history()).await;
    let agent = "nightly-svc-svcstr-server-2-01";
    shown!(world.run(&["events", "--agent", agent, "--since", "10m", "-n", "1"]).await);
}

/// The coordinator of these tests cuts the first follower off: what follows must neither repeat
/// nor leave out a line.
#[tokio::test]
async fn following_goes_on_where_it_stood() {
    let world = World::start(history()).await;
    let mut command = world.command(&["events", "-f"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let limit = Duration::from_secs(20);
    let mut shown = String::new();
    for _ in 0..3 {
        let line = timeout(limit, out.next_line()).await.expect("in time").unwrap().unwrap();
        shown += &(line + "\n");
    }
    let said = timeout(limit, err.next_line()).await.expect("in time").unwrap().unwrap();
    world.state().events.push(event(4, "pool.scaled", "", "3 → 4"));
    let line = timeout(limit, out.next_line()).await.expect("in time").unwrap().unwrap();
    child.kill().await.unwrap();
    shown!(format!("{shown}{said}\n{line}\n"));
}
