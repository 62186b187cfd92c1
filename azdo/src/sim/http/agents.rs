//! Agents: the rows of a pool.

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::super::shell::Core;
use super::super::wire::{self, Include};
use super::super::{Agent, Refusal};
use super::Ask;
use super::answer::Answer;
use crate::types::Demand;

fn include(ask: &Ask) -> Include {
    Include {
        capabilities: ask.flag("includecapabilities"),
        assigned: ask.flag("includeassignedrequest"),
        last_completed: ask.flag("includelastcompletedrequest"),
    }
}

pub(super) fn list(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    match ask.method {
        Method::GET => rows(core, ask, pool),
        Method::POST => {
            let id = core.state.add_agent(pool, &ask.json()?, now)?;
            registered(core, ask, pool, id)
        }
        ref method => Err(Refusal::wrong_method(method.as_str())),
    }
}

fn rows(core: &Core, ask: &Ask, pool: i64) -> Result<Answer, Refusal> {
    let wire = ask.wire(core);
    let name = ask.text("agentname");
    let demands: Vec<Demand> =
        ask.text("demands").map(|d| d.split(',').map(Demand::parse).collect()).unwrap_or_default();
    let wanted =
        |a: &&Agent| name.is_none_or(|n| a.name.eq_ignore_ascii_case(n)) && a.matches(&demands);
    let rows = wire.world.pool(pool)?.agents.values().filter(wanted);
    let rows = rows.map(|a| Value::Object(wire.agent(pool, a, include(ask)))).collect();
    Ok(Answer::json(wire::list(rows)))
}

pub(super) fn one(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    id: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    match ask.method {
        Method::GET => {}
        Method::PUT => {
            core.state.replace_agent(pool, id, &ask.json()?, now)?;
            return registered(core, ask, pool, id);
        }
        Method::PATCH => core.state.patch_agent(pool, id, &ask.json()?, now)?,
        Method::DELETE => {
            core.state.delete_agent(pool, id, now)?;
            return Ok(Answer::empty(204));
        }
        ref method => return Err(Refusal::wrong_method(method.as_str())),
    }
    let wire = ask.wire(core);
    Ok(Answer::json(Value::Object(wire.agent(pool, wire.world.agent(pool, id)?, include(ask)))))
}

fn registered(core: &Core, ask: &Ask, pool: i64, id: i64) -> Result<Answer, Refusal> {
    Ok(Answer::json(ask.wire(core).registered(pool, core.state.world.agent(pool, id)?)))
}

/// Replaces the whole set; the only way to change it.
pub(super) fn capabilities(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    id: i64,
) -> Result<Answer, Refusal> {
    if ask.method != Method::PUT {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    core.state.set_user_capabilities(pool, id, ask.json()?)?;
    let all = Include { capabilities: true, ..Include::default() };
    let wire = ask.wire(core);
    Ok(Answer::json(Value::Object(wire.agent(pool, wire.world.agent(pool, id)?, all))))
}
