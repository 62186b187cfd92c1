//! The main job.

use std::{process::Stdio, time::Duration};

use fleet_proto::v1::{self, Phase};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::{
    fake::Act,
    samples::{SVC, agent, fleet},
    world::{World, shown},
};

fn comes(slot: u32, phase: Phase) -> Act {
    Act::agent(agent("nightly-svc", SVC, slot, phase))
}

#[tokio::test]
async fn scale_up_waits_until_all_are_online() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        comes(4, Phase::Registering),
        comes(5, Phase::Pending),
        comes(4, Phase::Starting),
        comes(4, Phase::Idle),
        comes(5, Phase::Starting),
        comes(5, Phase::Idle),
    ]);
    shown!(world.run(&["scale", "nightly-svc", "5"]).await);
}

#[tokio::test]
async fn scale_down_waits_for_those_that_leave() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        Act::Leaves("nightly-svc-svcstr-server-2-03"),
        Act::Leaves("nightly-svc-svcstr-server-2-02"),
        Act::Gone("nightly-svc-svcstr-server-2-03"),
        Act::Gone("nightly-svc-svcstr-server-2-02"),
    ]);
    shown!(world.run(&["scale", "nightly-svc", "1", "--wait"]).await);
}

#[tokio::test]
async fn scale_to_the_same_count_is_done_at_once() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["scale", "nightly-svc", "3"]).await);
}

#[tokio::test]
async fn detached_it_only_says_that_it_was_accepted() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["scale", "nightly-svc", "7", "--detach"]).await);
    assert_eq!(world.state().log, ["ann: scale"], "nobody watched");
}

#[tokio::test]
async fn what_is_missing_is_said_when_the_time_is_over() {
    let world = World::start(fleet()).await;
    let trouble = |pool: &mut v1::Pool| {
        pool.unplaced = 1;
        pool.unplaced_reasons = vec!["1 host full (20 agents)".into()];
        pool.troubles = vec![v1::PoolTrouble {
            host: SVC.into(),
            condition: Some(v1::Condition {
                kind: v1::ConditionKind::ImageMissing.into(),
                pool: "nightly-svc".into(),
                message: "no such image: fleet-agent:demo".into(),
            }),
        }];
    };
    let mut failed = agent("nightly-svc", SVC, 4, Phase::Failed);
    failed.status.as_mut().unwrap().why = "no such image: fleet-agent:demo".into();
    let script = vec![Act::Pool("nightly-svc", trouble), Act::agent(failed)];
    world.state().scripts.push_back(script);
    shown!(world.run(&["scale", "nightly-svc", "5", "--timeout", "1s"]).await);
}

#[tokio::test]
async fn a_coordinator_that_restarts_does_not_end_the_waiting() {
    let world = World::start(fleet()).await;
    world.state().scripts.extend([
        vec![comes(4, Phase::Starting), Act::Break],
        vec![Act::Break],
        vec![comes(4, Phase::Idle)],
    ]);
    shown!(world.run(&["scale", "nightly-svc", "4"]).await);
}

/// Each stream is taken and broken at once; asking again must not become a storm.
#[tokio::test]
async fn a_coordinator_in_trouble_is_asked_less_and_less_often() {
    let world = World::start(fleet()).await;
    world.state().scripts.extend(vec![vec![Act::Break]; 1000]);
    let shown = world.run(&["scale", "nightly-svc", "4", "--timeout", "2s"]).await;
    assert!(shown.starts_with("exit: Some(2)"), "{shown}");
    let asked = world.state().log.iter().filter(|line| line.ends_with("watch")).count();
    // At once, then after 0.2, 0.4, 0.8 and 1.6 seconds: four or five within two.
    assert!((2..=5).contains(&asked), "{asked} times");
}

#[tokio::test]
async fn another_order_in_between_ends_the_waiting() {
    let world = World::start(fleet()).await;
    let other = |pool: &mut v1::Pool| pool.spec.as_mut().unwrap().replicas = 9;
    world
        .state()
        .scripts
        .push_back(vec![comes(4, Phase::Starting), Act::Pool("nightly-svc", other)]);
    shown!(world.run(&["scale", "nightly-svc", "5"]).await);
}

#[tokio::test]
async fn a_pool_that_is_deleted_meanwhile_ends_the_waiting() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![Act::Break, Act::PoolGone("nightly-svc")]);
    shown!(world.run(&["scale", "nightly-svc", "5"]).await);
}

#[tokio::test]
async fn an_interrupt_leaves_the_fleet_at_work() {
    let world = World::start(fleet()).await;
    let mut command = world.command(&["scale", "nightly-svc", "5"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(20), lines.next_line()).await.expect("a line in time");
    assert_eq!(line.unwrap().unwrap(), "nightly-svc: 3 of 5 ready");
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest += &(line + "\n");
    }
    shown!(format!("{}{rest}", world.finish(child).await));
}

#[tokio::test]
async fn counts_that_cannot_be_are_refused_without_asking() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for count in ["-3", "99999999999999999999", "600000", "ten", "2.5"] {
        all += &format!("$ scale nightly-svc {count}\n");
        all += &world.run(&["scale", "nightly-svc", count]).await;
    }
    shown!(all);
    assert!(world.state().log.is_empty(), "the coordinator was asked");
}

#[tokio::test]
async fn a_force_needs_a_reason_and_a_reason_needs_no_force() {
    let world = World::start(fleet()).await;
    let long = "x".repeat(301);
    let mut all = String::new();
    for args in [
        &["scale", "nightly-svc", "1", "--force"][..],
        &["scale", "nightly-svc", "1", "--force", "--reason", " "],
        &["scale", "nightly-svc", "1", "--reason", ""],
        &["scale", "nightly-svc", "1", "--force", "--reason", &long],
        &["scale", "nightly-svc", "1", "--force", "--reason", "two\nlines"],
        &["pool", "delete", "nightly-svc", "--force"],
    ] {
        all += &format!("$ {}\n{}", args.join(" ").replace(&long, "[LONG]"), world.run(args).await);
    }
    assert!(world.state().log.is_empty(), "the coordinator was asked");
    for args in [
        &["scale", "nightly-svc", "1", "--force", "--reason", "Azure is away", "--detach"][..],
        &["scale", "nightly-svc", "2", "--reason", "spare rack", "--detach"],
        &["pool", "delete", "nightly-svc", "--force", "--reason", "moving out", "--detach"],
    ] {
        all += &format!("$ {}\n{}", args.join(" "), world.run(args).await);
    }
    let log = world.state().log.join("\n");
    shown!(format!("{all}{log}\n"));
}

#[tokio::test]
async fn an_unknown_pool_is_answered_with_the_known_ones() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["scale", "nigthly-svc", "5"]).await);
}
