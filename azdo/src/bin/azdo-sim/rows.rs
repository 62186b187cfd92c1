//! `azdo-sim rows`

use azdo::sim::RowView;

use crate::remote::{Remote, table};

/// Registered agents as the service sees them.
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
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = args.pool.iter().map(|p| ("pool", p.as_str())).collect();
    let rows = args.remote.get("rows", &query).await?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    let rows: Vec<RowView> = serde_json::from_value(rows)?;
    let row = |r: &RowView| {
        let word = |yes: bool, a: &str, b: &str| if yes { a.to_owned() } else { b.to_owned() };
        vec![
            r.pool.clone(),
            r.id.to_string(),
            r.name.clone(),
            word(r.online, "online", "offline"),
            word(r.enabled, "enabled", "disabled"),
            r.version.clone().unwrap_or_else(|| "-".to_owned()),
            r.assigned.map_or_else(|| "-".to_owned(), |j| j.to_string()),
        ]
    };
    let head = ["POOL", "ID", "NAME", "STATUS", "ENABLED", "VERSION", "JOB"];
    table(&head, &rows.iter().map(row).collect::<Vec<_>>())
}
