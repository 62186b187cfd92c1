//! `azdo-sim serve`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use azdo::sim::{BusyDelete, PatForm, Settings, Sim, SimConfig};
use tokio::signal::unix::{SignalKind, signal};

/// Defaults are the real service's figures, as far as they are known.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: String,
    /// Organisation: the first word of every path.
    #[arg(long, default_value = "fabrikam")]
    org: String,
    /// A pool to have (repeat for more).
    #[arg(long = "pool", value_name = "NAME")]
    pools: Vec<String>,
    /// Tokens, one a line: `TOKEN [role=manager|reader|none] [expires=TIME] [name=N]`.
    #[arg(long = "pat-file", value_name = "FILE")]
    pat_files: Vec<PathBuf>,
    /// Written once when listening: `HOST:PORT`.
    #[arg(long, value_name = "FILE")]
    addr_file: Option<PathBuf>,
    /// An agent package to serve, named vsts-agent-PLATFORM-VERSION.tar.gz (repeat for more).
    #[arg(long = "package", value_name = "FILE")]
    packages: Vec<PathBuf>,
    /// Append the journal here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// A session without contact ends after this.
    #[arg(long, default_value = "5m", value_parser = duration)]
    session_expiry: Duration,
    /// A message poll without a message ends after this.
    #[arg(long, default_value = "50s", value_parser = duration)]
    poll_limit: Duration,
    /// A job's lock, from assignment and every renewal.
    #[arg(long, default_value = "10m", value_parser = duration)]
    lock_time: Duration,
    /// From assignment to delivery: shortest.
    #[arg(long, default_value = "2s", value_parser = duration)]
    delivery_lag_min: Duration,
    /// From assignment to delivery: longest.
    #[arg(long, default_value = "15s", value_parser = duration)]
    delivery_lag_max: Duration,
    /// Life of a listener's token.
    #[arg(long, default_value = "50m", value_parser = duration)]
    token_life: Duration,
    /// Jobs held at once in the organisation.
    #[arg(long, default_value_t = 1000)]
    parallel_jobs: usize,
    /// Deletes of busy agents are obeyed instead of refused.
    #[arg(long)]
    obey_busy_delete: bool,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|e| format!("{e}; write 90s, 5m, 1h"))?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}

impl Args {
    fn settings(&self) -> Settings {
        Settings {
            poll_limit: self.poll_limit,
            session_expiry: self.session_expiry,
            lock_time: self.lock_time,
            delivery_lag: (self.delivery_lag_min, self.delivery_lag_max),
            token_life: self.token_life,
            parallel_jobs: self.parallel_jobs,
            busy_delete: if self.obey_busy_delete { BusyDelete::Obey } else { BusyDelete::Refuse },
            seed: self.seed,
            ..Settings::default()
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colour).init();
    let mut pats = Vec::new();
    for file in &args.pat_files {
        pats.extend(read_pats(file)?);
    }
    if pats.is_empty() {
        tracing::warn!("no token is known; add one with --pat-file or `azdo-sim set pat`");
    }
    let config = SimConfig {
        listen: args.listen.clone(),
        org: args.org.clone(),
        pools: args.pools.clone(),
        pats,
        packages: args.packages.clone(),
        journal: args.journal.clone(),
        settings: args.settings(),
    };
    let mut stops = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let sim = Sim::start(config).await?;
    if let Some(file) = &args.addr_file {
        write_whole(file, &format!("{}\n", sim.addr()))?;
    }
    // Last: whoever reads this line finds the file.
    tracing::info!(url = %sim.base_url(), "serving");
    let [interrupt, terminate] = &mut stops;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn read_pats(file: &Path) -> anyhow::Result<Vec<PatForm>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read token file {}", file.display()))?;
    let mut pats = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let read = PatForm::parse_line(line).map_err(anyhow::Error::msg);
        pats.extend(read.with_context(|| format!("{} line {}", file.display(), number + 1))?);
    }
    Ok(pats)
}

/// Whoever waits for the file finds all of it.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}
