//! `config.sh remove`, its lines and its traps.

use tokio::process::Command;

use crate::bench::{Agent, Bench, output};
use crate::process::Process;

fn remove(bench: &Bench, agent: &Agent) -> Command {
    let mut command = agent.command("sh");
    command.args(["config.sh", "remove", "--unattended", "--auth", "pat"]);
    command.env("VSTS_AGENT_INPUT_TOKEN", bench.pat());
    command
}

#[tokio::test]
async fn remove_deletes_the_row_and_the_files() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let (code, text) = output(remove(&bench, &agent)).await;
    assert_eq!(code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let wanted = [
        "Removing agent from the server",
        "Succeeded: Removing agent from the server",
        "Removing .credentials",
        "Succeeded: Removing .credentials",
        "Removing .agent",
        "Succeeded: Removing .agent",
    ];
    assert_eq!(lines, wanted);
    assert!(bench.row("a").await.is_none());
    for name in [".agent", ".credentials", ".credentials_rsaparams"] {
        assert!(!agent.root.join(name).exists(), "{name}");
    }
    agent.configured("a").await;
}

#[tokio::test]
async fn remove_fails_while_a_job_runs_and_keeps_the_files() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let job = bench.queue("long", 600_000);
    let mut listener = Process::start(agent.run(&[]));
    listener.line("Running job: long").await;
    bench.running(job).await;
    let (code, text) = output(remove(&bench, &agent)).await;
    assert_eq!(code, 1);
    assert!(text.contains("Failed: Removing agent from the server"), "{text}");
    assert!(text.contains("is running a job for pool"), "{text}");
    assert!(agent.root.join(".agent").exists() && bench.row("a").await.is_some());
}

#[tokio::test]
async fn remove_in_a_stale_directory_deletes_the_new_registration() {
    let bench = Bench::start().await;
    let stale = bench.install();
    stale.configured("a").await;
    let mut config = bench.install().config("a");
    config.arg("--replace");
    assert_eq!(output(config).await.0, 0);
    assert_eq!(output(remove(&bench, &stale)).await.0, 0);
    assert!(bench.row("a").await.is_none(), "same id: the other host's registration is gone");
}

#[tokio::test]
async fn remove_of_a_row_that_is_gone_still_clears_the_files() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    bench.delete("a").await;
    let (code, text) = output(remove(&bench, &agent)).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Does not exist. Skipping Removing agent from the server"), "{text}");
    assert!(!agent.root.join(".agent").exists());
}

#[tokio::test]
async fn remove_refuses_while_the_agent_is_a_service() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    std::fs::write(agent.root.join(".service"), "vsts.agent.o.p.a.service\n").unwrap();
    let (code, text) = output(remove(&bench, &agent)).await;
    assert_eq!(code, 1);
    assert!(text.contains("svc.sh uninstall"), "{text}");
    assert!(bench.row("a").await.is_some());
}
