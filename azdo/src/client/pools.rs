//! Pools: found by name once, then known by id.

use super::{Ask, Client};
use crate::types::List;
use crate::{Error, Reply, TaskAgentPool};

impl Client {
    /// Pools of the organisation, all or the one of that exact name (none: an empty list).
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn pools(&self, name: Option<&str>) -> Result<Reply<Vec<TaskAgentPool>>, Error> {
        let mut ask =
            Ask::get("pools", &[&"distributedtask", &"pools"]).query("poolType", "automation");
        if let Some(name) = name {
            ask = ask.query("poolName", name);
        }
        Ok(self.call::<List<_>>(ask).await?.map(|list| list.value))
    }

    /// The pools this credential may manage: a cheap way to learn about the role before acting.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn managed_pools(&self) -> Result<Reply<Vec<TaskAgentPool>>, Error> {
        let ask =
            Ask::get("pools", &[&"distributedtask", &"pools"]).query("actionFilter", "manage");
        Ok(self.call::<List<_>>(ask).await?.map(|list| list.value))
    }

    /// One pool.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, or any other [`Error`].
    pub async fn pool(&self, pool_id: i64) -> Result<Reply<TaskAgentPool>, Error> {
        self.call(Ask::get("pool", &[&"distributedtask", &"pools", &pool_id])).await
    }
}
