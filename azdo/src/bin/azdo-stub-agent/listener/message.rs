//! Messages of a session, as they come out of the poll.

use std::time::Duration;

use serde_json::Value;

use crate::job::Job;

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its number in the session.
    pub(crate) id: i64,
    /// What it wants.
    pub(crate) kind: Kind,
}

/// What a message wants.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Run a job.
    Job(Box<Job>),
    /// Stop a job.
    Cancel {
        /// Which.
        job_id: String,
        /// How long it may take.
        timeout: Duration,
    },
    /// Become another version.
    Refresh {
        /// Which.
        version: String,
    },
    /// Nothing this agent knows.
    Unknown(String),
}

impl Message {
    pub(crate) fn parse(raw: &Value) -> Option<Self> {
        let id = raw["messageId"].as_i64()?;
        let body: Value =
            serde_json::from_str(raw["body"].as_str().unwrap_or_default()).unwrap_or_default();
        let name = raw["messageType"].as_str().unwrap_or_default();
        let known = match name {
            "PipelineAgentJobRequest" => {
                serde_json::from_value(body).ok().map(|job| Kind::Job(Box::new(job)))
            }
            "JobCancellation" => Some(Kind::Cancel {
                job_id: body["jobId"].as_str().unwrap_or_default().to_owned(),
                timeout: span(body["timeout"].as_str().unwrap_or_default()),
            }),
            "AgentRefresh" => {
                body["targetVersion"].as_str().map(|v| Kind::Refresh { version: v.to_owned() })
            }
            _ => None,
        };
        Some(Self { id, kind: known.unwrap_or_else(|| Kind::Unknown(name.to_owned())) })
    }
}

/// .NET's `hh:mm:ss`; what cannot be read is no time at all, the least grace then holds.
fn span(text: &str) -> Duration {
    let parts: Option<Vec<u64>> =
        text.split(':').map(|part| part.split('.').next()?.parse().ok()).collect();
    match parts.as_deref() {
        Some([hours, minutes, seconds]) => {
            Duration::from_secs(hours * 3_600 + minutes * 60 + seconds)
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cancellation_carries_its_time() {
        let raw = json!({"messageId": 3, "messageType": "JobCancellation",
                         "body": r#"{"jobId":"j","timeout":"00:01:30.5"}"#});
        let message = Message::parse(&raw).expect("a message");
        let Kind::Cancel { job_id, timeout } = message.kind else { panic!("not a cancellation") };
        assert_eq!((job_id.as_str(), timeout), ("j", Duration::from_secs(90)));
    }

    #[test]
    fn a_job_that_cannot_be_read_is_unknown_not_a_panic() {
        let raw =
            json!({"messageId": 1, "messageType": "PipelineAgentJobRequest", "body": "not json"});
        assert!(matches!(Message::parse(&raw).expect("a message").kind, Kind::Unknown(_)));
        assert!(Message::parse(&json!({})).is_none());
    }
}
