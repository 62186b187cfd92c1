//! What only listeners do: get their token, open and close their session, tell about an update.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::shell::Core;
use super::super::{Caller, Refusal, SessionForm};
use super::Ask;
use super::answer::Answer;

/// OAuth client credentials with a signed assertion.
pub(super) fn token(core: &mut Core, ask: &Ask, now: Timestamp) -> Answer {
    let refused = |error: &str, words: &str| {
        Answer::json_with(400, json!({ "error": error, "error_description": words }))
    };
    if ask.method != Method::POST {
        return Refusal::wrong_method(ask.method.as_str()).into();
    }
    let form: Vec<(String, String)> =
        axum::extract::Query::try_from_uri(&form_uri(&ask.body)).map(|q| q.0).unwrap_or_default();
    let field = |name: &str| form.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    if field("grant_type") != Some("client_credentials") {
        return refused("unsupported_grant_type", "only client_credentials is known");
    }
    let Some(assertion) = field("client_assertion") else {
        return refused("invalid_request", "client_assertion is missing");
    };
    match core.state.issue_token(assertion, now, Timestamp::now()) {
        Ok(issued) => Answer::json(json!({
            "access_token": issued.token, "token_type": "Bearer", "expires_in": issued.life.as_secs(),
        })),
        Err(refusal) => refused(refusal.error, &refusal.description),
    }
}

/// A form body is a query string by another way.
fn form_uri(body: &[u8]) -> http::Uri {
    let text = std::str::from_utf8(body).unwrap_or_default();
    format!("/?{}", text.trim()).parse().unwrap_or_default()
}

pub(super) fn create(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    if ask.method != Method::POST {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    let form: SessionForm = ask.json()?;
    own_agent(ask, form.agent.id)?;
    let id = core.state.create_session(pool, &form, now)?;
    let agent = core.state.world.agent(pool, form.agent.id)?;
    let reference = Value::Object(ask.wire(core).agent_reference(pool, agent));
    // No encryption key: message bodies are plain.
    Ok(Answer::json(json!({ "sessionId": id, "ownerName": form.owner_name, "agent": reference })))
}

pub(super) fn delete(
    core: &mut Core,
    ask: &Ask,
    id: Uuid,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    if ask.method != Method::DELETE {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    own_agent(ask, core.state.session_owner(id)?.1)?;
    core.state.delete_session(id, now)?;
    Ok(Answer::empty(204))
}

pub(super) fn update(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    agent: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    if ask.method != Method::PUT {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    own_agent(ask, agent)?;
    core.state.update_state(pool, agent, ask.text("currentstate").unwrap_or_default(), now)?;
    let wire = ask.wire(core);
    Ok(Answer::json(Value::Object(wire.agent(
        pool,
        wire.world.agent(pool, agent)?,
        Default::default(),
    ))))
}

/// A listener's token is good for its own row only.
pub(super) fn own_agent(ask: &Ask, agent: i64) -> Result<(), Refusal> {
    match ask.caller {
        Some(Caller::Listener { agent: own, .. }) if own == agent => Ok(()),
        _ => Err(Refusal::not_holder()),
    }
}
