//! Logs that the coordinator asks for: told, followed over runs, left at once, without secrets.

use std::{sync::Arc, time::Duration};

use fleet_model::{Phase, numbers::LOGS_PER_HOST};
use fleet_proto::{
    seal::fingerprint,
    v1::{
        self, command::Command, log_line::What, session_response::Message as ToHost,
        upload_logs_request::Message,
    },
};
use futures_util::StreamExt;
use hostd::runtime::{RunId, RunSpec, Runtime, StartWith, log::LogQuery};
use tokio::time::{Instant, timeout};

use crate::{
    coordinator::{Coordinator, INVITE, LIMIT, Log, Session},
    host::{Host, join_with, status},
};

/// A host in session that keeps one agent, with its session.
struct World {
    coordinator: Coordinator,
    session: Session,
    host: Host,
    dir: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let mut coordinator = Coordinator::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
        let host = Host::start(dir.path());
        let mut session = coordinator.session().await;
        session.begin().await;
        Self { coordinator, session, host, dir }
    }

    /// A run of the agent that runs, and is its run.
    async fn run(&self, attempt: u32) -> RunId {
        let shown = status(1, Phase::Idle);
        let run = RunId { agent: shown.agent.clone(), attempt };
        let spec = RunSpec {
            run: run.clone(),
            pool: shown.pool.clone(),
            group: shown.group.clone(),
            slot: shown.slot,
            host: crate::host::NAME.parse().expect("a name"),
            azure: fleet_model::AzureTarget { url: "http://127.0.0.1".into(), pool: "p".into() },
            template: Arc::new(fleet_model::Template::docker(
                "here:1".parse().expect("an image"),
                fleet_model::Mode::Once,
            )),
            slot_dir: self.dir.path().join("slot"),
            labels: [].into(),
            start: StartWith::Registration([].into()),
            owner: "fleet/h/1".into(),
        };
        self.host.runtime.ensure_started(&spec).await.expect("started");
        // Its own line is there before any of the test's.
        let query = LogQuery { follow: true, ..LogQuery::default() };
        let mut log = self.host.runtime.logs(&run, &query).await.expect("there");
        log.next().await.expect("it listens").expect("no engine");
        self.shows(attempt, Phase::Idle);
        run
    }

    fn shows(&self, attempt: u32, phase: Phase) {
        let mut shown = status(1, phase);
        shown.attempt = attempt;
        self.host.show(|view| drop(view.agents.insert(shown.agent.clone(), shown)));
    }

    /// With a run: until its log is followed.
    async fn ask(&mut self, follow: bool, tail: Option<u32>, of: Option<&RunId>) -> Reading {
        let agent = status(1, Phase::Idle).agent.to_string();
        let open = v1::OpenLogs { id: vec![5; 16], agent, follow, tail, since: None };
        let command = Some(Command::OpenLogs(open));
        self.session.say(ToHost::Command(v1::Command { command })).await;
        let offered = timeout(LIMIT, self.coordinator.logs.recv()).await.expect("in time");
        let mut reading = Reading { log: offered.expect("serving"), lines: Vec::new() };
        assert_eq!(reading.message().await, Message::Id(vec![5; 16]));
        if let Some(run) = of {
            until("it is followed", || self.host.runtime.log_readers(run) == 1).await;
        }
        reading
    }
}

struct Reading {
    log: Log,
    lines: Vec<v1::LogLine>,
}

impl Reading {
    async fn message(&mut self) -> Message {
        let next = timeout(LIMIT, self.log.from.message()).await.expect("in time");
        next.expect("the stream lives").expect("it is open").message.expect("a message")
    }

    /// The next line as text; the end as an error with its trouble.
    async fn next(&mut self) -> Result<String, String> {
        while self.lines.is_empty() {
            match self.message().await {
                Message::Lines(chunk) => self.lines = chunk.lines,
                Message::End(v1::LogsEnd { trouble }) => return Err(trouble),
                Message::Id(_) => panic!("an id twice"),
            }
        }
        let line = self.lines.remove(0);
        Ok(match line.what.expect("something") {
            What::Text(text) => text,
            What::Run(run) => format!("--- {run}"),
            other => format!("{other:?}"),
        })
    }

    /// Everything up to the end.
    async fn all(&mut self) -> (Vec<String>, String) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Ok(line) => all.push(line),
                Err(trouble) => return (all, trouble),
            }
        }
    }
}

#[tokio::test]
async fn a_log_is_told_to_its_end_without_secrets() {
    let mut world = World::start().await;
    let secret = "pat-of-nightly/1";
    let name = "pat".parse().expect("a name");
    let announced =
        fleet_model::CredentialRef { name, fingerprint: fingerprint(secret.as_bytes()) };
    world.host.secrets.put(&announced, secret.as_bytes()).expect("taken");
    let run = world.run(1).await;
    world.host.runtime.writes(&run, &format!("token {secret} in {}", "a1".repeat(30)));
    let (lines, trouble) = world.ask(false, None, None).await.all().await;
    assert_eq!((lines[1..].concat(), trouble.as_str()), ("token *** in ***".to_owned(), ""));
    world.host.runtime.writes(&run, "the newest");
    let (lines, _) = world.ask(false, Some(1), None).await.all().await;
    assert_eq!(lines, ["the newest"]);
    // A secret that comes while the log is followed is known, too.
    let mut followed = world.ask(true, Some(0), Some(&run)).await;
    let newer = "pat-of-nightly/2";
    let announced =
        fleet_model::CredentialRef { fingerprint: fingerprint(newer.as_bytes()), ..announced };
    world.host.secrets.put(&announced, newer.as_bytes()).expect("taken");
    world.host.runtime.writes(&run, &format!("now {newer}"));
    assert_eq!(followed.next().await.expect("told"), "now ***");
    world.host.stop().await;
}

