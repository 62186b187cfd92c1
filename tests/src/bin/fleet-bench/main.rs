//! `fleet-bench`: how fast and how small the fleet is, against a floor and a peer in the same run.
//!
//! Each subcommand measures one thing with the real programs and puts its section into a file of
//! results; `report` makes BENCHMARKS.md of it. `deploy/bench.sh` runs them all.

mod control;
mod engine;
mod fleet;
mod host;
mod machine;
mod once;
mod proc;
mod report;
mod rest;
mod results;
mod stats;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use fleet::Programs;
use fleet_proto::logging::Report;
use machine::Machine;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use results::{Results, Section};
use tokio::signal::unix::{SignalKind, signal};

/// Two thousand connections in this process, and what else it has open.
const FILES: u64 = 8192;

/// Measures the fleet.
#[derive(Parser)]
#[command(name = "fleet-bench", arg_required_else_help = true)]
struct Cli {
    /// Directory of the programs to measure; by default the one this program is in.
    #[arg(long, global = true, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// The file of results.
    #[arg(long, global = true, value_name = "FILE", default_value = "target/bench/results.json")]
    results: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Starting, replacing and removing agents on this machine's engine; against the engine's bare
    /// API and Docker Swarm.
    Engine(engine::Args),
    /// From a listener's end to the next one in once mode, in containers and as users and units;
    /// against the engine's bare API and bare systemd.
    Once(once::Args),
    /// An order on its way to a thousand hosts; against a server that only writes.
    Fanout(control::FanoutArgs),
    /// Memory of coordinator and hostd, and what hostd costs at rest.
    Memory(MemoryArgs),
    /// Writes the page.
    Report {
        /// Where to.
        #[arg(long, default_value = "BENCHMARKS.md")]
        out: PathBuf,
    },
    /// Removes what a run that was cut off left on the engine.
    Clean,
    /// The part of `once` that runs on a lab server.
    #[command(hide = true)]
    OnceServer(once::Args),
    /// The floor of `fanout`.
    #[command(hide = true)]
    FloorServer { dir: PathBuf },
}

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
struct MemoryArgs {
    /// Image of the agents, on this engine already.
    #[arg(long, default_value = "fleet-agent:bench")]
    image: String,
    /// Simulated hosts of the coordinator.
    #[arg(long, default_value_t = 1000)]
    hosts: usize,
    /// Agents of a host, simulated and real.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(10..=500))]
    agents: u16,
    /// How long hostd is looked at.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    fleet_proto::tls::install_default();
    match Box::pin(run(Cli::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Report(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    more_files()?;
    match &cli.verb {
        Verb::Report { out } => report(&cli.results, out),
        Verb::Clean => clean(&engine::events::engine().await?).await,
        Verb::OnceServer(args) => once::on_server(args).await,
        Verb::FloorServer { dir } => control::floor_server::serve(dir).await,
        _ => Box::pin(measure(cli)).await,
    }
}

/// Measures, or ends early; either way what was started ends, and the engine is clean.
async fn measure(cli: Cli) -> anyhow::Result<()> {
    let programs = Programs::find(cli.bin)?;
    let docker = match cli.verb {
        Verb::Fanout(_) => engine::events::engine().await.ok(),
        _ => Some(engine::events::engine().await?),
    };
    let machine = Machine::look(&programs.profile(), docker.as_ref()).await?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (name, section) = tokio::select! {
        measured = Box::pin(section(cli.verb, programs)) => measured?,
        _ = terminate.recv() => return cut_off(docker.as_ref()).await,
        _ = interrupt.recv() => return cut_off(docker.as_ref()).await,
    };
    Results::merge(&cli.results, machine, name, section)
}

async fn section(verb: Verb, programs: Programs) -> anyhow::Result<(&'static str, Section)> {
    Ok(match verb {
        Verb::Engine(args) => ("engine", engine::run(programs, &args).await?),
        Verb::Once(args) => ("once", once::run(programs, &args).await?),
        Verb::Fanout(args) => ("fanout", control::fanout(programs, &args).await?),
        Verb::Memory(args) => ("memory", memory(programs, &args).await?),
        Verb::Report { .. } | Verb::Clean | Verb::OnceServer(_) | Verb::FloorServer { .. } => {
            bail!("nothing to measure")
        }
    })
}

async fn memory(programs: Programs, args: &MemoryArgs) -> anyhow::Result<Section> {
    let agents = usize::from(args.agents);
    let mut section = Section::new("Memory, and hostd at rest");
    section.note(
        "Read from /proc, all threads together. The coordinator's agents are reported by simulated \
         hosts in one process (real sessions, Starting, then Idle) in 10 pools, and have rows at the \
         simulator that it looks at every 10 s; hostd's are real containers.",
    );
    section.rows = control::memory::measure(programs.clone(), args.hosts, agents).await?;
    section.rows.extend(rest::measure(programs, &args.image, agents, args.seconds).await?);
    Ok(section)
}

async fn cut_off(docker: Option<&bollard::Docker>) -> anyhow::Result<()> {
    eprintln!("  cut off; cleaning up");
    if let Some(docker) = docker {
        clean(docker).await?;
    }
    bail!("cut off; nothing was measured")
}

/// What any of the measurements may have left on the engine.
async fn clean(docker: &bollard::Docker) -> anyhow::Result<()> {
    engine::clean(docker).await?;
    once::clean(docker).await
}

fn report(results: &std::path::Path, out: &std::path::Path) -> anyhow::Result<()> {
    let results = Results::read(results)?;
    std::fs::write(out, report::page(&results))
        .with_context(|| format!("cannot write {}", out.display()))?;
    let (met, all) = report::tally(&results);
    println!("{}: {met} of {all} goals met", out.display());
    Ok(())
}

fn more_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < FILES {
        setrlimit(Resource::RLIMIT_NOFILE, FILES.min(hard), hard)?;
    }
    Ok(())
}
