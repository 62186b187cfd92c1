//! Creating the session that makes the agent online. What an error means is decided by `judge`, which neither
//! waits nor speaks.

use reqwest::Method;
use serde_json::json;

use super::Context;
use crate::api::{ApiError, Call};
use crate::exit::Exit;
use crate::{capabilities, term};

/// How creating a session ended.
pub(crate) enum Opened {
    /// There it is.
    Session(Session),
    /// There is none and will be none.
    Ended(Exit),
}

/// A session by its id.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Given by the server.
    pub(crate) id: String,
}

/// What to do about a failed try.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Somebody else (or our own dead predecessor) holds it: wait a bit, count.
    RetryConflict,
    /// Conflicts came too often.
    ConflictLimit,
    /// Nothing wrong with us: wait, for ever.
    Retry,
    /// The row is gone.
    AgentGone,
    /// The registration is gone: a clean end.
    Revoked,
    /// No.
    Refused,
}

/// `conflicts` = conflicts so far, this one included when it is one.
fn judge(error: &ApiError, conflicts: u64, limit: u64) -> Verdict {
    match error {
        _ if error.is("TaskAgentSessionConflictException") && conflicts >= limit => {
            Verdict::ConflictLimit
        }
        _ if error.is("TaskAgentSessionConflictException") => Verdict::RetryConflict,
        _ if error.is("TaskAgentNotFoundException") => Verdict::AgentGone,
        ApiError::Revoked(_) => Verdict::Revoked,
        ApiError::Refused { type_key, status, .. }
            if type_key == "TaskAgentPoolNotFoundException" || *status == 403 =>
        {
            Verdict::Refused
        }
        ApiError::Unauthorized(_) | ApiError::Local(_) => Verdict::Refused,
        ApiError::Refused { .. } | ApiError::Timeout | ApiError::Unreachable(_) => Verdict::Retry,
    }
}

/// Tries until there is a session or no hope.
pub(crate) async fn open(context: &Context) -> Opened {
    let settings = &context.settings;
    let (mut conflicts, mut told) = (0, false);
    loop {
        let error = match create(context).await {
            Ok(session) => {
                if told {
                    term::stamped("Agent reconnected.");
                }
                return Opened::Session(session);
            }
            Err(error) => error,
        };
        context.diag.log(&format!("Session creation failed: {error}"));
        conflicts += u64::from(error.is("TaskAgentSessionConflictException"));
        let verdict = judge(&error, conflicts, settings.session_conflicts);
        match verdict {
            Verdict::RetryConflict => term::error("A session for this agent already exists."),
            Verdict::Retry if !told => {
                told = true;
                term::stamped(&format!(
                    "Agent connect error: {error}. Retrying until reconnected."
                ));
            }
            Verdict::Retry => {}
            last => return Opened::Ended(give_up(&last, &error)),
        }
        tokio::time::sleep(settings.session_retry).await;
    }
}

fn give_up(verdict: &Verdict, error: &ApiError) -> Exit {
    match verdict {
        // Revoked counts as a clean end: nothing a restart could mend.
        Verdict::Revoked => return Exit::Success,
        Verdict::ConflictLimit => term::error("A session for this agent already exists."),
        Verdict::AgentGone => {
            term::error("The agent no longer exists on the server. Please reconfigure the agent.")
        }
        _ => {}
    }
    if *verdict != Verdict::AgentGone {
        term::error(&format!("Failed to create session. {error}"));
    }
    Exit::Terminated
}

async fn create(context: &Context) -> Result<Session, ApiError> {
    let agent = &context.connection.registration.agent;
    let body = json!({
        "ownerName": capabilities::computer_name(),
        "agent": {
            "id": agent.agent_id,
            "name": agent.agent_name,
            "version": context.layout.version(),
            "osDescription": capabilities::os_description(),
        },
        "systemCapabilities": context.capabilities,
    });
    let call = Call::new(Method::POST, context.connection.pool("sessions")).body(body);
    let answer = context.connection.send(&call).await?;
    let id = answer["sessionId"]
        .as_str()
        .ok_or_else(|| ApiError::Local(anyhow::anyhow!("the server's answer has no sessionId")))?;
    context.diag.log(&format!("Session created: {id}"));
    Ok(Session { id: id.to_owned() })
}

/// Ends the session: the agent is offline at once.
pub(crate) async fn delete(context: &Context, session: &Session) {
    let call =
        Call::new(Method::DELETE, context.connection.pool(&format!("sessions/{}", session.id)));
    let ended = context.connection.send(&call).await;
    context.diag.log(&match ended {
        Ok(_) => "DELETE session 204".to_owned(),
        Err(error) => format!("DELETE session failed: {error}"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, key: &str) -> ApiError {
        ApiError::Refused { status, type_key: key.to_owned(), message: String::new() }
    }

    #[test]
    fn what_an_error_means_for_a_session() {
        let conflict = refused(409, "TaskAgentSessionConflictException");
        let table = [
            (judge(&conflict, 7, 8), Verdict::RetryConflict),
            (judge(&conflict, 8, 8), Verdict::ConflictLimit),
            (judge(&refused(404, "TaskAgentNotFoundException"), 0, 8), Verdict::AgentGone),
            (judge(&refused(404, "TaskAgentPoolNotFoundException"), 0, 8), Verdict::Refused),
            (judge(&refused(403, "AccessDeniedException"), 0, 8), Verdict::Refused),
            (judge(&refused(503, ""), 0, 8), Verdict::Retry),
            (judge(&refused(429, ""), 0, 8), Verdict::Retry),
            (judge(&ApiError::Timeout, 0, 8), Verdict::Retry),
            (judge(&ApiError::Revoked(String::new()), 0, 8), Verdict::Revoked),
            (judge(&ApiError::Unauthorized(String::new()), 0, 8), Verdict::Refused),
        ];
        for (found, wanted) in table {
            assert_eq!(found, wanted);
        }
    }
}
