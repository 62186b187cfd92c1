//! `Agent.Worker`: one job, then an exit code of 100 + result. It swallows SIGINT, so that a signal to the whole
//! group reaches only the listener, which then cancels through the channel.

mod cleanup;
mod record;
mod step;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Order, ToListener, ToWorker};
use crate::diag::Diag;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::job::JobResult;
use crate::layout::Layout;
use crate::settings::Settings;

/// How long a new worker waits for its job.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the job's parts share.
pub(crate) struct Work {
    order: Order,
    settings: Settings,
    diag: Diag,
    /// Environment of the job's processes.
    environment: Vec<(String, String)>,
    /// Marks the job's processes, to find those it leaves behind.
    lookup: String,
}

/// Runs the job that comes through the channel.
pub(crate) async fn main(args: &[String]) -> anyhow::Result<u8> {
    let mut channel = Channel::from_arguments(args)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move { while interrupt.recv().await.is_some() {} });
    let layout = Layout::of_this_process()?;
    let first =
        tokio::time::timeout(CHANNEL_TIMEOUT, channel.receive()).await.context("no job came")?;
    let ToWorker::Run(order) = first? else { bail!("the first message was not a job") };
    channel.send(&ToListener::Started).await?;
    let work = Work::new(&layout, *order);
    work.diag.log(&format!(
        "Job {} received, request {}",
        work.order.job.job_id, work.order.job.request_id
    ));

    let cancel = CancellationToken::new();
    let listener = tokio::spawn(obey(channel, cancel.clone()));
    let outcome = tokio::select! {
        result = run(&layout, &work, &cancel) => Some(result),
        // Only the listener's death ends this branch; the job goes down with the channel, as the real one's does.
        () = listener_died(listener, work.settings.worker_outlives) => None,
    };
    cleanup::kill_leftovers(&work.lookup);
    let code = outcome.map_or(Exit::Retryable.code(), JobResult::exit_code);
    work.diag.log(&format!("Worker exits with {code}"));
    Ok(code)
}

async fn run(layout: &Layout, work: &Work, cancel: &CancellationToken) -> JobResult {
    record::send(layout, work).await;
    match step::run(work, cancel).await {
        Ok(result) => result,
        Err(error) => {
            work.diag.log(&format!("Step failed: {error:#}"));
            JobResult::Failed
        }
    }
}

/// Listens for orders until the listener is gone. SIGTERM counts as an order to cancel.
async fn obey(mut channel: Channel, cancel: CancellationToken) {
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            terminate.recv().await;
            cancel.cancel();
        });
    }
    while let Ok(message) = channel.receive::<ToWorker>().await {
        if matches!(message, ToWorker::Cancel) {
            cancel.cancel();
        }
    }
}

async fn listener_died(listener: tokio::task::JoinHandle<()>, outlive: bool) {
    let _ = listener.await;
    if outlive {
        std::future::pending::<()>().await;
    }
}

impl Work {
    fn new(layout: &Layout, order: Order) -> Self {
        let inherited = Environment::of_this_process(layout);
        let lookup = format!("vsts_{}", uuid::Uuid::new_v4());
        let job = &order.job;
        let added = [
            ("TF_BUILD", "True".to_owned()),
            ("VSTS_PROCESS_LOOKUP_ID", lookup.clone()),
            ("AGENT_NAME", order.agent.clone()),
            ("AGENT_VERSION", layout.version()),
            ("AGENT_WORKFOLDER", order.work.display().to_string()),
            ("AGENT_JOBNAME", job.title().to_owned()),
            ("SYSTEM_JOBID", job.job_id.clone()),
            ("BUILD_SOURCESDIRECTORY", sources(&order.work).display().to_string()),
        ];
        let environment = inherited
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(added.map(|(name, value)| (name.to_owned(), value)))
            .collect();
        Self {
            settings: Settings::load(layout, &inherited),
            diag: Diag::open(layout, &inherited, "Worker"),
            environment,
            lookup,
            order,
        }
    }
}

/// Where the sources of the first (and here only) pipeline go.
fn sources(work: &Path) -> std::path::PathBuf {
    work.join("1/s")
}
