//! Job requests: the queue of a pool. The resource is undocumented and in use for years.

use super::{Ask, Client};
use crate::types::List;
use crate::{Error, JobRequest, Reply};

/// The three useful forms of the list; they do not mix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobRequestQuery {
    /// Queued and running only, with the agents that match: the poll for scaling.
    Unfinished,
    /// A flat page, newest first, finished ones mixed in, without the agents that match.
    /// At most 200 rows come, whatever `top` says.
    Page {
        /// Rows wanted.
        top: u32,
        /// From the page before.
        continuation: Option<String>,
    },
    /// The requests of these agents, with so many finished ones each.
    OfAgents {
        /// Agent ids.
        agents: Vec<i64>,
        /// Finished ones wanted.
        completed: u32,
    },
}

impl Client {
    /// Requests of a pool in the asked form.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown pool, or any other [`Error`].
    pub async fn job_requests(
        &self,
        pool_id: i64,
        query: &JobRequestQuery,
    ) -> Result<Reply<Vec<JobRequest>>, Error> {
        let ask =
            Ask::get("job requests", &[&"distributedtask", &"pools", &pool_id, &"jobrequests"])
                .preview();
        let ask = match query {
            JobRequestQuery::Unfinished => ask.query("completedRequestCount", 0),
            JobRequestQuery::Page { top, continuation: None } => ask.query("$top", top),
            JobRequestQuery::Page { top, continuation: Some(token) } => {
                ask.query("$top", top).query("continuationToken", token)
            }
            JobRequestQuery::OfAgents { agents, completed } => {
                let ids: Vec<String> = agents.iter().map(ToString::to_string).collect();
                ask.query("agentIds", ids.join(",")).query("completedRequestCount", completed)
            }
        };
        Ok(self.call::<List<_>>(ask).await?.map(|list| list.value))
    }
}
