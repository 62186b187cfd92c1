//! What a start costs beside the engine's own work: `ensure_started` against a bare create and
//! start of the same image, interleaved, with the same number at once; and how soon a killed agent
//! is known to have ended.
//!
//! `cargo run --release -p hostd --example start_cost -- IMAGE [agents] [at once] [rounds]`

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptions, RemoveContainerOptionsBuilder,
        StartContainerOptions,
    },
};
use fleet_model::{AzureTarget, Mode, Template};
use futures_util::{StreamExt, TryStreamExt, stream};
use hostd::runtime::{
    RunId, RunSpec, Runtime, RuntimeEvent, StartWith,
    docker::{DockerRuntime, DockerSettings},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().context("which image?")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (agents, at_once, rounds) = (number(30)?, number(8)?, number(5)?);
    let place = std::env::temp_dir().join(format!("fleet-test-cost-{}", std::process::id()));
    let settings = DockerSettings {
        runs_dir: place.join("runs"),
        ..DockerSettings::new(format!("fleet-test-cost-{}", std::process::id()).parse()?)
    };
    let runtime = Arc::new(DockerRuntime::new(settings));
    runtime.ensure_image(&image.parse()?).await?;
    let docker = Docker::connect_with_unix("/var/run/docker.sock", 120, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    for round in 0..rounds {
        let began = Instant::now();
        each(agents, at_once, |n| bare(docker.clone(), image.clone(), n)).await?;
        let floor = began.elapsed();
        each(agents, at_once, |n| remove(docker.clone(), n)).await?;

        let specs =
            (0..agents).map(|n| spec(&image, round, n, &place)).collect::<Result<Vec<_>>>()?;
        let began = Instant::now();
        each(agents, at_once, |n| start(runtime.clone(), specs[n].clone())).await?;
        let ours = began.elapsed();
        let kill = reaction(&docker, &runtime, &specs).await?;
        each(agents, at_once, |n| end(runtime.clone(), specs[n].run.clone())).await?;
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        println!(
            "round {round}: engine alone {floor:.2?}, ensure_started {ours:.2?}, ratio {ratio:.2}, \
             kill to Ended {kill:.2?}"
        );
    }
    std::fs::remove_dir_all(place)?;
    Ok(())
}

/// From the engine's word that it killed a run to the event that says so, the longest of a few.
async fn reaction(
    docker: &Docker,
    runtime: &Arc<DockerRuntime>,
    specs: &[RunSpec],
) -> Result<Duration> {
    let (sender, mut events) = mpsc::channel(1024);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(runtime.clone().watch(sender, stop));
    while events.recv().await.context("the watch ended")? != RuntimeEvent::EngineUp {}
    let mut longest = Duration::ZERO;
    for spec in specs.iter().take(3) {
        docker.kill_container(&spec.run.to_string(), None::<KillContainerOptions>).await?;
        let began = Instant::now();
        let ended =
            |event: &RuntimeEvent| matches!(event, RuntimeEvent::Ended(run, _) if *run == spec.run);
        while !ended(&events.recv().await.context("the watch ended")?) {}
        longest = longest.max(began.elapsed());
    }
    Ok(longest)
}

async fn each<F: Future<Output = Result<()>>>(
    count: usize,
    at_once: usize,
    act: impl Fn(usize) -> F,
) -> Result<()> {
    stream::iter(0..count).map(act).buffer_unordered(at_once).try_collect::<()>().await
}

fn bare_name(number: usize) -> String {
    format!("fleet-test-bare-{}-{number}", std::process::id())
}

async fn bare(docker: Docker, image: String, number: usize) -> Result<()> {
    let body = ContainerCreateBody {
        image: Some(image),
        cmd: Some(["/bin/sh", "-c", "exec sleep 600"].map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let name = bare_name(number);
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), body).await?;
    docker.start_container(&name, None::<StartContainerOptions>).await?;
    Ok(())
}

async fn remove(docker: Docker, number: usize) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    Ok(docker.remove_container(&bare_name(number), Some(options)).await?)
}

async fn start(runtime: Arc<DockerRuntime>, spec: RunSpec) -> Result<()> {
    Ok(runtime.ensure_started(&spec).await?)
}

async fn end(runtime: Arc<DockerRuntime>, run: RunId) -> Result<()> {
    runtime.ensure_ended(&run).await?;
    Ok(runtime.ensure_removed(&run).await?)
}

/// Its agents have nowhere to register and end soon: only the start is of interest.
fn spec(image: &str, round: usize, number: usize, place: &std::path::Path) -> Result<RunSpec> {
    let agent = format!("fleet-test-cost-{}-{number:02}", std::process::id());
    Ok(RunSpec {
        labels: Default::default(),
        run: RunId { agent: agent.parse()?, attempt: u32::try_from(round)? + 1 },
        pool: "nightly".parse()?,
        group: "default".parse()?,
        slot: u16::try_from(number)? + 1,
        host: format!("fleet-test-cost-{}", std::process::id()).parse()?,
        azure: AzureTarget { url: "http://127.0.0.1:1/x".into(), pool: "nightly".into() },
        template: Arc::new(Template::docker(image.parse()?, Mode::Once)),
        slot_dir: PathBuf::from(place).join(agent),
        start: StartWith::Token(String::from("none").into()),
        owner: "fleet/cost/0".into(),
    })
}
