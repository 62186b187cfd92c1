//! A row of a pool: one registered agent, online or not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobRequest, lenient};

/// One registered agent. What a flag did not ask for is absent, and so is what is empty.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskAgent {
    /// Id, unique in its pool, kept by a replace.
    pub id: i64,
    /// Name, unique in its pool.
    pub name: String,
    /// Version of the agent package.
    #[serde(default)]
    pub version: Option<String>,
    /// Operating system, free text.
    #[serde(default)]
    pub os_description: Option<String>,
    /// False: gets no new job. Absent is read as enabled, as the service leaves nothing else out here.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The service's view of the agent's session, minutes behind after a crash.
    #[serde(default)]
    pub status: AgentStatus,
    /// Free text, `Provisioned` for our agents.
    #[serde(default)]
    pub provisioning_state: Option<String>,
    /// When it was registered.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_on: Option<Timestamp>,
    /// The last flip between online and offline.
    #[serde(default, deserialize_with = "lenient::time")]
    pub status_changed_on: Option<Timestamp>,
    /// Key and token address; lists carry only the client id.
    #[serde(default)]
    pub authorization: Option<AgentAuthorization>,
    /// Found by the agent; only with `includeCapabilities`.
    #[serde(default, deserialize_with = "lenient::map")]
    pub system_capabilities: BTreeMap<String, String>,
    /// Given by people; only with `includeCapabilities`.
    #[serde(default, deserialize_with = "lenient::map")]
    pub user_capabilities: BTreeMap<String, String>,
    /// The job it holds; only with `includeAssignedRequest`, absent when idle.
    #[serde(default)]
    pub assigned_request: Option<Box<JobRequest>>,
    /// The job before; only with `includeLastCompletedRequest`.
    #[serde(default)]
    pub last_completed_request: Option<Box<JobRequest>>,
    /// An update the service wants; meanwhile the agent gets no job.
    #[serde(default)]
    pub pending_update: Option<AgentUpdate>,
}

/// What a look at a whole pool needs of each agent; the rest of the answer is skipped while it is
/// read, which for thousands of agents is most of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// See [`TaskAgent::id`].
    pub id: i64,
    /// See [`TaskAgent::name`].
    pub name: String,
    /// See [`TaskAgent::enabled`].
    #[serde(default = "yes")]
    pub enabled: bool,
    /// See [`TaskAgent::status`].
    #[serde(default)]
    pub status: AgentStatus,
    /// See [`TaskAgent::assigned_request`].
    #[serde(default)]
    pub assigned_request: Option<AssignedRequest>,
}

/// What a row says of its job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedRequest {
    /// See [`JobRequest::request_id`].
    pub request_id: i64,
    /// See [`JobRequest::job_name`].
    #[serde(default)]
    pub job_name: Option<String>,
    /// The run, for its page.
    #[serde(default)]
    pub(crate) owner: Option<Linked>,
}

/// Something that has a page. What else is said of it is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Linked {
    /// Its links.
    #[serde(default, rename = "_links")]
    links: Option<Links>,
}

/// Links of an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Links {
    /// For people.
    #[serde(default)]
    web: Option<Link>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Link {
    /// Where to.
    #[serde(default)]
    href: Option<String>,
}

impl AssignedRequest {
    /// The page of the run that the job belongs to.
    pub fn run_url(&self) -> Option<&str> {
        self.owner.as_ref()?.links.as_ref()?.web.as_ref()?.href.as_deref()
    }
}

impl TaskAgent {
    /// A capability of either kind; names compare without case, as the service does.
    pub fn capability(&self, name: &str) -> Option<&str> {
        let find = |map: &BTreeMap<String, String>| -> Option<String> {
            map.keys().find(|k| k.eq_ignore_ascii_case(name)).cloned()
        };
        find(&self.user_capabilities)
            .and_then(|k| self.user_capabilities.get(&k))
            .or_else(|| {
                find(&self.system_capabilities).and_then(|k| self.system_capabilities.get(&k))
            })
            .map(String::as_str)
    }

    /// Holds a job as far as this answer tells; only meaningful with `includeAssignedRequest`.
    pub fn is_busy(&self) -> bool {
        self.assigned_request.is_some()
    }
}

/// Whether the service has a live session with the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AgentStatus {
    /// A session is open.
    Online,
    /// No session.
    Offline,
    /// A word this client does not know, or none.
    #[default]
    #[serde(other)]
    Unknown,
}

/// How the agent proves itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentAuthorization {
    /// Names the agent to the token service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where the agent gets its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Verifies what the agent signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<AgentPublicKey>,
}

