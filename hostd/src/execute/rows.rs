//! Actions on rows: what is asked of Azure, and whose a row is.

use std::collections::BTreeMap;

use fleet_model::{AgentName, CredentialRef, PoolAssignment, RowState};
use hostd_plan::{AzureFailure, Outcome, RowId, RowRead, Slot};

use super::{
    Executor, Task,
    azure::{AzurePool, FoundRow},
};

impl Executor {
    pub(super) async fn set_enabled(
        &self,
        task: &Task,
        agent: &AgentName,
        row: RowId,
        enabled: bool,
    ) -> Outcome {
        let pool = match self.owned(task, row) {
            Ok(pool) => pool,
            Err(outcome) => return outcome,
        };
        done(self.azure.set_enabled(&pool, row, agent, enabled).await)
    }

    pub(super) async fn delete_row(&self, task: &Task, _agent: &AgentName, row: RowId) -> Outcome {
        let pool = match self.owned(task, row) {
            Ok(pool) => pool,
            Err(outcome) => return outcome,
        };
        match self.azure.delete(&pool, row).await {
            Err(AzureFailure::JobStillRunning) => Outcome::Azure(AzureFailure::JobStillRunning),
            other => done(other),
        }
    }

    pub(super) async fn read_row(
        &self,
        task: &Task,
        agent: &AgentName,
        row: Option<RowId>,
    ) -> Outcome {
        let pool = match self.azure_pool(task) {
            Ok(pool) => pool,
            Err(failure) => return Outcome::Azure(failure),
        };
        let read = match (row, &task.slot) {
            (Some(row), _) => self.azure.read(&pool, row, agent).await,
            (None, Some(slot)) => match self.azure.find(&pool, agent).await {
                Ok(found) => match ours(agent, found, &self.owner_mark(slot)) {
                    Ok(read) => Ok(read),
                    Err(foreign) => return Outcome::Failed(foreign),
                },
                Err(failure) => Err(failure),
            },
            (None, None) => return Outcome::Failed("it has no slot".into()),
        };
        match read {
            Ok(read) => Outcome::Row(read),
            Err(AzureFailure::RowGone) => Outcome::Row(RowRead::Gone),
            Err(failure) => Outcome::Azure(plain(failure)),
        }
    }

    /// All rows of an Azure pool by their ids.
    pub(crate) async fn list_rows(
        &self,
        part: &PoolAssignment,
    ) -> Result<BTreeMap<i64, RowState>, AzureFailure> {
        self.azure.list(&self.pool_of(part)?).await
    }

    /// The pool to ask, after making sure that the row is the slot's own by the ledger.
    fn owned(&self, task: &Task, row: RowId) -> Result<AzurePool, Outcome> {
        if task.slot.as_ref().and_then(|slot: &Slot| slot.row) != Some(row) {
            return Err(Outcome::Failed("the ledger does not have this row as ours".into()));
        }
        self.azure_pool(task).map_err(Outcome::Azure)
    }

    fn azure_pool(&self, task: &Task) -> Result<AzurePool, AzureFailure> {
        let part = task.part.as_ref().ok_or_else(|| {
            let why = "no assignment says where its pool is at Azure";
            AzureFailure::NotAllowed(why.into())
        })?;
        self.pool_of(part)
    }

    fn pool_of(&self, part: &PoolAssignment) -> Result<AzurePool, AzureFailure> {
        let name = &part.credential.name;
        let (secret, fingerprint) = self.secrets.get(name).ok_or_else(|| {
            AzureFailure::NotAllowed(format!("credential {name} has not arrived on this host"))
        })?;
        let credential = CredentialRef { name: name.clone(), fingerprint };
        Ok(AzurePool { target: part.azure.clone(), credential, secret })
    }
}

/// A row that was found by its name is ours only by its owner mark.
fn ours(agent: &AgentName, found: Option<FoundRow>, mark: &str) -> Result<RowRead, String> {
    match found {
        None => Ok(RowRead::Gone),
        Some(found) if found.owner.as_deref() == Some(mark) => {
            Ok(RowRead::There(found.row, found.state))
        }
        Some(found) => Err(format!(
            "the pool has an agent {agent} (id {}) that is not ours (owner: {}); delete it at \
             Azure or give this fleet's pool another prefix",
            found.row.agent_id,
            found.owner.as_deref().unwrap_or("none")
        )),
    }
}

fn done(answer: Result<(), AzureFailure>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Done,
        Err(failure) => Outcome::Azure(plain(failure)),
    }
}

/// "A job runs" is an answer to a delete; to anything else it is an odd refusal.
fn plain(failure: AzureFailure) -> AzureFailure {
    match failure {
        AzureFailure::JobStillRunning => AzureFailure::Unavailable {
            why: "Azure refuses because a job runs".into(),
            retry_after: None,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_our_name_without_our_mark_is_not_ours() {
        let agent: AgentName = "p-h-01".parse().expect("a name");
        let row = RowId { pool_id: 1, agent_id: 2 };
        let state = RowState { agent_id: 2, enabled: true, online: true, assigned: None };
        let found = |owner: Option<&str>| {
            Some(FoundRow { row, state: state.clone(), owner: owner.map(str::to_owned) })
        };
        assert_eq!(ours(&agent, None, "f/h/1"), Ok(RowRead::Gone));
        let mine = ours(&agent, found(Some("f/h/1")), "f/h/1");
        assert_eq!(mine, Ok(RowRead::There(row, state.clone())));
        for other in [None, Some("f/h/2"), Some("")] {
            let error = ours(&agent, found(other), "f/h/1").expect_err("not ours");
            assert!(error.contains("not ours"), "{error}");
        }
    }

    #[test]
    fn a_running_job_is_an_answer_to_a_delete_only() {
        let odd = done(Err(AzureFailure::JobStillRunning));
        assert!(matches!(odd, Outcome::Azure(AzureFailure::Unavailable { .. })), "{odd:?}");
    }
}
