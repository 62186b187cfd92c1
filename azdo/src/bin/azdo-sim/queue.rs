//! `azdo-sim queue`

use azdo::sim::JobForm;
use serde_json::json;

use crate::remote::Remote;

/// Jobs are played by the stub agent: it works for so long and reports that result.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Pool, by name or id.
    #[arg(long)]
    pool: String,
    /// How many.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// How long each works.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What the agent must have: `NAME`, `NAME -equals VALUE` (repeat for more).
    #[arg(long = "demand", value_name = "DEMAND")]
    demands: Vec<String>,
    /// What each reports.
    #[arg(long, default_value = "succeeded", value_parser = ["succeeded", "succeededWithIssues", "failed", "canceled", "skipped"])]
    result: String,
    /// Name shown.
    #[arg(long, default_value = "Job")]
    name: String,
    /// Run by `sh` in the work folder in place of waiting.
    #[arg(long)]
    script: Option<String>,
    /// The listener hangs after the job.
    #[arg(long)]
    hang_after_job: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.seconds.is_finite() && args.seconds >= 0.0,
        "--seconds must not be negative"
    );
    let job = JobForm {
        name: args.name,
        duration_ms: std::time::Duration::from_secs_f64(args.seconds).as_millis().try_into()?,
        demands: args.demands,
        result: args.result,
        script: args.script,
        hang_after_job: args.hang_after_job,
        ..JobForm::default()
    };
    let answer = args
        .remote
        .post("jobs", json!({ "pool": args.pool, "count": args.count, "job": job }))
        .await?;
    for id in answer["requestIds"].as_array().into_iter().flatten() {
        outln!("{id}")?;
    }
    Ok(())
}
