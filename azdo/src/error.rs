//! Everything that can go wrong between us and the service, sorted by what a caller does next.

use std::time::Duration;

/// The failure of one call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The credential is missing, wrong, expired, or the service showed its sign-in page (203, 302, HTML).
    #[error("not signed in: {why}")]
    NotAuthenticated {
        /// The server's own words, or which sign-in answer came.
        why: String,
    },
    /// The credential is good, its owner lacks the role.
    #[error("not allowed: {message}")]
    Forbidden {
        /// The server's own words.
        message: String,
    },
    /// No such pool, agent, request or session.
    #[error("not found: {message}")]
    NotFound {
        /// Which kind of thing is missing, e.g. `TaskAgentNotFoundException`.
        type_key: String,
        /// The server's own words.
        message: String,
    },
    /// The name exists, or another session holds the agent.
    #[error("conflict: {message}")]
    Conflict {
        /// Which conflict, e.g. `TaskAgentExistsException`.
        type_key: String,
        /// The server's own words.
        message: String,
    },
    /// The agent holds a job: the row stays.
    #[error("a job is running: {message}")]
    JobStillRunning {
        /// The server's own words.
        message: String,
    },
    /// 429: this identity is blocked for a while.
    #[error("throttled: {message}")]
    Throttled {
        /// How long to wait, when the server says so.
        retry_after: Option<Duration>,
        /// The server's own words.
        message: String,
    },
    /// 5xx or 408: the service is ill, the request may have had its effect or not.
    #[error("service unavailable (HTTP {status})")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// How long to wait, when the server says so.
        retry_after: Option<Duration>,
    },
    /// Any other refusal of this very request; repeating it will not help.
    #[error("refused (HTTP {status}, {type_key}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's error name; empty when it sent none.
        type_key: String,
        /// The server's own words.
        message: String,
    },
    /// No connection, or it broke before an answer came.
    #[error("cannot reach the service")]
    Unreachable(#[source] reqwest::Error),
    /// No answer within the limit of the call.
    #[error("no answer within {limit:?}")]
    Timeout {
        /// The limit that passed.
        limit: Duration,
    },
    /// The answer is not what the contract says.
    #[error("answer not understood: {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Why it could not be.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client could not be built, or an argument cannot be sent.
    #[error("bad client setting: {what}")]
    Setting {
        /// Which setting, and what is wrong with it.
        what: String,
    },
}

impl Error {
    /// True when the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. }
                | Self::Unavailable { .. }
                | Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::Malformed { .. }
        )
    }

    /// True when the effect of a changing call is unknown: it may or may not have happened.
    pub fn is_ambiguous(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::Malformed { .. }
        )
    }

    /// How long the server wants us to wait, when it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// True when the credential itself (or its role) is the trouble and a person must act.
    pub fn is_credential(&self) -> bool {
        matches!(self, Self::NotAuthenticated { .. } | Self::Forbidden { .. })
    }

    /// True when the thing asked about does not exist; for a delete that is success.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
