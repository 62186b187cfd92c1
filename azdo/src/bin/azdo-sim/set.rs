//! `azdo-sim set`: everything else that can be changed while the simulator runs.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::remote::Remote;

/// Small interventions.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Add the tokens of a file.
    Pat {
        /// Lines as for `serve --pat-file`.
        file: PathBuf,
    },
    /// Let the tokens of a file expire now.
    ExpirePat {
        /// Lines as for `serve --pat-file`.
        file: PathBuf,
    },
    /// Forget the tokens of a file.
    RevokePat {
        /// Lines as for `serve --pat-file`.
        file: PathBuf,
    },
    /// Make a pool.
    Pool {
        /// Its name.
        name: String,
    },
    /// End the sessions of one agent, or of a whole pool.
    KillSession {
        /// Pool.
        #[arg(long)]
        pool: String,
        /// Agent; absent: all.
        #[arg(long)]
        agent: Option<String>,
    },
    /// Want one agent, or a whole pool, to update itself.
    Update {
        /// Pool.
        #[arg(long)]
        pool: String,
        /// Agent; absent: all that are online.
        #[arg(long)]
        agent: Option<String>,
        /// To this version.
        #[arg(long)]
        version: String,
    },
    /// Limits: jobs held at once, and whether a busy row can be deleted.
    Limits {
        /// Jobs held at once.
        #[arg(long)]
        parallel_jobs: Option<usize>,
        /// `refuse` or `obey`.
        #[arg(long, value_parser = ["refuse", "obey"])]
        busy_delete: Option<String>,
    },
    /// Move the clock forward.
    Clock {
        /// By so many seconds.
        seconds: f64,
    },
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let remote = &args.remote;
    match args.verb {
        Verb::Pat { file } => tokens(remote, "pats", &file).await,
        Verb::ExpirePat { file } => tokens(remote, "pats/expire", &file).await,
        Verb::RevokePat { file } => tokens(remote, "pats/revoke", &file).await,
        Verb::Pool { name } => done(remote.post("pools", json!({ "name": name })).await),
        Verb::KillSession { pool, agent } => {
            done(remote.post("sessions/kill", json!({ "pool": pool, "agent": agent })).await)
        }
        Verb::Update { pool, agent, version } => done(
            remote
                .post("updates", json!({ "pool": pool, "agent": agent, "version": version }))
                .await,
        ),
        Verb::Limits { parallel_jobs, busy_delete } => {
            let given = [
                ("parallelJobs", parallel_jobs.map(Value::from)),
                ("busyDelete", busy_delete.map(Value::from)),
            ];
            let form: Map<String, Value> =
                given.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect();
            done(remote.post("settings", Value::Object(form)).await)
        }
        Verb::Clock { seconds } => {
            done(remote.post("clock/advance", json!({ "seconds": seconds })).await)
        }
    }
}

/// Tokens come by file: an argument would stand in the process list.
async fn tokens(remote: &Remote, verb: &str, file: &std::path::Path) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    for line in text.lines() {
        let Some(pat) = azdo::sim::PatForm::parse_line(line).map_err(anyhow::Error::msg)? else {
            continue;
        };
        let body = if verb == "pats" { json!(pat) } else { json!({ "token": pat.token }) };
        remote.post(verb, body).await?;
    }
    Ok(())
}

fn done(answer: anyhow::Result<Value>) -> anyhow::Result<()> {
    answer.map(|_| ())
}
