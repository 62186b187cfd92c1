//! The fake runtime as a container runtime, its verbs noted in the journal, and guarded: two runs
//! of one agent at the same time are a fault whatever the test is about.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use fleet_model::{AgentName, ImageRef, RuntimeKind};
use hostd::runtime::{
    Exhibit, RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError, RuntimeEvent, WorkerCheck,
    fake::FakeRuntime,
    log::{LogQuery, LogStream},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::Journal;

#[derive(Clone)]
pub(crate) struct Noted {
    pub(crate) fake: FakeRuntime,
    pub(crate) journal: Journal,
    pub(crate) twins: Arc<AtomicBool>,
    /// So many lists still show every run as made and not started.
    pub(crate) half_made: Arc<AtomicU32>,
}

#[async_trait]
impl Runtime for Noted {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    async fn describe(&self) -> Result<String, RuntimeError> {
        self.fake.describe().await
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.fake.ensure_image(image).await
    }

    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        let twin = |other: &RunSeen| {
            other.run.agent == spec.run.agent
                && other.run != spec.run
                && other.state == RunState::Running
        };
        if self.fake.list().await.is_ok_and(|all| all.iter().any(twin)) {
            self.twins.store(true, Ordering::SeqCst);
        }
        let done = self.fake.ensure_started(spec).await;
        let how = if done.is_ok() { "start" } else { "start failed" };
        self.journal.note(format!("{how} {} {:?}", spec.run, spec.start));
        done
    }

    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.journal.note(format!("interrupt {run}"));
        self.fake.interrupt(run).await
    }

    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.journal.note(format!("end {run}"));
        self.fake.ensure_ended(run).await
    }

    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.journal.note(format!("remove {run}"));
        self.fake.ensure_removed(run).await
    }

    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        self.journal.note(format!("evidence {run}"));
        self.fake.evidence(run).await
    }

    async fn forget_slot(&self, agent: &AgentName, dir: &Path) -> Result<(), RuntimeError> {
        self.journal.note(format!("forget {agent}"));
        self.fake.forget_slot(agent, dir).await
    }

    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError> {
        let mut all = self.fake.list().await?;
        let less = |left: u32| left.checked_sub(1);
        if self.half_made.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            all.iter_mut().for_each(|run| run.state = RunState::Created);
        }
        Ok(all)
    }

    async fn worker(&self, run: &RunId) -> WorkerCheck {
        self.journal.note(format!("worker {run}"));
        self.fake.worker(run).await
    }

    async fn logs(&self, run: &RunId, query: &LogQuery) -> Result<LogStream, RuntimeError> {
        self.fake.logs(run, query).await
    }

    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        Arc::new(self.fake.clone()).watch(events, stop).await;
    }
}
