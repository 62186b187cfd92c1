//! Azure in memory, with a journal that it shares with the runtime.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{AgentName, Assigned, RowState};
use hostd::execute::{Azure, AzurePool, FoundRow};
use hostd_plan::{AzureFailure, RowId, RowRead};

use crate::world::Journal;

/// Clones share everything. A row that nobody deleted exists.
#[derive(Clone)]
pub(crate) struct FakeAzure {
    journal: Journal,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    disabled: BTreeSet<i64>,
    deleted: BTreeSet<i64>,
    online: BTreeSet<i64>,
    jobs: BTreeMap<i64, i64>,
    failure: Option<AzureFailure>,
    calls: u64,
}

impl FakeAzure {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Every call fails with this, or no longer.
    pub(crate) fn fail(&self, failure: Option<AzureFailure>) {
        self.state().failure = failure;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn give_job(&self, row: i64, request: i64) {
        self.state().jobs.insert(row, request);
    }

    pub(crate) fn end_job(&self, row: i64) {
        self.state().jobs.remove(&row);
    }

    pub(crate) fn set_online(&self, row: i64, online: bool) {
        let mut state = self.state();
        if online {
            state.online.insert(row)
        } else {
            state.online.remove(&row)
        };
    }

    /// Somebody disables it by hand.
    pub(crate) fn disable(&self, row: i64) {
        self.state().disabled.insert(row);
    }

    pub(crate) fn deleted(&self) -> BTreeSet<i64> {
        self.state().deleted.clone()
    }

    /// A real service answers after a while; the state is that of the answer.
    async fn answer(&self, verb: &str, row: i64) -> Result<MutexGuard<'_, State>, AzureFailure> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut state = self.state();
        state.calls += 1;
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        self.journal.note(format!("{verb} {row}"));
        Ok(state)
    }
}

#[async_trait]
impl Azure for FakeAzure {
    async fn set_enabled(
        &self,
        _pool: &AzurePool,
        row: RowId,
        _agent: &AgentName,
        enabled: bool,
    ) -> Result<(), AzureFailure> {
        let verb = if enabled { "enable" } else { "disable" };
        let mut state = self.answer(verb, row.agent_id).await?;
        if state.deleted.contains(&row.agent_id) {
            return Err(AzureFailure::RowGone);
        }
        if enabled {
            state.disabled.remove(&row.agent_id)
        } else {
            state.disabled.insert(row.agent_id)
        };
        Ok(())
    }

    async fn read(
        &self,
        _pool: &AzurePool,
        row: RowId,
        _agent: &AgentName,
    ) -> Result<RowRead, AzureFailure> {
        let state = self.answer("read", row.agent_id).await?;
        let id = row.agent_id;
        if state.deleted.contains(&id) {
            return Err(AzureFailure::RowGone);
        }
        Ok(RowRead::There(
            row,
            RowState {
                agent_id: id,
                enabled: !state.disabled.contains(&id),
                online: state.online.contains(&id),
                assigned: state.jobs.get(&id).map(|request| Assigned::new(*request, "job")),
            },
        ))
    }

    async fn find(
        &self,
        _pool: &AzurePool,
        _agent: &AgentName,
    ) -> Result<Option<FoundRow>, AzureFailure> {
        self.answer("find", 0).await.map(|_| None)
    }

    async fn list(&self, _pool: &AzurePool) -> Result<BTreeMap<i64, RowState>, AzureFailure> {
        let state = self.answer("list", 0).await?;
        let row = |id: i64| RowState {
            agent_id: id,
            enabled: !state.disabled.contains(&id),
            online: true,
            assigned: None,
        };
        Ok((1..100).filter(|id| !state.deleted.contains(id)).map(|id| (id, row(id))).collect())
    }

    async fn delete(&self, _pool: &AzurePool, row: RowId) -> Result<(), AzureFailure> {
        let mut state = self.answer("delete", row.agent_id).await?;
        if state.jobs.contains_key(&row.agent_id) {
            return Err(AzureFailure::JobStillRunning);
        }
        state.deleted.insert(row.agent_id);
        Ok(())
    }
}
