//! The answers of the service, in our words, read leniently.
//!
//! The service leaves keys out in place of null, adds fields without notice and sends demands
//! as strings although its specification types them as objects. So: unknown fields are ignored,
//! every field but the identity is optional, and an unknown word becomes `Unknown`.

mod agent;
mod demand;
mod job;
pub(crate) mod lenient;
mod package;
mod pool;
mod registration;

use serde::Deserialize;

pub use agent::{
    AgentAuthorization, AgentPublicKey, AgentRow, AgentStatus, AgentUpdate, AssignedRequest,
    TaskAgent,
};
pub use demand::{Demand, DemandTest, compare_versions};
pub use job::{AgentReference, DefinitionReference, JobRequest, JobResult};
pub use package::{PackageMetadata, PackageVersion};
pub use pool::TaskAgentPool;
pub use registration::{AgentRegistration, RegistrationError};

/// The envelope of every list: `{"count": N, "value": [...]}`.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// The rows of this page.
    #[serde(default = "Vec::new")]
    pub value: Vec<T>,
}

/// Who the service thinks we are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionData {
    /// The identity the credential belongs to.
    pub authenticated_user: Identity,
    /// The organisation instance.
    #[serde(default)]
    pub instance_id: Option<String>,
}

/// One identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Id of the identity.
    pub id: String,
    /// Name to show.
    #[serde(default, alias = "customDisplayName")]
    pub provider_display_name: Option<String>,
}
