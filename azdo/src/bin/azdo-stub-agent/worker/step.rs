//! The job's one step: a script, or time that passes. A cancelled script is told SIGINT, then SIGTERM, then
//! SIGKILL, with the real agent's pauses between.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{Work, sources};
use crate::job::JobResult;

/// Runs the step to its end or until `cancel`.
pub(crate) async fn run(work: &Work, cancel: &CancellationToken) -> anyhow::Result<JobResult> {
    let folder = &work.order.work;
    for name in ["1/s", "1/a", "1/b", "1/TestResults", "_temp", "_tasks", "_tool"] {
        std::fs::create_dir_all(folder.join(name))
            .with_context(|| format!("cannot make {name}"))?;
    }
    let play = &work.order.job.sim;
    match &play.script {
        Some(text) => script(work, text, cancel).await,
        None => Ok(wait(Duration::from_millis(play.duration_ms), play.result, cancel).await),
    }
}

async fn wait(time: Duration, result: JobResult, cancel: &CancellationToken) -> JobResult {
    tokio::select! {
        () = tokio::time::sleep(time) => result,
        () = cancel.cancelled() => JobResult::Canceled,
    }
}

async fn script(work: &Work, text: &str, cancel: &CancellationToken) -> anyhow::Result<JobResult> {
    let file = work.order.work.join(format!("_temp/{}.sh", work.lookup));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut child = Command::new("sh")
        .arg(&file)
        .current_dir(sources(&work.order.work))
        .env_clear()
        .envs(work.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(work.diag.stdio())
        .stderr(work.diag.stdio())
        .process_group(0)
        .spawn()
        .context("cannot start sh")?;
    let status = tokio::select! {
        status = child.wait() => status?,
        () = cancel.cancelled() => {
            stop(work, &mut child).await?;
            return Ok(JobResult::Canceled);
        }
    };
    work.diag.log(&format!("Script ended: {status}"));
    Ok(if status.success() { work.order.job.sim.result } else { JobResult::Failed })
}

async fn stop(work: &Work, child: &mut Child) -> anyhow::Result<ExitStatus> {
    let pauses =
        [(Signal::SIGINT, work.settings.step_int), (Signal::SIGTERM, work.settings.step_term)];
    // Nobody else reaps it, so until `wait` returns the number still is this process group's.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    for (signal, pause) in pauses {
        send(group, signal)?;
        if let Ok(status) = tokio::time::timeout(pause, child.wait()).await {
            return Ok(status?);
        }
    }
    send(group, Signal::SIGKILL)?;
    Ok(child.wait().await?)
}

fn send(group: Option<Pid>, signal: Signal) -> nix::Result<()> {
    match group.map(|group| killpg(group, signal)) {
        None | Some(Ok(()) | Err(Errno::ESRCH)) => Ok(()),
        Some(Err(error)) => Err(error),
    }
}
