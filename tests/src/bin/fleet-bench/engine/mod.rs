//! One engine, one image, three who start agents on it: ours, the engine's bare API, Docker Swarm.
//! They take turns, and the engine's event stream stops the clock for each.

pub(crate) mod agents;
pub(crate) mod events;
mod floor;
mod round;
pub(crate) mod swarm;

use std::collections::HashMap;

use bollard::{
    Docker,
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::{StreamExt as _, stream};

use crate::{
    fleet::{Fleet, Programs},
    host,
    results::{Goal, Row, Section},
};
use round::{Candidates, Samples};

/// The simulator's pool of the floor's agents, and part of their containers' names.
pub(crate) const FLOOR: &str = "bench-floor";
/// The simulator's pool of Swarm's agents.
pub(crate) const SWARM: &str = "bench-swarm";
/// Removals at once when cleaning up.
const REMOVALS: usize = 8;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Image of the agents, on this engine already.
    #[arg(long, default_value = "fleet-agent:bench")]
    pub(crate) image: String,
    /// Agents.
    #[arg(long, default_value_t = 30)]
    pub(crate) agents: usize,
    /// Rounds; in each of them every candidate has its turn.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Agents killed in each round, one after another.
    #[arg(long, default_value_t = 3)]
    pub(crate) kills: usize,
    /// Leave Docker Swarm out, on a machine that is part of one.
    #[arg(long)]
    pub(crate) no_swarm: bool,
}

/// Measures; leaves nothing on the engine, whatever happens.
pub(crate) async fn run(programs: Programs, args: &Args) -> anyhow::Result<Section> {
    let docker = events::engine().await?;
    clean(&docker).await?;
    let measured = measure(programs, args, &docker).await;
    let cleaned = clean(&docker).await;
    let samples = measured?;
    cleaned?;
    Ok(section(args, samples))
}

async fn measure(programs: Programs, args: &Args, docker: &Docker) -> anyhow::Result<Samples> {
    docker.inspect_image(&args.image).await?;
    let fleet = Fleet::start(programs, &[host::POOL, FLOOR, SWARM]).await?;
    if !args.no_swarm {
        swarm::init().await?;
    }
    let hostd = host::start(&fleet).await?;
    host::create_pool(&fleet, &args.image).await?;
    let mut candidates = Candidates::new(&fleet, docker, args);
    candidates.prepare().await?;
    for round in 1..=args.rounds {
        candidates.round(round).await?;
    }
    let samples = candidates.samples();
    hostd.stop().await?;
    fleet.stop().await?;
    Ok(samples)
}

/// Removes containers and the swarm that this program made, now or in a run that was cut off.
pub(crate) async fn clean(docker: &Docker) -> anyhow::Result<()> {
    // First the swarm, which would replace what is removed.
    swarm::leave().await?;
    remove(docker, agents::LABEL).await?;
    remove(docker, &format!("{}={}", host::POOL_LABEL, host::POOL)).await
}

/// Removes all containers with this label.
pub(crate) async fn remove(docker: &Docker, label: &str) -> anyhow::Result<()> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await?;
    let remove = |container: bollard::models::ContainerSummary| async move {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let id = container.id.unwrap_or_default();
        match docker.remove_container(&id, Some(options)).await {
            // Gone already, or just going.
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            other => other,
        }
    };
    let removals = stream::iter(found).map(remove).buffer_unordered(REMOVALS);
    for removed in removals.collect::<Vec<_>>().await {
        removed?;
    }
    Ok(())
}

fn section(args: &Args, samples: Samples) -> Section {
    let (n, settle) = (args.agents, host::SETTLE.as_secs());
    let mut section = Section::new("One engine: starting, replacing and removing agents");
    section.note(format!(
        "{} rounds of ours, floor, Swarm in turn; the same image, host network, init, log limits and \
         a bind mount for the token; in all three the agents really register at the simulator and \
         listen. The clock starts when the command is started, and stops at the engine's own event.",
        args.rounds
    ));
    section.note(format!(
        "Ours: coordinator, hostd and simulator as processes, `agentctl scale`; hostd's own entry in \
         a fresh container. Floor: the engine's API, create and start, {} at once as hostd does it.",
        host::STARTS_AT_ONCE
    ));
    section.note(
        "Swarm: `docker service scale` with Swarm's defaults, among them a wait of 5 s before it \
         replaces a task; a row of its own shows it without that wait.",
    );
    section.note(format!(
        "{n} → 0 is not the same work: ours disables each agent, reads its row twice one settle time \
         apart ({settle} s here, 20 s by default), looks for a job, and only then stops it; Swarm \
         sends a signal. Before kills and removals ours rests for as long as answers of Azure may be \
         old: of younger rows it believes none.",
    ));
    let Samples { up, floor, swarm_up, online, returned, .. } = samples.clone();
    section.rows = vec![
        Row::new(format!("scale 0 → {n}: all containers running"), "s", up)
            .floor(floor)
            .swarm(swarm_up)
            .goal(Goal::TimesFloor(1.25))
            .goal(Goal::TimesSwarm(0.65)),
        Row::new(format!("scale 0 → {n}: all online at the simulator"), "s", online),
        Row::new(format!("scale 0 → {n}: agentctl says that it is done"), "s", returned),
        Row::new("one agent killed: its replacement running", "s", samples.replaced.clone())
            .swarm(samples.swarm_replaced)
            .goal(Goal::TimesSwarm(0.25)),
        Row::new("the same, Swarm with --restart-delay 0s", "s", samples.replaced)
            .swarm(samples.swarm_replaced_at_once),
        Row::new(format!("scale {n} → 0: all containers stopped"), "s", samples.down.clone())
            .swarm(samples.swarm_down.clone()),
        Row::new(
            format!("the same without the settle time of {settle} s"),
            "s",
            samples.down.iter().map(|down| down - host::SETTLE.as_secs_f64()).collect(),
        )
        .swarm(samples.swarm_down),
    ];
    section
}