#[tokio::test]
async fn a_followed_log_goes_on_with_the_next_run_until_the_agent_is_forgotten() {
    let mut world = World::start().await;
    let first = world.run(1).await;
    let mut log = world.ask(true, Some(0), Some(&first)).await;
    world.host.runtime.writes(&first, "one");
    assert_eq!(log.next().await.expect("told"), "one");
    world.host.runtime.exit(&first, 0);
    world.shows(1, Phase::Pending);
    let second = world.run(2).await;
    world.host.runtime.writes(&second, "two");
    for expected in ["--- 2", "Listening for Jobs", "two"] {
        assert_eq!(log.next().await.expect("told"), expected);
    }
    world.host.show(|view| view.agents.clear());
    assert_eq!(log.next().await, Err(String::new()));
    let gone = world.ask(true, None, None).await.all().await.1;
    assert!(gone.contains("keeps no agent"), "{gone}");
    world.host.stop().await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_is_left_at_once() {
    let mut world = World::start().await;
    let run = world.run(1).await;
    let mut log = world.ask(true, None, Some(&run)).await;
    world.host.runtime.writes(&run, "one");
    while log.next().await.expect("told") != "one" {}
    // The coordinator ends it while nothing is written.
    drop(log);
    until("nobody reads", || world.host.runtime.log_readers(&run) == 0).await;
    // And with the session, all of them end.
    let _log = world.ask(true, Some(0), Some(&run)).await;
    let World { session, host, .. } = world;
    drop(session);
    until("nobody reads", || host.runtime.log_readers(&run) == 0).await;
    host.stop().await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_what_was_lost_meanwhile_and_heartbeats_go_on() {
    let mut world = World::start().await;
    let run = world.run(1).await;
    let mut slow = world.ask(true, None, Some(&run)).await;
    let line = "x ".repeat(5_000);
    // Far more than the connection and the memory of the run hold.
    for number in 0..3_000 {
        world.host.runtime.writes(&run, &format!("{number} {line}"));
        tokio::task::yield_now().await;
    }
    // The session lives all the time.
    world.host.show(|view| view.applied = fleet_model::Order::new(1, 7));
    while world.session.report().await.applied.expect("said").generation != 7 {}
    world.host.runtime.exit(&run, 0);
    world.host.show(|view| view.agents.clear());
    let (mut lines, trouble) = slow.all().await;
    assert_eq!(trouble, "");
    let listening = lines.iter().position(|line| line == "Listening for Jobs");
    lines.remove(listening.expect("it was read before the others"));
    let mut next = 0_u64;
    let mut skipped = 0;
    for line in &lines {
        match line.strip_prefix("Skipped(").and_then(|rest| rest.strip_suffix(')')) {
            Some(count) => {
                let count: u64 = count.parse().expect("a count");
                (next, skipped) = (next + count, skipped + count);
            }
            None => {
                let number: u64 = line.split(' ').next().expect("one").parse().expect("a number");
                assert_eq!(number, next, "a line is missing without a word");
                next = number + 1;
            }
        }
    }
    assert!(skipped > 0, "nothing was lost, so nothing was slow");
    assert_eq!(next, 3_000);
    world.host.stop().await;
}

#[tokio::test]
async fn what_cannot_be_told_is_said() {
    let mut world = World::start().await;
    let none = world.ask(false, None, None).await.all().await;
    assert!(none.1.contains("keeps no agent"), "{none:?}");
    world.shows(3, Phase::Failed);
    let none = world.ask(false, None, None).await.all().await;
    assert!(none.1.contains("has no run that left a log; it is Failed (as the"), "{none:?}");
    world.host.runtime.script(|script| script.engine_down = Some("it is off".into()));
    let down = world.ask(false, None, None).await.all().await;
    assert!(down.1.contains("it is off"), "{down:?}");
    world.host.runtime.script(|script| script.engine_down = None);
    // More than a host tells at the same time: one waits in vain for a run to come, so do all others.
    let mut open = Vec::new();
    for _ in 0..LOGS_PER_HOST {
        open.push(world.ask(true, None, None).await);
    }
    let crowded = world.ask(true, None, None).await.all().await;
    assert!(crowded.1.contains("are being read already"), "{crowded:?}");
    drop(open.pop());
    let again = async {
        loop {
            let mut log = world.ask(true, None, None).await;
            if timeout(Duration::from_millis(200), log.next()).await.is_err() {
                return;
            }
        }
    };
    timeout(LIMIT, again).await.expect("there is room again");
    world.host.stop().await;
}
