//! Job requests in their three forms, one request, and the licence they count against.

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::shell::Core;
use super::super::wire;
use super::super::{Caller, Job, JobState, Refusal};
use super::Ask;
use super::answer::Answer;

/// Rows of a page, whatever `$top` says.
const PAGE_MAX: usize = 200;

pub(super) fn list(core: &Core, ask: &Ask, pool: i64) -> Result<Answer, Refusal> {
    if ask.method != Method::GET {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    ask.wire(core).world.pool(pool)?;
    match ask.number("$top")? {
        Some(top) => page(core, ask, pool, usize::try_from(top).unwrap_or(0)),
        None => unpaged(core, ask, pool),
    }
}

/// `$top`: flat, newest first, finished ones mixed in, no matching agents.
fn page(core: &Core, ask: &Ask, pool: i64, top: usize) -> Result<Answer, Refusal> {
    let wire = ask.wire(core);
    let below = ask.number("continuationtoken")?.unwrap_or(i64::MAX);
    let mut rows = wire.world.jobs.values().rev().filter(|j| j.pool == pool && j.id < below);
    let shown: Vec<&Job> = rows.by_ref().take(top.min(PAGE_MAX)).collect();
    let more = rows.next().is_some();
    let answer = Answer::json(wire::list(shown.iter().map(|j| wire.job(j, false)).collect()));
    Ok(match shown.last() {
        Some(last) if more => answer.with("x-ms-continuationtoken", last.id),
        _ => answer,
    })
}

/// Unfinished ones, then as many finished ones as asked for; without a number all of history.
fn unpaged(core: &Core, ask: &Ask, pool: i64) -> Result<Answer, Refusal> {
    let wire = ask.wire(core);
    let agents = match (ask.numbers("agentids")?, ask.number("agentid")?) {
        (None, Some(one)) => Some(vec![one]),
        (many, _) => many,
    };
    let completed = ask
        .number("completedrequestcount")?
        .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(0));
    let wanted = |job: &&Job| {
        job.pool == pool
            && agents
                .as_ref()
                .is_none_or(|ids| job.reserved.as_ref().is_some_and(|(id, _)| ids.contains(id)))
            && ask.text("planid").is_none_or(|p| job.plan_id.to_string().eq_ignore_ascii_case(p))
            && ask.text("jobid").is_none_or(|p| job.job_id.to_string().eq_ignore_ascii_case(p))
    };
    let open = wire.world.open_jobs().filter(wanted);
    let done = wire
        .world
        .jobs
        .values()
        .rev()
        .filter(|j| j.result.is_some())
        .filter(wanted)
        .take(completed);
    Ok(Answer::json(wire::list(open.chain(done).map(|j| wire.job(j, true)).collect())))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RequestForm {
    result: Option<String>,
    finish_time: Option<String>,
    agent_shutting_down: bool,
}

/// GET shows; PATCH renews, or finishes when it carries a result; DELETE is the older way to finish.
pub(super) fn one(
    core: &mut Core,
    ask: &Ask,
    pool: i64,
    id: i64,
    now: Timestamp,
) -> Result<Answer, Refusal> {
    if core.state.world.job(id)?.pool != pool {
        return Err(Refusal::request_not_found(id));
    }
    if ask.method != Method::GET {
        holder_only(core, ask, id)?;
    }
    match ask.method {
        Method::GET => {}
        Method::PATCH => {
            let form: RequestForm = ask.json()?;
            match (&form.result, &form.finish_time) {
                (None, None) => core.state.renew(id, now)?,
                (result, _) => {
                    let result = result_word(result.as_deref().unwrap_or("failed"))?;
                    core.state.finish(id, result, form.agent_shutting_down, now)?;
                }
            }
        }
        Method::DELETE => {
            let result = result_word(ask.text("result").unwrap_or("failed"))?;
            core.state.finish(id, result, ask.flag("agentshuttingdown"), now)?;
            return Ok(Answer::empty(204));
        }
        ref method => return Err(Refusal::wrong_method(method.as_str())),
    }
    let wire = ask.wire(core);
    Ok(Answer::json(wire.job(wire.world.job(id)?, true)))
}

/// Only the agent that holds a request may renew or finish it. Another's request is as good as unknown.
fn holder_only(core: &Core, ask: &Ask, id: i64) -> Result<(), Refusal> {
    let job = core.state.world.job(id)?;
    let Some(Caller::Listener { agent, .. }) = ask.caller else {
        return Err(Refusal::request_not_found(id));
    };
    match (&job.reserved, job.state()) {
        (Some((holder, _)), _) if *holder == agent => Ok(()),
        (_, JobState::Finished) => Err(Refusal::request_finished(id)),
        _ => Err(Refusal::request_not_found(id)),
    }
}

/// The service writes words in camel case and reads them in any, or as numbers.
fn result_word(text: &str) -> Result<&'static str, Refusal> {
    const WORDS: [&str; 6] =
        ["succeeded", "succeededWithIssues", "failed", "canceled", "skipped", "abandoned"];
    let by_number = text.parse().ok().and_then(|n: usize| WORDS.get(n)).copied();
    let by_word = WORDS.iter().find(|w| w.eq_ignore_ascii_case(text)).copied();
    by_number
        .or(by_word)
        .ok_or_else(|| Refusal::bad_request(format!("{text:?} is no result of a job")))
}

/// Use of the parallel-job licence: explains why jobs wait though agents are idle.
pub(super) fn usage(core: &Core, ask: &Ask) -> Answer {
    let wire = ask.wire(core);
    let held: Vec<Value> =
        wire.world.open_jobs().filter(|j| j.is_held()).map(|j| wire.job(j, false)).collect();
    let mut usage =
        json!({ "resourceLimit": limit(core), "usedCount": held.len(), "usedMinutes": 0 });
    if ask.flag("includerunningrequests") {
        usage["runningRequests"] = json!(held);
    }
    Answer::json(usage)
}

pub(super) fn limits(core: &Core) -> Answer {
    Answer::json(wire::list(vec![limit(core)]))
}

fn limit(core: &Core) -> Value {
    json!({
        "failedToReachAllProviders": false, "isHosted": false, "isPremium": false, "parallelismTag": "Private",
        "totalCount": core.state.settings.parallel_jobs, "resourceLimitsData": {},
    })
}
