//! Self-update: exit codes 3 and 4, and who starts what afterwards.

use nix::sys::signal::{Signal, kill};

use crate::bench::{Agent, Bench};
use crate::process::{Process, child, is_alive, processes, until};

/// The package the server offers.
const NEW: &str = "4.275.0";

fn updated(agent: &Agent) -> bool {
    let link = |name: &str| std::fs::read_link(agent.root.join(name)).ok();
    let logs = agent.root.join("_diag").read_dir().unwrap().flatten();
    link("bin") == Some(format!("bin.{NEW}").into())
        && link("externals") == Some(format!("externals.{NEW}").into())
        && agent.root.join("bin.4.260.0").is_dir()
        && logs
            .map(|e| e.file_name().into_string().unwrap())
            .any(|n| n.starts_with("SelfUpdate-") && n.ends_with(".succeed"))
}

#[tokio::test]
async fn exit_3_and_an_orphaned_restart() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut shell = Process::start(agent.run(&[]));
    shell.line("Listening for Jobs").await;
    bench.update("a", NEW);
    assert_eq!(shell.code().await, 3, "run.sh passes it through");
    // The same console goes on, but whoever waited for run.sh waits no longer.
    shell.line("Listening for Jobs").await;
    assert!(updated(&agent));
    assert_eq!(bench.row("a").await.unwrap().version.as_deref(), Some(NEW));
    let exe = agent.root.join(format!("bin.{NEW}/Agent.Listener"));
    let orphan = processes()
        .into_iter()
        .find(|p| {
            std::fs::read_link(format!("/proc/{}/exe", p.pid)).is_ok_and(|found| found == exe)
        })
        .unwrap();
    assert_eq!(orphan.comm, "Agent.Listener");
    let job = bench.queue("j", 0);
    assert_eq!(bench.result(job).await, "succeeded");
    kill(orphan.pid, Signal::SIGINT).unwrap();
    until("the orphan ends", || (!is_alive(orphan.pid)).then_some(())).await;
}

#[tokio::test]
async fn exit_3_waits_for_the_running_job() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let script = "while [ ! -e go ]; do sleep 0.05; done";
    let form = azdo::sim::JobForm { script: Some(script.to_owned()), ..Default::default() };
    let job = bench.queue_form(form);
    let mut listener = Process::start(agent.listener(&["--startuptype", "service"]));
    listener.line("Running job").await;
    bench.update("a", NEW);
    until("the update is ready", || {
        agent.diag("Agent_").contains("Waiting for current job").then_some(())
    })
    .await;
    assert!(listener.is_running());
    std::fs::write(agent.root.join("_work/1/s/go"), "").unwrap();
    assert_eq!(listener.code().await, 3);
    assert_eq!(bench.result(job).await, "succeeded");
    until("bin is swapped", || updated(&agent).then_some(())).await;
    assert!(!bench.is_online("a"), "as a service nobody but the service starts it again");
}

#[tokio::test]
async fn exit_4_then_one_rerun() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut shell = Process::start(agent.run(&["--once"]));
    shell.line("Listening for Jobs").await;
    bench.update("a", NEW);
    shell.line("Listening for Jobs").await;
    assert!(shell.is_running(), "the same run.sh");
    assert_eq!(bench.row("a").await.unwrap().version.as_deref(), Some(NEW));
    let job = bench.queue("j", 0);
    assert_eq!(shell.code().await, 0);
    assert_eq!(bench.result(job).await, "succeeded");
}

#[tokio::test]
async fn a_second_exit_4_is_returned() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut shell = Process::start(agent.run(&["--once"]));
    shell.line("Listening for Jobs").await;
    bench.update("a", NEW);
    shell.line("Listening for Jobs").await;
    bench.update("a", "4.276.0");
    assert_eq!(shell.code().await, 4);
    until("the last swap is done", || {
        std::fs::read_link(agent.root.join("bin"))
            .is_ok_and(|l| l.ends_with("bin.4.276.0"))
            .then_some(())
    })
    .await;
    assert_eq!(shell.count("Listening for Jobs"), 2);
}

#[tokio::test]
async fn run_docker_sh_goes_on_after_an_update() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut command = agent.command("sh");
    command.arg("run-docker.sh");
    let mut shell = Process::start(command);
    shell.line("Listening for Jobs").await;
    bench.update("a", NEW);
    shell.line("Listening for Jobs").await;
    let listener = child(shell.pid(), "Agent.Listener").unwrap();
    assert!(listener.arguments.ends_with(&["--startuptype".to_owned(), "service".to_owned()]));
    assert_eq!(bench.row("a").await.unwrap().version.as_deref(), Some(NEW));
    kill(listener.pid, Signal::SIGINT).unwrap();
    assert_eq!(shell.code().await, 0, "any other code ends it");
}

#[tokio::test]
async fn an_update_that_cannot_be_had_changes_nothing() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut listener = Process::start(agent.listener(&["--once"]));
    listener.line("Listening for Jobs").await;
    bench.update("a", NEW);
    until("it has failed", || {
        agent.diag("Agent_").contains("Update to 4.275.0 failed").then_some(())
    })
    .await;
    assert!(listener.is_running() && bench.is_online("a"));
    assert!(agent.root.join("bin").symlink_metadata().unwrap().is_dir());
}

#[tokio::test]
async fn an_agent_that_ignores_updates_gets_no_more_jobs() {
    let bench = Bench::offering(NEW).await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut run = agent.listener(&[]);
    run.env("agent.disableupdate", "true");
    let mut listener = Process::start(run);
    listener.line("Listening for Jobs").await;
    bench.update("a", NEW);
    let refused = || agent.diag("Agent_").contains("Update refused").then_some(());
    until("it has refused", refused).await;
    let job = bench.queue("j", 0);
    assert!(listener.is_running());
    assert!(
        bench.peek(job).agent.is_none(),
        "the server waits for the update, the job for another agent"
    );
}
