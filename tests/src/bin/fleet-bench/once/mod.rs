//! Once mode: what lies between a job's last moment and the next listener, for agents in containers
//! and for agents as users and units; each beside what the engine, or systemd, needs by itself.

mod docker;
mod docker_floor;
mod lab;
mod moments;
mod section;
mod units;
mod units_floor;
mod work;

use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{self, events::Moment},
    fleet::Programs,
    results::Section,
};
pub(crate) use lab::{clean, on_server};
use moments::Gap;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Image of the agents in containers, on this engine already.
    #[arg(long, default_value = "fleet-agent:bench")]
    pub(crate) image: String,
    /// Agents of each kind.
    #[arg(long, default_value_t = 4)]
    pub(crate) agents: usize,
    /// Rounds; in each of them ours and the floor have their turns.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Jobs of a turn, and cycles of a floor's turn. In all turns together more than 200, so that a
    /// p99 does not hang on the one or two slowest.
    #[arg(long, default_value_t = 42)]
    pub(crate) jobs: usize,
    /// Jobs for each agent as a unit while hostd is away.
    #[arg(long, default_value_t = 4)]
    pub(crate) alone: usize,
    /// Leave containers or units out, to try the other.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Only>,
    /// The deploy directory, with the lab and the agent's package.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))]
    pub(crate) deploy: PathBuf,
}

/// One of the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Only {
    /// Agents in containers.
    Docker,
    /// Agents as users and units.
    Units,
}

/// What was measured of one kind of agents. Milliseconds, but for `online`: seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Cycles {
    /// A listener's last act to the next one's first.
    exec: Vec<f64>,
    /// The engine's word that the container ended, to the next listener's first act.
    since_heard: Vec<f64>,
    /// A listener's last act to the next session at the simulator.
    online: Vec<f64>,
    /// What nobody can be quicker than.
    floor: Vec<f64>,
    /// As `exec`, while hostd is away.
    alone: Vec<f64>,
}

impl Cycles {
    /// Takes one agent's gaps, and when it came online.
    fn add(&mut self, gaps: &[Gap], online: &[Moment]) {
        self.exec.extend(gaps.iter().map(|gap| gap.milliseconds()));
        let online = moments::first_within(gaps, online, |_| Moment::MAX);
        let took = online.iter().map(|(gap, at)| moments::milliseconds(gap.ended, *at) / 1e3);
        self.online.extend(took);
    }
}

/// Measures; leaves nothing on the engine, whatever happens.
pub(crate) async fn run(programs: Programs, args: &Args) -> anyhow::Result<Section> {
    let docker = engine::events::engine().await?;
    clean_all(&docker).await?;
    let measured = measure(programs, args, &docker).await;
    let cleaned = clean_all(&docker).await;
    let (containers, units) = measured?;
    cleaned?;
    Ok(section::section(args, containers, units))
}

async fn measure(
    programs: Programs,
    args: &Args,
    docker: &bollard::Docker,
) -> anyhow::Result<(Cycles, Cycles)> {
    let (mut containers, mut units) = (Cycles::default(), Cycles::default());
    if args.only != Some(Only::Units) {
        containers = docker::measure(programs.clone(), docker, args).await.context("containers")?;
        engine::clean(docker).await?;
    }
    if args.only != Some(Only::Docker) {
        units = lab::measure(&programs, args).await.context("units")?;
    }
    Ok((containers, units))
}

async fn clean_all(docker: &bollard::Docker) -> anyhow::Result<()> {
    engine::clean(docker).await?;
    clean(docker).await
}
