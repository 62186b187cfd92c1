//! The worker as the listener sees it: a child process at the other end of a channel.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use super::Context;
use crate::channel::{Channel, Order, ToListener, ToWorker};
use crate::job::{Job, JobResult};

/// How long a new worker has to say that it got its job.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker with a job.
pub(crate) struct WorkerProcess {
    child: Child,
    channel: Channel,
}

impl WorkerProcess {
    /// Starts a worker and hands it the job.
    pub(crate) async fn start(context: &Context, job: &Job) -> anyhow::Result<Self> {
        let (channel, descriptors) = Channel::pair()?;
        let program = context.layout.worker();
        let child = Command::new(&program)
            .args(Channel::arguments(&descriptors))
            .env_clear()
            .envs(context.environment.iter())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        // From here on only the child holds its ends: their closing tells of its death.
        drop(descriptors);
        let mut worker = Self { child, channel };
        let handed = tokio::time::timeout(CHANNEL_TIMEOUT, worker.hand_over(context, job)).await;
        if let Err(error) = handed.context("the worker did not take its job").flatten() {
            worker.kill().await;
            bail!(error);
        }
        Ok(worker)
    }

    async fn hand_over(&mut self, context: &Context, job: &Job) -> anyhow::Result<()> {
        use secrecy::ExposeSecret as _;
        let agent = &context.connection.registration.agent;
        let order = Order {
            job: job.clone(),
            base: context.connection.api.base().to_owned(),
            token: context.connection.bearer().await?.expose_secret().to_owned(),
            agent: agent.agent_name.clone(),
            work: context.layout.root().join(&agent.work_folder),
        };
        self.channel.send(&ToWorker::Run(Box::new(order))).await?;
        let ToListener::Started = self.channel.receive().await?;
        Ok(())
    }

    /// Waits for its end; `None` = it crashed.
    pub(crate) async fn result(&mut self) -> Option<JobResult> {
        self.child.wait().await.ok()?.code().and_then(JobResult::from_exit_code)
    }

    /// Asks it to stop; a worker that is gone needs no asking.
    pub(crate) async fn cancel(&mut self) {
        let _ = self.channel.send(&ToWorker::Cancel).await;
    }

    /// Ends it for good.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}
