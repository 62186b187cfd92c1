//! A real hostd on this machine's own engine.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    fleet::Fleet,
    proc::{Daemon, LOOK_EVERY, run},
};

/// The host's name, and its lab's.
pub(crate) const HOST: &str = "bench";
/// The pool of the fleet, and of the simulator.
pub(crate) const POOL: &str = "fleet-bench";
/// hostd's label with the pool; containers of this benchmark are found by it.
pub(crate) const POOL_LABEL: &str = "fleet.pool";
/// The shortest settle time that a pool is given here: it is paid once in each removal.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

/// What hostd is when nobody sets anything: starts under way at the same time.
pub(crate) const STARTS_AT_ONCE: usize = 8;

const SESSION_LIMIT: Duration = Duration::from_secs(30);

/// Joins this machine to the fleet and starts hostd, with agents in containers.
pub(crate) async fn start(fleet: &Fleet) -> anyhow::Result<Daemon> {
    start_as(fleet, "docker", "[docker]\nnetwork = \"host\"\n").await
}

/// The same with another runtime, whose settings are `tables`.
pub(crate) async fn start_as(fleet: &Fleet, runtime: &str, tables: &str) -> anyhow::Result<Daemon> {
    let dir = fleet.dir().join("hostd");
    std::fs::create_dir(&dir)?;
    let (data, runs) = (data(fleet), dir.join("run"));
    join(fleet, &data.display().to_string()).await?;
    let config = dir.join("hostd.toml");
    let text = format!(
        "data = {data:?}\nrun = {runs:?}\nruntimes = [{runtime:?}]\nstarts_at_once = \
         {STARTS_AT_ONCE}\n\n{tables}"
    );
    std::fs::write(&config, text)?;
    let config = config.display().to_string();
    let args = ["run", "--config", &config];
    let mut hostd = Daemon::start("hostd", &fleet.programs.path("hostd"), &args, fleet.dir())?;
    in_session(fleet, &mut hostd).await?;
    Ok(hostd)
}

/// hostd's state directory.
pub(crate) fn data(fleet: &Fleet) -> PathBuf {
    fleet.dir().join("hostd/data")
}

/// The line that `agentctl host invite` prints, as a person would paste it: into a shell's standard
/// input, so that the token is in nobody's arguments.
async fn join(fleet: &Fleet, data: &str) -> anyhow::Result<()> {
    let line =
        run(&mut fleet.agentctl(&["host", "invite", HOST, "--lab", HOST, "--quiet"])).await?;
    let hostd = fleet.programs.path("hostd").display().to_string();
    let line = line.trim().replacen("hostd join", &format!("'{hostd}' join --data '{data}'"), 1);
    let joined = tokio::task::spawn_blocking(move || paste(&line)).await??;
    ensure!(joined.status.success(), "joining: {}", String::from_utf8_lossy(&joined.stderr));
    Ok(())
}

fn paste(line: &str) -> anyhow::Result<std::process::Output> {
    let mut shell = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    shell.stdin.take().context("the shell has an input")?.write_all(line.as_bytes())?;
    Ok(shell.wait_with_output()?)
}

async fn in_session(fleet: &Fleet, hostd: &mut Daemon) -> anyhow::Result<()> {
    let end = Instant::now() + SESSION_LIMIT;
    loop {
        hostd.still_runs()?;
        let hosts = run(&mut fleet.agentctl(&["get", "hosts", "-o", "json"])).await?;
        let hosts: Value = serde_json::from_str(&hosts)?;
        let state = hosts["hosts"][0]["state"].as_str().unwrap_or_default().to_owned();
        if state.eq_ignore_ascii_case("ready") {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("hostd is {state:?} after {SESSION_LIMIT:?}");
        }
        sleep(LOOK_EVERY * 5).await;
    }
}

/// The pool that is measured: agents of `image`, a fresh one for every job.
pub(crate) async fn create_pool(fleet: &Fleet, image: &str) -> anyhow::Result<()> {
    create_pool_with(fleet, &["--image", image]).await
}

/// The same with agents of another kind, in the words of `agentctl pool create`.
pub(crate) async fn create_pool_with(fleet: &Fleet, agents: &[&str]) -> anyhow::Result<()> {
    let settle = format!("{}s", SETTLE.as_secs());
    let selector = format!("lab={HOST}");
    let more = ["--selector", &selector, "--mode", "once", "--settle", &settle];
    fleet.create_pool(POOL, &[&more[..], &["--prefix", "fleet-test"], agents].concat()).await
}

/// `agentctl scale`, until it says that it is done.
pub(crate) async fn scale(fleet: &Fleet, count: usize) -> anyhow::Result<()> {
    let count = count.to_string();
    run(&mut fleet.agentctl(&["scale", POOL, &count, "--timeout", "10m"])).await.map(drop)
}
