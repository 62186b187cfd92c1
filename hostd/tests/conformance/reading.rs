//! A log as hostd would tell it of a run of the runtime under test.

use std::{collections::BTreeMap, sync::Arc};

use fleet_model::{AgentStatus, At, Intent, Phase};
use fleet_proto::{
    seal::SealKey,
    v1::{self, log_line::What},
};
use hostd::{
    logs::{Asked, LogError, Logs},
    runtime::{RunSpec, Runtime, log::LogQuery},
    secrets::Secrets,
    slots::SlotStore,
    view::View,
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::watching::LIMIT;

/// Which run is an agent's run, as the host loop would show it, and the logs that follow from it.
pub(crate) struct Shelf {
    logs: Arc<Logs>,
    view: watch::Sender<Arc<View>>,
    _dir: TempDir,
}

impl Shelf {
    pub(crate) fn of(runtime: Arc<dyn Runtime>) -> Self {
        let dir = TempDir::with_prefix("fleet-test-").unwrap();
        let key = || Arc::new(SealKey::load_or_create(&dir.path().join("seal.key")).unwrap());
        let (view, seen) = watch::channel(Arc::default());
        let logs = Arc::new(Logs {
            runtimes: BTreeMap::from([(runtime.kind(), runtime)]),
            slots: SlotStore::within(dir.path(), key()),
            secrets: Arc::new(Secrets::load(dir.path(), key())),
            view: seen,
        });
        Self { logs, view, _dir: dir }
    }

    /// This run is the agent's run.
    pub(crate) fn shows(&self, spec: &RunSpec, phase: Phase) {
        let runtime = *self.logs.runtimes.keys().next().unwrap();
        let status = AgentStatus {
            agent: spec.run.agent.clone(),
            pool: spec.pool.clone(),
            group: spec.group.clone(),
            slot: spec.slot,
            runtime,
            attempt: spec.run.attempt,
            phase,
            since: At(1),
            intent: Intent::Keep,
            job: None,
            why: String::new(),
            agent_id: None,
            placeholder: false,
            quarantine: None,
            disk_bytes: None,
        };
        self.view.send_modify(|view| {
            Arc::make_mut(view).agents.insert(status.agent.clone(), status);
        });
    }

    /// The agent is kept no longer.
    pub(crate) fn forgets(&self, spec: &RunSpec) {
        self.view.send_modify(|view| {
            Arc::make_mut(view).agents.remove(&spec.run.agent);
        });
    }

    pub(crate) fn read(&self, spec: &RunSpec, query: LogQuery) -> Reading {
        let (out, lines) = mpsc::channel(1);
        let asked = Asked { agent: spec.run.agent.clone(), query };
        let logs = Arc::clone(&self.logs);
        let telling = tokio::spawn(async move { logs.tell(&asked, &out).await });
        Reading { lines, telling }
    }

    pub(crate) fn follow(&self, spec: &RunSpec) -> Reading {
        self.read(spec, LogQuery { follow: true, ..LogQuery::default() })
    }
}

/// A log that is being told.
pub(crate) struct Reading {
    lines: mpsc::Receiver<v1::LogLine>,
    telling: JoinHandle<Result<(), LogError>>,
}

impl Reading {
    async fn next(&mut self) -> Option<v1::LogLine> {
        timeout(LIMIT, self.lines.recv()).await.expect("a line, or the end, in time")
    }

    /// The next line of the listener that has these words; what came before it.
    pub(crate) async fn line(&mut self, words: &str) -> (v1::LogLine, Vec<v1::LogLine>) {
        let mut before = Vec::new();
        while let Some(line) = self.next().await {
            if matches!(&line.what, Some(What::Text(text)) if text.contains(words)) {
                return (line, before);
            }
            before.push(line);
        }
        panic!("the log ended before {words:?}: {before:?}");
    }

    /// Everything up to its end.
    pub(crate) async fn rest(mut self) -> Vec<v1::LogLine> {
        let mut rest = Vec::new();
        while let Some(line) = self.next().await {
            rest.push(line);
        }
        self.telling.await.unwrap().expect("it ended well");
        rest
    }

    /// Nobody reads it any more.
    pub(crate) async fn leave(self) {
        drop(self.lines);
        let told = timeout(LIMIT, self.telling).await.expect("it ends at once").unwrap();
        assert!(matches!(told, Err(LogError::Deaf)), "{told:?}");
    }
}
