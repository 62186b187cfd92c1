//! An agent's log.

use std::process::Stdio;

use fleet_proto::v1::{self, log_line::What};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::{Duration, timeout},
};
use tonic::Status;

use crate::{
    fake::State,
    samples::fleet,
    world::{World, shown},
};

const AGENT: &str = "nightly-svc-svcstr-server-2-01";

fn line(second: i64, what: What) -> v1::LogLine {
    let at = (second > 0)
        .then_some(prost_types::Timestamp { seconds: 1_800_000_000 + second, nanos: 120_000_000 });
    v1::LogLine { at, what: Some(what), left_out: 0 }
}

/// One of each kind, and what a later version may say.
pub(crate) fn lines() -> Vec<v1::LogLine> {
    let text = |text: &str| What::Text(text.into());
    let note = v1::LogNote { source: "systemd".into(), text: "Started the unit.".into() };
    let cut = v1::LogLine { left_out: 12, ..line(5, text("a long one")) };
    vec![
        line(0, What::Skipped(1)),
        line(1, text("Listening for Jobs")),
        line(2, text("Running job: \u{1b}]0;x\u{7}\twith ***")),
        line(0, What::Run(7)),
        line(4, What::Note(note)),
        cut,
        v1::LogLine::default(),
    ]
}

fn fleet_with_log() -> State {
    let mut state = fleet();
    state.lines = lines();
    state
}

#[tokio::test]
async fn a_log_is_lines() {
    let world = World::start(fleet_with_log()).await;
    shown!(world.run(&["logs", AGENT]).await);
    assert!(world.state().log.contains(&"follow false, tail Some(200), since false".to_owned()));
}

#[tokio::test]
async fn a_log_with_times() {
    let world = World::start(fleet_with_log()).await;
    let options = ["logs", AGENT, "--timestamps", "--tail", "all", "--since", "2h"];
    shown!(world.run(&options).await);
    assert!(world.state().log.contains(&"follow false, tail None, since true".to_owned()));
}

#[tokio::test]
async fn a_log_for_programs_is_one_object_a_line() {
    let world = World::start(fleet_with_log()).await;
    shown!(world.run(&["logs", AGENT, "-o", "json"]).await);
}

#[tokio::test]
async fn a_log_is_followed_until_somebody_stops_it() {
    let world = World::start(fleet_with_log()).await;
    let mut command = world.command(&["logs", AGENT, "-f", "-n", "1"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    for expected in ["... 1 line skipped", "Listening for Jobs"] {
        let line = timeout(Duration::from_secs(20), out.next_line()).await.expect("in time");
        assert_eq!(line.unwrap().unwrap(), expected);
    }
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    child.kill().await.unwrap();
    assert!(world.state().log.contains(&"follow true, tail Some(1), since false".to_owned()));
}

#[tokio::test]
async fn a_host_that_is_lost_is_named_and_fails() {
    let mut state = fleet_with_log();
    state.lines.truncate(2);
    let why = "host svcstr-server-2 was lost: not heard of for 30s; \
               `agentctl get hosts` shows when it is back";
    state.broken = Some(Status::unavailable(why));
    let world = World::start(state).await;
    shown!(world.run(&["logs", AGENT]).await);
}

/// A log that breaks off, and what is answered then.
async fn broken_off(then: Vec<Result<Vec<v1::LogLine>, Status>>) -> World {
    let mut state = fleet();
    let text = |second, text: &str| line(second, What::Text(text.into()));
    state.lines = vec![text(1, "one"), text(2, "two"), text(2, "two")];
    state.broken = Some(Status::unavailable("the coordinator stops; try again"));
    state.then = then;
    World::start(state).await
}

#[tokio::test]
async fn a_followed_log_goes_on_after_a_break_where_it_stood() {
    let text = |second, text: &str| line(second, What::Text(text.into()));
    let away = Err(Status::unavailable("host svcstr-server-2 is not in session; wait"));
    let unknown =
        Err(Status::failed_precondition("host svcstr-server-2: it keeps no agent (any more)"));
    let back = vec![text(2, "two"), text(2, "two"), text(2, "three"), text(3, "four")];
    let last = vec![text(3, "four"), text(4, "five")];
    let world = broken_off(vec![away, unknown, Ok(back), Ok(last)]).await;
    shown!(world.run(&["logs", AGENT, "-f"]).await);
    let asked = "follow true, tail None, since true".to_owned();
    assert_eq!(world.state().log.iter().filter(|line| **line == asked).count(), 4);
}

#[tokio::test]
async fn a_followed_log_ends_when_asking_again_is_of_no_use() {
    let refused = Err(Status::permission_denied("operator ann may not read logs"));
    shown!(broken_off(vec![refused]).await.run(&["logs", AGENT, "-f"]).await);
    let gone = Err(Status::not_found("there is no such agent"));
    shown!(broken_off(vec![gone]).await.run(&["logs", AGENT, "-f"]).await);
}

#[tokio::test]
async fn an_agent_that_does_not_exist_is_an_error_with_the_one_that_was_meant() {
    let world = World::start(fleet_with_log()).await;
    shown!(world.run(&["logs", "nightly-svc-svcstr-server-2-11"]).await);
}

#[tokio::test]
async fn a_host_that_is_away_is_unreachable_with_what_to_do_there() {
    let mut state = fleet_with_log();
    let why = "host svcstr-server-2 is not in session (last heard of at \
               2026-11-21T10:00:00Z); read the log there: `docker logs nightly-svc-svcstr-server-2-01-3`";
    state.refuse = Some(Status::unavailable(why));
    let world = World::start(state).await;
    shown!(world.run(&["logs", AGENT]).await);
}

#[tokio::test]
async fn a_tail_and_a_time_that_are_none_are_refused() {
    let world = World::start(fleet_with_log()).await;
    shown!(world.run(&["logs", AGENT, "--tail", "some"]).await);
    shown!(world.run(&["logs", AGENT, "--since", "yesterday"]).await);
}
