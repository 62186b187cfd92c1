//! A pool: a named queue of work and the agents registered to take it.

use jiff::Timestamp;
use serde::Deserialize;

use super::lenient;

/// One agent pool of the organisation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskAgentPool {
    /// Id, unique in the organisation.
    pub id: i64,
    /// Name as shown and as jobs ask for it.
    pub name: String,
    /// Microsoft's own machines; never ours to manage.
    #[serde(default)]
    pub is_hosted: bool,
    /// `automation` or `deployment`.
    #[serde(default)]
    pub pool_type: Option<String>,
    /// Agents registered, offline ones included.
    #[serde(default)]
    pub size: Option<i64>,
    /// Whether the service may order agents to update themselves.
    #[serde(default)]
    pub auto_update: Option<bool>,
    /// `none`, `elasticPool`, `singleUseAgents`, ...
    #[serde(default)]
    pub options: Option<String>,
    /// When the pool was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_on: Option<Timestamp>,
}
