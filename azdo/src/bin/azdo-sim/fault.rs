//! `azdo-sim fault`

use azdo::sim::{Break, Fault};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::remote::Remote;

/// Bad days.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Set a fault; it adds to those that are set.
    Set(Box<Set>),
    /// Show the faults that are set.
    List,
    /// End all faults.
    Clear,
}

#[derive(clap::Args)]
struct Set {
    /// Begin of the path after the organisation, e.g. /_apis/distributedtask/pools/3/agents.
    #[arg(long, default_value = "")]
    path: String,
    /// Only this verb.
    #[arg(long)]
    method: Option<String>,
    /// How likely, 0 to 1.
    #[arg(long, default_value_t = 1.0)]
    probability: f64,
    /// How many requests are hit.
    #[arg(long)]
    count: Option<u64>,
    /// Wait before the request is looked at.
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Wait after it had its effect.
    #[arg(long)]
    late_ms: Option<u64>,
    /// Answer with this status instead.
    #[arg(long)]
    status: Option<u16>,
    /// Answer with the sign-in page as 203 instead.
    #[arg(long)]
    html203: bool,
    /// Retry-After in seconds, also on good answers.
    #[arg(long)]
    retry_after_s: Option<u64>,
    /// Break the connection before or after the effect.
    #[arg(long)]
    drop: Option<When>,
    /// Stretch the body over so long.
    #[arg(long)]
    slow_body_ms: Option<u64>,
    /// Reads see the past, up to so many seconds (30 at most).
    #[arg(long)]
    stale_s: Option<u64>,
    /// The request takes effect twice.
    #[arg(long)]
    double: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    Before,
    After,
}

impl From<Set> for Fault {
    fn from(set: Set) -> Self {
        Self {
            path: set.path,
            method: set.method,
            probability: set.probability,
            count: set.count,
            latency_ms: set.latency_ms,
            late_ms: set.late_ms,
            status: set.status,
            html203: set.html203,
            retry_after_s: set.retry_after_s,
            drop: set.drop.map(|when| match when {
                When::Before => Break::Before,
                When::After => Break::After,
            }),
            slow_body_ms: set.slow_body_ms,
            stale_s: set.stale_s,
            double: set.double,
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Set(set) => {
            args.remote.post("faults", json!(Fault::from(*set))).await?;
        }
        Verb::List => {
            outln!("{}", serde_json::to_string_pretty(&args.remote.get("faults", &[]).await?)?)?
        }
        Verb::Clear => {
            args.remote.delete("faults").await?;
        }
    }
    Ok(())
}
