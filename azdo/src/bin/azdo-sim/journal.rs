//! `azdo-sim journal`

use azdo::sim::{Entry, Summary};
use serde_json::json;

use crate::remote::{Remote, table};

/// Everything that mattered, in order; or the figures.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// Figures instead of lines.
    #[arg(long)]
    summary: bool,
    /// Only after this line.
    #[arg(long, default_value_t = 0)]
    since: u64,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Start a new stretch of counting, with this note, instead of showing anything.
    #[arg(long, value_name = "NOTE")]
    mark: Option<String>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(note) = args.mark {
        args.remote.post("journal/mark", json!({ "note": note })).await?;
        return Ok(());
    }
    let since = args.since.to_string();
    let answer = match args.summary {
        true => args.remote.get("summary", &[]).await?,
        false => args.remote.get("journal", &[("since", since.as_str())]).await?,
    };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&answer)?)?;
    } else if args.summary {
        figures(&serde_json::from_value(answer)?)?;
    } else {
        lines(&serde_json::from_value::<Vec<Entry>>(answer)?)?;
    }
    Ok(())
}

fn figures(summary: &Summary) -> anyhow::Result<()> {
    let jobs = &summary.jobs;
    outln!(
        "jobs: {} queued, {} running, {} succeeded, {} failed, {} cancelled, {} abandoned",
        jobs.queued,
        jobs.running,
        jobs.succeeded,
        jobs.failed,
        jobs.cancelled,
        jobs.abandoned
    )?;
    outln!(
        "session conflicts: {}, sessions expired: {}, deletes of busy agents: {}",
        summary.session_conflicts,
        summary.sessions_expired,
        summary.deletes_of_busy
    )?;
    let row = |(name, p): (&String, &azdo::sim::PoolCounts)| {
        vec![
            name.clone(),
            p.rows.to_string(),
            p.rows_max.to_string(),
            p.online.to_string(),
            p.busy.to_string(),
            p.enabled.to_string(),
        ]
    };
    table(
        &["POOL", "ROWS", "MOST", "ONLINE", "BUSY", "ENABLED"],
        &summary.pools.iter().map(row).collect::<Vec<_>>(),
    )
}

fn lines(entries: &[Entry]) -> anyhow::Result<()> {
    for entry in entries {
        let about = &entry.about;
        let kind = serde_json::to_value(entry.kind)
            .ok()
            .and_then(|k| k.as_str().map(str::to_owned))
            .unwrap_or_default();
        let who = [&about.pool, &about.agent]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join("/");
        let job = about.job.map(|j| format!("job {j}")).unwrap_or_default();
        let note = about.note.clone().unwrap_or_default();
        outln!("{:>6} {} {kind} {who} {job} {note}", entry.seq, entry.at.strftime("%H:%M:%S%.3f"))?;
    }
    Ok(())
}