/// An RSA public key, big-endian numbers in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPublicKey {
    /// Public exponent, usually `AQAB`.
    pub exponent: String,
    /// Modulus, 256 bytes for RSA-2048.
    pub modulus: String,
}

/// An update the service asked of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentUpdate {
    /// What it is now.
    #[serde(default)]
    pub source_version: Option<VersionText>,
    /// What the service wants.
    #[serde(default)]
    pub target_version: Option<VersionText>,
    /// The agent's own words about its progress.
    #[serde(default)]
    pub current_state: Option<String>,
}

/// A version that comes as text or as `{major, minor, patch}`; shown the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum VersionText {
    /// `"4.260.0"`.
    Text(String),
    /// `{"major":4,"minor":260,"patch":0}`.
    Parts(super::PackageVersion),
}

impl std::fmt::Display for VersionText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Parts(parts) => parts.fmt(f),
        }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn an_unknown_status_word_is_not_an_error() {
        let agent: TaskAgent =
            serde_json::from_str(r#"{"id":1,"name":"a","status":"dozing"}"#).unwrap();
        assert_eq!(agent.status, AgentStatus::Unknown);
        assert!(agent.enabled && !agent.is_busy());
    }

    #[test]
    fn a_row_in_short_says_what_the_whole_agent_says() {
        for text in [
            r#"{"id":1,"name":"a","status":"dozing","version":"4.1.0","systemCapabilities":{}}"#,
            r#"{"id":2,"name":"b","status":"online","enabled":false,"assignedRequest":null}"#,
            r#"{"id":3,"name":"c","status":"offline","enabled":true,
                "assignedRequest":{"requestId":7,"jobName":"build","poolId":1,"demands":[]}}"#,
            r#"{"id":4,"name":"d","assignedRequest":{"requestId":8,"owner":{"id":1,"name":"n"}}}"#,
        ] {
            let whole: TaskAgent = serde_json::from_str(text).unwrap();
            let short: AgentRow = serde_json::from_str(text).unwrap();
            let job = |request: JobRequest| AssignedRequest {
                request_id: request.request_id,
                job_name: request.job_name,
                owner: request.owner.map(|_| Linked { links: None }),
            };
            let expected = AgentRow {
                id: whole.id,
                name: whole.name,
                enabled: whole.enabled,
                status: whole.status,
                assigned_request: whole.assigned_request.map(|request| job(*request)),
            };
            assert_eq!(short, expected);
        }
    }

    #[test]
    fn a_job_has_the_page_of_its_run() {
        let text = include_str!("../../testdata/keda-jobrequests/jobrequests-two-queued.json");
        let list: serde_json::Value = serde_json::from_str(text).unwrap();
        let job: AssignedRequest = serde_json::from_value(list["value"][0].clone()).unwrap();
        let url = job.run_url();
        assert!(url.is_some_and(|url| url.ends_with("_build/results?buildId=673584")), "{url:?}");
        let bare: AssignedRequest =
            serde_json::from_str(r#"{"requestId":8,"owner":{"id":1}}"#).unwrap();
        assert_eq!(bare.run_url(), None);
    }

    #[test]
    fn never_is_a_time_without_zone_and_is_absent() {
        let text =
            r#"{"id":1,"name":"a","createdOn":"0001-01-01T00:00:00","systemCapabilities":null}"#;
        let agent: TaskAgent = serde_json::from_str(text).unwrap();
        assert_eq!(agent.created_on, None);
    }

    #[test]
    fn capabilities_compare_without_case_and_users_win() {
        let text = r#"{"id":1,"name":"a","systemCapabilities":{"Fleet_Owner":"s"},"userCapabilities":{"FLEET_OWNER":"u"}}"#;
        let agent: TaskAgent = serde_json::from_str(text).unwrap();
        assert_eq!(agent.capability("fleet_owner"), Some("u"));
        assert_eq!(agent.capability("absent"), None);
    }

    #[test]
    fn a_target_version_may_be_text_or_parts() {
        let text = r#"{"id":1,"name":"a","pendingUpdate":{"sourceVersion":"4.1.0","targetVersion":{"major":4,"minor":2,"patch":0}}}"#;
        let agent: TaskAgent = serde_json::from_str(text).unwrap();
        let update = agent.pending_update.unwrap();
        assert_eq!(update.target_version.unwrap().to_string(), "4.2.0");
        assert_eq!(update.source_version.unwrap().to_string(), "4.1.0");
    }
}
