//! Images with their own start script: the container goes on when the agent is over, because such
//! a script tries for ever to remove a registration. The agent is over when listener, worker and
//! the script that starts the listener again are gone; the kernel says when, nobody polls.

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{Interest, unix::AsyncFd};

use super::{DockerRuntime, top};
use crate::runtime::RunId;

/// Between two looks where the kernel cannot tell: the engine's processes are not ours to see, as
/// when hostd lives in a container of its own, or the list could not be read.
const BLIND: Duration = Duration::from_secs(5);

/// Waits until no process of the run keeps the agent.
pub(super) async fn gone(docker: Arc<DockerRuntime>, run: RunId) {
    loop {
        match keeper(&docker, &run).await {
            Look::Nobody => return,
            Look::Process(process) => ended(process).await,
            Look::Blind => tokio::time::sleep(BLIND).await,
        }
    }
}

enum Look {
    Nobody,
    Process(OwnedFd),
    Blind,
}

async fn keeper(docker: &DockerRuntime, run: &RunId) -> Look {
    let Ok(list) = docker.top(&run.to_string()).await else { return Look::Blind };
    let Ok(processes) = top::processes(&list) else { return Look::Blind };
    let Some(process) = processes.into_iter().find(|p| p.keeps_the_agent()) else {
        return Look::Nobody;
    };
    let handle =
        Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    match handle {
        // The number may belong to somebody else by now, or to another set of processes.
        Some(handle) if process.has_this_name() => Look::Process(handle),
        _ => Look::Blind,
    }
}

/// A process handle becomes readable when its process ends.
#[expect(
    deprecated,
    reason = "its successor is unsafe; an owned descriptor is what it wants proved"
)]
async fn ended(process: OwnedFd) {
    match AsyncFd::with_interest(process, Interest::READABLE) {
        Ok(handle) => drop(handle.readable().await),
        Err(_) => tokio::time::sleep(BLIND).await,
    }
}
