//! `azdo-sim jobs`

use azdo::sim::JobView;
use serde_json::json;

use crate::remote::{Remote, table};

/// Oldest first.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Only this pool.
    #[arg(long)]
    pool: Option<String>,
    /// Everything known, as JSON.
    #[arg(long)]
    json: bool,
    /// Cancel this job instead.
    #[arg(long, value_name = "ID")]
    cancel: Option<i64>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(id) = args.cancel {
        args.remote.post(&format!("jobs/{id}/cancel"), json!({})).await?;
        return Ok(());
    }
    let query: Vec<(&str, &str)> = args.pool.iter().map(|p| ("pool", p.as_str())).collect();
    let jobs = args.remote.get("jobs", &query).await?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&jobs)?)?;
        return Ok(());
    }
    let jobs: Vec<JobView> = serde_json::from_value(jobs)?;
    let row = |j: &JobView| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            j.request_id.to_string(),
            j.pool.clone(),
            j.name.clone(),
            j.state.clone(),
            or_dash(&j.result),
            or_dash(&j.agent),
        ]
    };
    table(
        &["ID", "POOL", "NAME", "STATE", "RESULT", "AGENT"],
        &jobs.iter().map(row).collect::<Vec<_>>(),
    )
}
