//! The long poll: one task that hands messages over and ends only when there will be no more.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::Context;
use super::message::Message;
use super::session::{self, Opened, Session};
use crate::api::{ApiError, Call};
use crate::exit::Exit;
use crate::term;

/// The session in use. The poll replaces it when the server has forgotten it.
pub(crate) type Current = Arc<Mutex<Session>>;

/// The session as it is now.
pub(crate) fn session(current: &Current) -> Session {
    current.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// Polls until the agent cannot go on; the answer is how the listener has to exit then.
pub(crate) async fn poll(
    context: Arc<Context>,
    current: Current,
    out: mpsc::Sender<Message>,
) -> Exit {
    let (mut last, mut failures) = (0, 0);
    loop {
        match ask(&context, &session(&current), last).await {
            Ok(message) => {
                if failures > 0 {
                    term::stamped("Agent reconnected.");
                }
                failures = 0;
                if let Some(message) = message {
                    last = message.id;
                    if out.send(message).await.is_err() {
                        return Exit::Success;
                    }
                } else {
                    tokio::time::sleep(context.settings.poll_sleep()).await;
                }
            }
            Err(error) if error.is("TaskAgentSessionExpiredException") => {
                context.diag.log("The session has expired; creating a new one");
                match session::open(&context).await {
                    Opened::Session(new) => {
                        last = 0;
                        *current.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = new;
                    }
                    Opened::Ended(exit) => return exit,
                }
            }
            Err(error) => {
                if let Some(exit) = fatal(&error) {
                    context.diag.log(&format!("Polling ends: {error}"));
                    if exit != Exit::Success {
                        term::error(&format!("An error occurred: {error}"));
                    }
                    return exit;
                }
                if failures == 0 {
                    term::stamped(&format!(
                        "Agent connect error: {error}. Retrying until reconnected."
                    ));
                }
                failures += 1;
                tokio::time::sleep(context.settings.poll_backoff(failures)).await;
            }
        }
    }
}

async fn ask(context: &Context, session: &Session, last: i64) -> Result<Option<Message>, ApiError> {
    let call = Call::get(context.connection.pool("messages"))
        .query("sessionId", &session.id)
        .query("lastMessageId", last);
    context.connection.send(&call).await.map(|answer| Message::parse(&answer))
}

/// Errors that waiting does not mend. Nobody catches them in the real agent, hence "retryable".
fn fatal(error: &ApiError) -> Option<Exit> {
    match error {
        ApiError::Revoked(_) => Some(Exit::Success),
        ApiError::Unauthorized(_) | ApiError::Local(_) => Some(Exit::Retryable),
        ApiError::Refused { status: 403, .. } => Some(Exit::Retryable),
        ApiError::Refused { type_key, .. } => {
            ["TaskAgentNotFoundException", "TaskAgentPoolNotFoundException"]
                .contains(&type_key.as_str())
                .then_some(Exit::Retryable)
        }
        ApiError::Timeout | ApiError::Unreachable(_) => None,
    }
}

/// A small request now and then, so that the server hears from us while a poll is held.
pub(crate) async fn keep_alive(context: Arc<Context>) {
    loop {
        tokio::time::sleep(context.settings.keepalive).await;
        if let Err(error) = context.connection.send(&Call::get("_apis/connectionData")).await {
            context.diag.log(&format!("Keep-alive failed: {error}"));
        }
    }
}
