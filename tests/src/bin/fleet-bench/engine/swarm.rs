//! The peer: Docker Swarm with its own client and its own defaults, a swarm of this machine alone.

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::agents::{self, HAND_OVER, LABEL, LOG_FILES, LOG_SIZE};
use crate::{fleet::Simulator, proc::run};

/// Marks a swarm that this program made, and says whether the bridge that comes with it was there
/// before.
const NODE_LABEL: &str = "fleet.bench.bridge";
/// Swarm makes it and never removes it.
const BRIDGE: &str = "docker_gwbridge";

/// Begins a swarm.
///
/// # Errors
/// When this machine is part of one: it would have to leave it.
pub(crate) async fn init() -> anyhow::Result<()> {
    if state().await? != "inactive" {
        bail!(
            "this machine is part of a swarm, and a benchmark does not take it out of it; run it \
             on another machine, or without Swarm (--no-swarm)"
        );
    }
    let bridge = if has_bridge().await? { "keep" } else { "remove" };
    docker(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1"])
        .await?;
    let marked = mark(bridge).await;
    if marked.is_err() {
        // Without the mark nobody would know later whose swarm it is.
        docker(&["swarm", "leave", "--force"]).await?;
    }
    marked
}

async fn mark(bridge: &str) -> anyhow::Result<()> {
    let node = docker(&["info", "--format", "{{.Swarm.NodeID}}"]).await?;
    let label = format!("{NODE_LABEL}={bridge}");
    docker(&["node", "update", "--label-add", &label, node.trim()]).await.map(drop)
}

/// Ends the swarm, if this program began it.
pub(crate) async fn leave() -> anyhow::Result<()> {
    if state().await? == "inactive" {
        return Ok(());
    }
    let format = format!("{{{{index .Spec.Labels \"{NODE_LABEL}\"}}}}");
    let mark = docker(&["node", "inspect", "self", "--format", &format]).await?;
    let remove_bridge = match mark.trim() {
        "remove" => true,
        "keep" => false,
        _ => return Ok(()),
    };
    docker(&["swarm", "leave", "--force"]).await?;
    if remove_bridge && has_bridge().await? {
        docker(&["network", "rm", BRIDGE]).await?;
    }
    Ok(())
}

/// A service of agents, none of them yet. `delay`: what Swarm waits before it replaces one; by
/// default it has its own.
pub(crate) async fn service(
    sim: &Simulator,
    image: &str,
    name: &str,
    delay: Option<&str>,
) -> anyhow::Result<()> {
    let mount = format!("type=bind,source={},target={HAND_OVER}", agents::hand_over(sim));
    let label = format!("{LABEL}={name}");
    let (size, files) = (format!("max-size={LOG_SIZE}"), format!("max-file={LOG_FILES}"));
    let mut command = Command::new("docker");
    command.args(["service", "create", "--detach", "--name", name, "--replicas", "0"]);
    command.args(["--network", "host", "--init", "--mount", &mount, "--container-label", &label]);
    command.args(["--log-driver", "json-file", "--log-opt", &size, "--log-opt", &files]);
    // There is no registry to ask for a digest.
    command.arg("--no-resolve-image");
    for variable in agents::environment(sim, super::SWARM, "{{.Task.Name}}") {
        command.args(["--env", &variable]);
    }
    if let Some(delay) = delay {
        command.args(["--restart-delay", delay]);
    }
    run(command.arg(image)).await.map(drop)
}

/// `docker service scale`, which returns when the order is taken.
pub(crate) async fn scale(name: &str, count: usize) -> anyhow::Result<()> {
    docker(&["service", "scale", "--detach", &format!("{name}={count}")]).await.map(drop)
}

async fn state() -> anyhow::Result<String> {
    let state = docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]).await?;
    Ok(state.trim().to_owned())
}

async fn has_bridge() -> anyhow::Result<bool> {
    let names = docker(&["network", "ls", "--format", "{{.Name}}"]).await?;
    Ok(names.lines().any(|name| name == BRIDGE))
}

async fn docker(words: &[&str]) -> anyhow::Result<String> {
    run(Command::new("docker").args(words)).await.context("Swarm is driven by the docker command")
}
