//! The control API under `_sim`: for tests and demos, without any credential. It is a simulator.

use std::time::Duration;

use http::Method;
use http::request::Parts;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::control::{self, JobView, RowView};
use super::super::shell::{Core, Shell};
use super::super::state::JobRecord;
use super::super::{BusyDelete, Caller, Fault, JobForm, PatForm, Refusal};
use super::Ask;
use super::answer::Answer;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueForm {
    pool: String,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    job: JobForm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentForm {
    pool: String,
    agent: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct SettingsForm {
    parallel_jobs: Option<usize>,
    busy_delete: Option<BusyDelete>,
    session_expiry_ms: Option<u64>,
    poll_limit_ms: Option<u64>,
    lock_ms: Option<u64>,
    delivery_lag_ms: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct TokenForm {
    token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NoteForm {
    note: String,
}

fn one() -> usize {
    1
}

/// `METHOD _sim/...`; every verb in one table.
pub(super) fn answer(
    shell: &Shell,
    verb: &[String],
    ask: &Ask,
    parts: &Parts,
) -> Result<Answer, Refusal> {
    let words: Vec<&str> = verb.iter().map(String::as_str).collect();
    if let (&Method::POST, ["jobs", id, "record"]) = (&ask.method, words.as_slice()) {
        return record(shell, ask, parts, number(id)?);
    }
    if let (&Method::GET, ["packages", file]) = (&ask.method, words.as_slice()) {
        let found = shell.packages.iter().find(|p| p.filename == *file);
        return found
            .map(|p| Answer::file(p.content.clone()))
            .ok_or_else(|| Refusal::no_resource(file));
    }
    if let (&Method::POST, ["clock", "advance"]) = (&ask.method, words.as_slice()) {
        let seconds =
            ask.json::<Value>()?["seconds"].as_f64().filter(|s| s.is_finite() && *s >= 0.0);
        let seconds = seconds
            .ok_or_else(|| Refusal::bad_request("seconds must be a number, not negative"))?;
        shell.advance_clock(Duration::from_secs_f64(seconds.min(1e9)));
        return Ok(Answer::json(json!({ "now": shell.clock.now() })));
    }
    shell.step(|core, now| match ask.method {
        Method::GET => look(core, ask, &words),
        _ => change(core, ask, &words, now),
    })
}

fn look(core: &Core, ask: &Ask, words: &[&str]) -> Result<Answer, Refusal> {
    let state = &core.state;
    let value = match words {
        ["summary"] => json!(state.summary()),
        ["journal"] => {
            let since = ask.number("since")?.unwrap_or(0);
            json!(state.journal.since(u64::try_from(since).unwrap_or(0)))
        }
        ["jobs"] => json!(control::jobs(state, ask.text("pool"))),
        ["jobs", id] => json!(JobView::of(state, state.world.job(number(id)?)?)),
        ["rows"] => json!(control::rows(state, ask.text("pool"))),
        ["rows", pool, agent] => {
            let (pool, agent) = control::find_agent(state, pool, agent)?;
            json!(RowView::of(state, pool, agent))
        }
        ["faults"] => json!(core.faults.list()),
        ["pools"] => json!(
            state
                .world
                .pools
                .values()
                .map(|p| json!({ "id": p.id, "name": p.name }))
                .collect::<Vec<_>>()
        ),
        _ => return Err(Refusal::no_resource(&words.join("/"))),
    };
    Ok(Answer::json(value))
}

fn change(core: &mut Core, ask: &Ask, words: &[&str], now: Timestamp) -> Result<Answer, Refusal> {
    match (&ask.method, words) {
        (&Method::POST, ["pools"]) => {
            let name = ask.json::<Value>()?["name"].as_str().map(str::to_owned);
            let name = name.ok_or_else(|| Refusal::bad_request("name is missing"))?;
            return Ok(Answer::json(json!({ "id": core.state.add_pool(&name, now) })));
        }
        (&Method::POST, ["jobs"]) => return queue(core, ask, now),
        (&Method::POST, ["jobs", id, "cancel"]) => core.state.cancel(number(id)?, now)?,
        (&Method::POST, ["pats"]) => core.state.add_pat(&ask.json::<PatForm>()?),
        (&Method::POST, ["pats", "revoke"]) => revoke(core, &ask.json::<TokenForm>()?.token)?,
        (&Method::POST, ["pats", "expire"]) => {
            let mut pat = PatForm::manager(&ask.json::<TokenForm>()?.token);
            pat.expires = Some(now);
            core.state.add_pat(&pat);
        }
        (&Method::POST, ["faults"]) => control::set_fault(core, ask.json::<Fault>()?, now),
        (&Method::DELETE, ["faults"]) => control::clear_faults(core, now),
        (&Method::POST, ["settings"]) => settings(core, &ask.json()?),
        (&Method::POST, ["sessions", "kill"]) => {
            for (pool, agent) in chosen(core, &ask.json()?)? {
                core.state.kill_session(pool, agent, now)?;
            }
        }
        (&Method::POST, ["updates"]) => update(core, &ask.json()?, now)?,
        (&Method::POST, ["journal", "mark"]) => {
            let form: NoteForm =
                if ask.body.is_empty() { NoteForm::default() } else { ask.json()? };
            core.state.mark(&form.note, now);
        }
        _ => return Err(Refusal::no_resource(&words.join("/"))),
    }
    Ok(Answer::json(json!({})))
}

fn queue(core: &mut Core, ask: &Ask, now: Timestamp) -> Result<Answer, Refusal> {
    let form: QueueForm = ask.json()?;
    let pool = control::find_pool(&core.state, &form.pool)?;
    let ids: Result<Vec<i64>, Refusal> =
        (0..form.count).map(|_| core.state.queue_job(pool, form.job.clone(), now)).collect();
    Ok(Answer::json(json!({ "requestIds": ids? })))
}

fn revoke(core: &mut Core, token: &str) -> Result<(), Refusal> {
    if core.state.revoke_pat(token) { Ok(()) } else { Err(Refusal::no_resource("such a token")) }
}

/// One agent, or all of a pool that have a session.
fn chosen(core: &Core, form: &AgentForm) -> Result<Vec<(i64, i64)>, Refusal> {
    if let Some(agent) = &form.agent {
        let (pool, agent) = control::find_agent(&core.state, &form.pool, agent)?;
        return Ok(vec![(pool, agent.id)]);
    }
    let pool = core.state.world.pool(control::find_pool(&core.state, &form.pool)?)?;
    Ok(pool.agents.values().filter(|a| a.is_online()).map(|a| (pool.id, a.id)).collect())
}

fn update(core: &mut Core, form: &AgentForm, now: Timestamp) -> Result<(), Refusal> {
    let version =
        form.version.as_deref().ok_or_else(|| Refusal::bad_request("version is missing"))?;
    for (pool, agent) in chosen(core, form)? {
        core.state.request_update(pool, agent, version, now)?;
    }
    Ok(())
}

fn settings(core: &mut Core, form: &SettingsForm) {
    let set = &mut core.state.settings;
    let ms = Duration::from_millis;
    set.parallel_jobs = form.parallel_jobs.unwrap_or(set.parallel_jobs);
    set.busy_delete = form.busy_delete.unwrap_or(set.busy_delete);
    set.session_expiry = form.session_expiry_ms.map_or(set.session_expiry, ms);
    set.poll_limit = form.poll_limit_ms.map_or(set.poll_limit, ms);
    set.lock_time = form.lock_ms.map_or(set.lock_time, ms);
    set.delivery_lag =
        form.delivery_lag_ms.map_or(set.delivery_lag, |(low, high)| (ms(low), ms(high)));
}

/// The stub agent tells what it found when its job began: with its own token, for its own job.
fn record(shell: &Shell, ask: &Ask, parts: &Parts, id: i64) -> Result<Answer, Refusal> {
    let header = parts.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let record: JobRecord = ask.json()?;
    shell.step(|core, now| {
        let holder = core.state.world.job(id)?.reserved.as_ref().map(|(id, _)| *id);
        match core.state.authenticate(header, now) {
            Ok(Caller::Listener { agent, .. }) if Some(agent) == holder => {
                core.state.record(id, record)
            }
            _ => Err(Refusal::not_holder()),
        }
    })?;
    Ok(Answer::empty(204))
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::bad_request(format!("{text:?} is no id")))
}
