//! `start.sh` of the container image, by the environment that Microsoft's recipe defines.

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::bench::{Agent, Bench, output};
use crate::process::Process;

fn start(bench: &Bench, agent: &Agent) -> Command {
    let image = agent.root.parent().unwrap();
    let script = image.join("start.sh");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/stub/start.sh"), &script).unwrap();
    let mut command = agent.command("sh");
    command.arg(script).env_remove("AGENT_ALLOW_RUNASROOT").env("AZP_AGENT_DIR", &agent.root);
    command.env("AZP_URL", bench.url()).env("AZP_POOL", "nightly").env("AZP_AGENT_NAME", "c1");
    command.env("AZP_REMOVE_RETRY_S", "0.05");
    command
}

#[tokio::test]
async fn start_sh_registers_runs_and_takes_the_registration_back() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut command = start(&bench, &agent);
    command
        .env("AZP_TOKEN", bench.pat())
        .env("AZP_WORK", agent.root.join("elsewhere"))
        .arg("--once");
    let job = bench.queue_when_registered("c1", "j");
    let (code, text) = tokio::join!(output(command), job);
    assert_eq!(code.0, 0, "{}", code.1);
    let record = bench.job(text).await.record.unwrap();
    let leaked = record
        .env
        .iter()
        .find(|name| ["AZP_TOKEN", "VSTS_AGENT_INPUT_TOKEN"].contains(&name.as_str()));
    assert_eq!(leaked, None);
    assert!(agent.root.join("elsewhere/1/s").exists(), "AZP_WORK is the work folder");
    assert!(bench.row("c1").await.is_none(), "the registration is taken back at the end");
}

#[tokio::test]
async fn start_sh_keeps_the_token_out_of_the_pool_page_and_private_on_disk() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut command = start(&bench, &agent);
    command.env("AZP_TOKEN", bench.pat());
    let mut container = Process::start(command);
    container.line("Listening for Jobs").await;
    let seen = bench.row("c1").await.unwrap().system_capabilities;
    assert!(!seen.values().any(|value| value.contains(&bench.pat())), "{seen:?}");
    let file = agent.root.with_file_name(".token");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    container.signal(Signal::SIGTERM);
    assert_eq!(container.code().await, 143);
    assert!(bench.row("c1").await.is_none());
}

#[tokio::test]
async fn start_sh_reads_a_token_file_and_refuses_to_start_with_nothing() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let (code, text) = output(start(&bench, &agent)).await;
    assert_eq!(code, 1);
    assert!(text.contains("missing AZP_TOKEN or AZP_TOKEN_FILE"), "{text}");

    let file = agent.root.with_file_name("pat");
    std::fs::write(&file, format!("{}\n", bench.pat())).unwrap();
    let mut command = start(&bench, &agent);
    command.env("AZP_TOKEN_FILE", file);
    let mut container = Process::start(command);
    container.line("Listening for Jobs").await;
}

#[tokio::test]
async fn start_sh_tries_the_removal_until_the_job_is_over() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut command = start(&bench, &agent);
    command.env("AZP_TOKEN", bench.pat());
    let mut container = Process::start(command);
    container.line("Listening for Jobs").await;
    let script = "while [ ! -e go ]; do sleep 0.05; done";
    let form = azdo::sim::JobForm { script: Some(script.to_owned()), ..Default::default() };
    let job = bench.queue_form(form);
    bench.running(job).await;
    container.signal(Signal::SIGTERM);
    container.said("Failed: Removing agent from the server", 2).await;
    assert!(bench.row("c1").await.is_some());
    std::fs::write(agent.root.join("_work/1/s/go"), "").unwrap();
    assert_eq!(container.code().await, 143);
    assert_eq!(bench.result(job).await, "succeeded");
    assert!(bench.row("c1").await.is_none());
}
