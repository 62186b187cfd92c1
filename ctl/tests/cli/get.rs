//! Lists, in every format, and as they change.

use std::process::Stdio;
use std::time::Duration;

use fleet_proto::v1::{Intent, Phase};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::{
    fake::{Act, State},
    samples::{SVC, agent, fleet},
    world::{World, shown},
};

#[tokio::test]
async fn agents_as_a_table() {
    let mut state = fleet();
    let third = "nightly-svc-svcstr-server-2-03";
    state.change_agent(third, |agent| {
        agent.status.as_mut().unwrap().intent = Intent::Remove.into();
        agent.stale = true;
    });
    let world = World::start(state).await;
    shown!(world.run(&["get", "agents"]).await);
}

#[tokio::test]
async fn agents_as_a_wide_table_without_titles() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["get", "agents", "-o", "wide", "--no-headers"]).await);
}

#[tokio::test]
async fn agents_as_json() {
    let world = World::start(fleet()).await;
    let name = "nightly-svc-svcstr-server-2-02";
    shown!(world.run(&["get", "agents", name, "-o", "json"]).await);
}

#[tokio::test]
async fn agents_as_yaml() {
    let world = World::start(fleet()).await;
    let name = "nightly-svc-svcstr-server-2-02";
    shown!(world.run(&["get", "agents", name, "-o", "yaml"]).await);
}

#[tokio::test]
async fn agents_by_name_and_filter() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for filter in [
        &["--pool", "nightly-svc"][..],
        &["--pool", "nightly"],
        &["--lab", "str"],
        &["--lab", "svc", "--host", SVC],
    ] {
        all += &format!("$ {}\n", filter.join(" "));
        let args = [&["get", "agents", "-o", "name"][..], filter].concat();
        all += &world.run(&args).await;
    }
    shown!(all);
}

#[tokio::test]
async fn hosts_in_all_formats() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for format in ["table", "wide", "name", "json"] {
        all += &format!("$ get hosts -o {format}\n");
        all += &world.run(&["get", "hosts", SVC, "-o", format]).await;
    }
    shown!(all);
}

#[tokio::test]
async fn pools_in_all_formats() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for format in ["table", "wide", "name", "json"] {
        all += &format!("$ get pools -o {format}\n");
        all += &world.run(&["get", "pools", "nightly-svc", "-o", format]).await;
    }
    shown!(all);
}

#[tokio::test]
async fn an_empty_list_is_still_a_list_for_programs() {
    let world = World::start(State::default()).await;
    let mut all = String::new();
    for args in [&["get", "agents"][..], &["get", "agents", "-o", "json"], &["get", "hosts"]] {
        all += &format!("$ {}\n{}", args.join(" "), world.run(args).await);
    }
    shown!(all);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_error() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for args in [
        &["get", "pools", "nightly-scv"][..],
        &["get", "hosts", "svcstr-server-3"],
        &["get", "agents", "nobody"],
        &["get", "agents", "--pool", "nigthly"],
        &["get", "agents", "--host", "nowhere"],
    ] {
        all += &format!("$ {}\n{}", args.join(" "), world.run(args).await);
    }
    shown!(all);
}

/// The first `count` lines of a watch that would go on for ever.
pub(crate) async fn watch(world: &World, args: &[&str], count: usize) -> String {
    let mut command = world.command(args);
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut shown = String::new();
    for _ in 0..count {
        let line = timeout(Duration::from_secs(20), lines.next_line()).await.expect("in time");
        shown += &(line.unwrap().expect("a line") + "\n");
    }
    child.kill().await.unwrap();
    shown
}

fn changes() -> Vec<Act> {
    vec![
        Act::agent(agent("nightly-svc", SVC, 1, Phase::Busy)),
        Act::agent(agent("nightly-svc", SVC, 4, Phase::Starting)),
        Act::Gone("nightly-svc-svcstr-server-2-03"),
    ]
}

#[tokio::test]
async fn a_watched_table_grows_by_what_changes() {
    let world = World::start(fleet()).await;
    // After the break everything is said again; only what changed meanwhile may be shown.
    world.state().scripts.extend([changes(), vec![]]);
    shown!(watch(&world, &["get", "agents", "-w"], 7).await);
}

#[tokio::test]
async fn a_watch_goes_on_after_a_break_without_repeating_itself() {
    let world = World::start(fleet()).await;
    let after = vec![Act::agent(agent("nightly-svc", SVC, 2, Phase::Idle))];
    // What goes while nobody can be told is told afterwards.
    let unseen = vec![Act::Break, Act::Gone("nightly-svc-svcstr-server-2-03")];
    world.state().scripts.extend([unseen, after]);
    shown!(watch(&world, &["get", "agents", "-w"], 6).await);
}

#[tokio::test]
async fn a_watch_for_programs_has_one_object_per_line() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(changes());
    shown!(watch(&world, &["get", "agents", "-w", "-o", "json"], 6).await);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let mut state = fleet();
    for slot in 4..4000 {
        state.put_agent(agent("nightly-svc", SVC, slot, Phase::Idle));
    }
    let world = World::start(state).await;
    let mut child = world.command(&["get", "agents"]).spawn().unwrap();
    // Far more than a pipe holds, and nobody reads it.
    drop(child.stdout.take());
    shown!(world.finish(child).await);
}
