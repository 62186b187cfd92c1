//! Signals to the listener, to its group, and to the shell above it.

use azdo::sim::JobForm;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::bench::{Agent, Bench};
use crate::process::{Process, child, is_alive, until};

/// A listener with a job that takes longer than any test.
async fn busy(bench: &Bench, agent: &Agent, script: &str) -> (Process, i64) {
    let form =
        JobForm { name: "long".to_owned(), script: Some(script.to_owned()), ..JobForm::default() };
    let job = bench.queue_form(form);
    let mut listener = Process::start(agent.listener(&[]));
    listener.line("Running job: long").await;
    until("the step runs", || agent.root.join("_work/1/s/started").exists().then_some(())).await;
    (listener, job)
}

#[tokio::test]
async fn sigint_cancels_the_job_and_exits_0() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let (mut listener, job) = busy(&bench, &agent, "touch started; sleep 600").await;
    listener.signal(Signal::SIGINT);
    listener.line("Exiting...").await;
    listener.line("Job long completed with result: Canceled").await;
    assert_eq!(listener.code().await, 0);
    assert_eq!(bench.result(job).await, "canceled");
    assert!(!bench.is_online("a"), "the session was deleted");
}

#[tokio::test]
async fn sigint_to_the_whole_group_is_the_same() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let (mut listener, job) = busy(&bench, &agent, "touch started; sleep 600").await;
    // The worker swallows it, so its exit code still is a result.
    listener.signal_group(Signal::SIGINT);
    assert_eq!(listener.code().await, 0);
    assert_eq!(bench.result(job).await, "canceled");
    assert!(agent.diag("Worker_").contains("Worker exits with 103"));
}

#[tokio::test]
async fn a_cancelled_step_is_told_int_then_term_then_killed() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| {
        settings["stepIntMs"] = 300.into();
        settings["stepTermMs"] = 300.into();
    });
    agent.configured("a").await;
    let script = "trap 'echo got INT' INT; trap 'echo got TERM' TERM; touch started; while :; do sleep 0.05; done";
    let (mut listener, _) = busy(&bench, &agent, script).await;
    listener.signal(Signal::SIGINT);
    assert_eq!(listener.code().await, 0);
    let log = agent.diag("Worker_");
    let (int, term) = (log.find("got INT"), log.find("got TERM"));
    assert!(int.is_some() && int < term, "{log}");
}

#[tokio::test]
async fn sigterm_ends_an_idle_listener_cleanly() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut listener = Process::start(agent.listener(&[]));
    listener.line("Listening for Jobs").await;
    listener.signal(Signal::SIGTERM);
    assert_eq!(listener.code().await, 0);
    assert!(!bench.is_online("a"));
}

#[tokio::test]
async fn sigterm_leaves_a_limited_time() {
    let bench = Bench::start().await;
    // The real limit is 30 s; the job would take longer to stop than the limit here, too.
    let agent = bench.install_with(|settings| {
        settings["unloadMs"] = 300.into();
        settings["stepIntMs"] = 600_000.into();
    });
    agent.configured("a").await;
    let (mut listener, job) = busy(&bench, &agent, "trap '' INT; touch started; sleep 600").await;
    let worker = child(listener.pid(), "Agent.Worker").unwrap().pid;
    listener.signal(Signal::SIGTERM);
    assert_eq!(listener.code().await, 143);
    until("the worker is cut off", || (!is_alive(worker)).then_some(())).await;
    assert!(bench.peek(job).result.is_none(), "nobody reported the end");
    assert!(bench.is_online("a"), "nor the session's");
}

#[tokio::test]
async fn sigterm_to_run_sh_orphans_the_listener() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut shell = Process::start(agent.run(&[]));
    shell.line("Listening for Jobs").await;
    let listener = child(shell.pid(), "Agent.Listener").unwrap().pid;
    shell.signal(Signal::SIGTERM);
    assert_eq!(shell.code().await, 128 + Signal::SIGTERM as i32);
    assert!(is_alive(listener));
    let job = bench.queue("j", 0);
    assert_eq!(bench.result(job).await, "succeeded", "the orphan still takes jobs");
    stop(listener).await;
}

#[tokio::test]
async fn a_worker_dies_with_its_listener() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let (mut listener, _) = busy(&bench, &agent, "touch started; sleep 600").await;
    let worker = child(listener.pid(), "Agent.Worker").unwrap().pid;
    listener.signal(Signal::SIGKILL);
    listener.code().await;
    until("the worker is gone", || (!is_alive(worker)).then_some(())).await;
}

#[tokio::test]
async fn a_worker_may_be_made_to_outlive_its_listener() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| settings["workerOutlives"] = true.into());
    agent.configured("a").await;
    let script = "touch started; while [ ! -e go ]; do sleep 0.05; done";
    let (mut listener, _) = busy(&bench, &agent, script).await;
    let worker = child(listener.pid(), "Agent.Worker").unwrap().pid;
    listener.signal(Signal::SIGKILL);
    listener.code().await;
    std::fs::write(agent.root.join("_work/1/s/go"), "").unwrap();
    until("it comes to its own end", || {
        agent.diag("Worker_").contains("Worker exits with 100").then_some(())
    })
    .await;
    until("and leaves", || (!is_alive(worker)).then_some(())).await;
}

async fn stop(listener: Pid) {
    nix::sys::signal::kill(listener, Signal::SIGINT).unwrap();
    until("the orphan ends", || (!is_alive(listener)).then_some(())).await;
}
