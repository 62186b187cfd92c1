//! The service's typed refusals: status, `typeKey`, words. One constructor per case.

use serde_json::{Value, json};

/// A refusal as the service would give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What clients match on.
    pub type_key: &'static str,
    /// What people read.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, type_key: &'static str, message: impl Into<String>) -> Self {
        Self { status, type_key, message: message.into() }
    }

    pub(crate) fn pool_not_found(id: impl std::fmt::Display) -> Self {
        Self::new(
            404,
            "TaskAgentPoolNotFoundException",
            format!("No agent pool found with identifier {id}."),
        )
    }

    pub(crate) fn agent_not_found(id: i64) -> Self {
        Self::new(
            404,
            "TaskAgentNotFoundException",
            format!("No agent found with identifier {id}."),
        )
    }

    pub(crate) fn agent_exists(pool: i64, name: &str) -> Self {
        Self::new(
            409,
            "TaskAgentExistsException",
            format!("Pool {pool} already contains an agent with name {name}."),
        )
    }

    pub(crate) fn job_running(agent: &str, pool: &str) -> Self {
        let message = format!("Agent \"{agent}\" is running a job for pool \"{pool}\"");
        Self::new(400, "TaskAgentJobStillRunningException", message)
    }

    pub(crate) fn session_conflict(agent: &str, owner: &str) -> Self {
        let message =
            format!("The task agent {agent} already has an active session for owner {owner}.");
        Self::new(409, "TaskAgentSessionConflictException", message)
    }

    pub(crate) fn session_expired() -> Self {
        Self::new(
            404,
            "TaskAgentSessionExpiredException",
            "The session has expired or does not exist.",
        )
    }

    pub(crate) fn request_not_found(id: i64) -> Self {
        Self::new(
            404,
            "TaskAgentJobNotFoundException",
            format!("No job request found with identifier {id}."),
        )
    }

    pub(crate) fn request_finished(id: i64) -> Self {
        let message =
            format!("The lock of job request {id} is no longer valid: the request has finished.");
        Self::new(400, "TaskAgentJobTokenExpiredException", message)
    }

    pub(crate) fn no_role(name: &str) -> Self {
        let message = format!(
            "Access denied. {name} needs Manage permissions to perform the action. \
             For more information, contact the Azure DevOps Server administrator."
        );
        Self::new(403, "AccessDeniedException", message)
    }

    pub(crate) fn not_holder() -> Self {
        Self::new(
            403,
            "AccessDeniedException",
            "Access denied. The token belongs to another agent.",
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "VssRequestContentException", message)
    }

    pub(crate) fn no_resource(path: &str) -> Self {
        Self::new(
            404,
            "VssResourceNotFoundException",
            format!("No resource found that matches {path}."),
        )
    }

    pub(crate) fn wrong_method(method: &str) -> Self {
        let message = format!("The requested resource does not support http method '{method}'.");
        Self::new(405, "VssMethodNotSupportedException", message)
    }

    /// The service's error body, the same for all of its parts.
    pub(crate) fn body(&self) -> Value {
        let namespace = match self.type_key {
            "AccessCheckException" => "Microsoft.VisualStudio.Services.Security",
            "UnauthorizedRequestException" => "Microsoft.TeamFoundation.Framework.Server",
            key if key.starts_with("Vss") => "Microsoft.VisualStudio.Services.Common",
            _ => "Microsoft.TeamFoundation.DistributedTask.WebApi",
        };
        let assembly = match self.type_key {
            "AccessCheckException" => "Microsoft.VisualStudio.Services.WebApi",
            _ => namespace,
        };
        let type_name = match self.type_key {
            "" => String::new(),
            key => format!("{namespace}.{key}, {assembly}"),
        };
        json!({
            "$id": "1", "innerException": null, "message": self.message, "typeName": type_name,
            "typeKey": self.type_key, "errorCode": 0, "eventId": 3000,
        })
    }
}
