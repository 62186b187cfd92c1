//! Messages: the long poll, its acknowledgement, and the request to update.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::super::shell::{Core, Shell, until};
use super::super::{Polled, Refusal};
use super::Ask;
use super::answer::Answer;
use super::listener::own_agent;

/// Keeps the session alive while its poll stands open, also when the listener goes away in the middle.
struct OpenPoll<'s> {
    shell: &'s Shell,
    session: Uuid,
}

impl<'s> OpenPoll<'s> {
    fn new(shell: &'s Shell, session: Uuid) -> Self {
        shell.step(|core, now| core.state.poll_open(session, true, now));
        Self { shell, session }
    }
}

impl Drop for OpenPoll<'_> {
    fn drop(&mut self) {
        let over = self.shell.step(|core, now| {
            core.state.poll_open(self.session, false, now);
            core.state.session_owner(self.session).is_err()
        });
        if over {
            self.shell.forget_bell(self.session);
        }
    }
}

/// Answers with the next message, or with 202 when none came in time.
pub(super) async fn poll(shell: &Arc<Shell>, pool: i64, ask: &Ask) -> Result<Answer, Refusal> {
    let session = session_of(ask)?;
    let last_seen = ask.number("lastmessageid")?.unwrap_or(0);
    let (owner, deadline) = shell.step(|core, now| {
        (core.state.session_owner(session), now + core.state.settings.poll_limit)
    });
    let (own_pool, agent) = owner?;
    own_agent(ask, agent)?;
    if own_pool != pool {
        return Err(Refusal::session_expired());
    }
    let _open = OpenPoll::new(shell, session);
    let bell = shell.bell(session);
    loop {
        // Listening starts before looking: news in between is not missed.
        let mut news = std::pin::pin!(bell.notified());
        news.as_mut().enable();
        let (found, now) = shell.step(|core, now| (core.state.poll(session, last_seen, now), now));
        let next = match found? {
            Polled::Message(message) => return Ok(Answer::json(json!(message))),
            Polled::Nothing(next) => next,
        };
        if now >= deadline || shell.stop.is_cancelled() {
            return Ok(Answer::empty(202));
        }
        let look_again = next.map_or(deadline, |next| next.min(deadline));
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(until(look_again, now)) => {}
            () = shell.stop.cancelled() => {}
        }
    }
}

pub(super) fn delete(core: &mut Core, ask: &Ask, message: i64) -> Result<Answer, Refusal> {
    if ask.method != Method::DELETE {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    let session = session_of(ask)?;
    own_agent(ask, core.state.session_owner(session)?.1)?;
    core.state.delete_message(session, message)?;
    Ok(Answer::empty(204))
}

/// POST with an agent id: somebody presses "update"; the newest package is the target.
pub(super) fn refresh(
    shell: &Shell,
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    if ask.method != Method::POST {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    let newest = shell
        .packages
        .iter()
        .map(|p| p.version.as_str())
        .max_by(|a, b| crate::types::compare_versions(a, b));
    let newest = newest.ok_or_else(|| Refusal::bad_request("There is no package to update to."))?;
    let agents = match ask.number("agentid")? {
        Some(one) => vec![one],
        None => core.state.world.pool(pool)?.agents.keys().copied().collect(),
    };
    for agent in agents {
        core.state.request_update(pool, agent, newest, now)?;
    }
    Ok(Answer::empty(200))
}

fn session_of(ask: &Ask) -> Result<Uuid, Refusal> {
    let id = ask.text("sessionid").and_then(|s| s.parse().ok());
    id.ok_or_else(|| Refusal::bad_request("sessionId is missing or no id"))
}
