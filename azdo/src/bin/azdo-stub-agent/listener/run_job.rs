//! One job from its message to its reported result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use super::Context;
use super::notify::Notifier;
use super::renew;
use super::worker_process::WorkerProcess;
use crate::job::{Job, JobResult};
use crate::term;

/// Set to stop a job, with the time it may take.
type Cancelled = watch::Receiver<Option<Duration>>;

/// A job in the worker's hands.
pub(crate) struct Running {
    /// Which.
    pub(crate) job_id: String,
    cancel: watch::Sender<Option<Duration>>,
    /// Ends with the job; true = the listener has to hang now.
    pub(crate) done: tokio::task::JoinHandle<bool>,
}

impl Running {
    pub(crate) fn start(context: Arc<Context>, notifier: Arc<Mutex<Notifier>>, job: Job) -> Self {
        let (cancel, cancelled) = watch::channel(None);
        let job_id = job.job_id.clone();
        let done = tokio::spawn(async move {
            Box::pin(run(&context, &notifier, &job, cancelled)).await;
            job.sim.hang_after_job || context.settings.hang_after_job
        });
        Self { job_id, cancel, done }
    }

    /// Asks for an end within `grace` (at least the agent's own least grace).
    pub(crate) fn cancel(&self, grace: Duration) {
        self.cancel.send_replace(Some(grace));
    }
}

async fn run(context: &Context, notifier: &Mutex<Notifier>, job: &Job, cancelled: Cancelled) {
    let until = match renew::take(context, job).await {
        Ok(until) => until,
        Err(error) => {
            context.diag.log(&format!(
                "Job {} is dropped, its request cannot be locked: {error}",
                job.job_id
            ));
            return;
        }
    };
    notifier.lock().await.started(&job.job_id).await;
    term::stamped(&format!("Running job: {}", job.title()));
    let result = work(context, job, until, cancelled).await;
    term::stamped(&format!("Job {} completed with result: {result:?}", job.title()));
    renew::finish(context, job, result).await;
    notifier.lock().await.finished(&job.job_id).await;
}

/// The worker's time: until it ends by itself, is told to stop, or the lock is lost.
async fn work(context: &Context, job: &Job, until: Instant, mut cancelled: Cancelled) -> JobResult {
    let mut worker = match WorkerProcess::start(context, job).await {
        Ok(worker) => worker,
        Err(error) => {
            term::error(&format!("{error:#}"));
            return JobResult::Failed;
        }
    };
    let (result, grace) = tokio::select! {
        result = worker.result() => return result.unwrap_or_else(|| crashed(context, job)),
        () = renew::keep(context, job, until) => (JobResult::Abandoned, Duration::ZERO),
        grace = ask_to_stop(&mut cancelled) => (JobResult::Canceled, grace),
    };
    context.diag.log(&format!("Job {} is being stopped: {result:?}", job.job_id));
    worker.cancel().await;
    let limit = grace.max(context.settings.cancel_grace) + context.settings.log_flush;
    if tokio::time::timeout(limit, worker.result()).await.is_err() {
        context.diag.log("The worker did not stop in time and is killed");
        worker.kill().await;
    }
    result
}

fn crashed(context: &Context, job: &Job) -> JobResult {
    let text = format!("The worker of job {} ended without a result", job.title());
    context.diag.log(&text);
    term::error(&text);
    JobResult::Failed
}

async fn ask_to_stop(cancelled: &mut Cancelled) -> Duration {
    let asked = cancelled.wait_for(Option::is_some).await.map(|grace| grace.unwrap_or_default());
    match asked {
        Ok(grace) => grace,
        // Nobody is left who could ask.
        Err(_) => std::future::pending().await,
    }
}
