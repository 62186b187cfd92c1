//! `azdo-sim`: the simulator of Azure DevOps as a server, and small verbs to steer a running one.

/// A line on standard output, as `println!`, but a closed pipe is an error and no panic.
macro_rules! outln {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($part)*)
    }};
}

mod fault;
mod jobs;
mod journal;
mod queue;
mod remote;
mod rows;
mod serve;
mod set;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A simulator of Azure DevOps for agents and pools. Never use its tokens anywhere else.
#[derive(Parser)]
#[command(name = "azdo-sim", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until stopped.
    Serve(Box<serve::Args>),
    /// Queue jobs in a pool.
    Queue(queue::Args),
    /// List jobs.
    Jobs(jobs::Args),
    /// List the rows of a pool.
    Rows(rows::Args),
    /// Set, list or clear faults.
    Fault(fault::Args),
    /// Change times, limits, tokens; end sessions; ask for updates.
    Set(set::Args),
    /// Show what happened.
    Journal(journal::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough: `azdo-sim journal | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("azdo-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::Serve(args) => serve::run(*args).await,
        Verb::Queue(args) => queue::run(args).await,
        Verb::Jobs(args) => jobs::run(args).await,
        Verb::Rows(args) => rows::run(args).await,
        Verb::Fault(args) => fault::run(args).await,
        Verb::Set(args) => set::run(args).await,
        Verb::Journal(args) => journal::run(args).await,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
