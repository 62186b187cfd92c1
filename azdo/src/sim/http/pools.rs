//! Pools, their view from a project, and the packages.

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::super::shell::{Core, Shell};
use super::super::wire::{self, list};
use super::super::{Caller, Pool, Refusal, Role};
use super::Ask;
use super::answer::Answer;
use super::route::Route;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolForm {
    name: Option<String>,
    auto_update: Option<bool>,
    auto_provision: Option<bool>,
}

pub(super) fn answer(core: &mut Core, ask: &Ask, now: Timestamp) -> Result<Answer, Refusal> {
    match (&ask.method, &ask.route) {
        (&Method::GET, Route::Pools) => pools(core, ask),
        (&Method::POST, Route::Pools) => create(core, ask, now),
        (&Method::GET, Route::Pool(id)) => show(core, ask, *id),
        (&Method::PATCH, Route::Pool(id)) => change(core, ask, *id),
        (&Method::DELETE, Route::Pool(id)) => {
            core.state.delete_pool(*id, now)?;
            Ok(Answer::empty(204))
        }
        (&Method::GET, Route::Permissions(id, _)) => {
            core.state.world.pool(*id)?;
            Ok(Answer::json(json!(is_manager(ask))))
        }
        (method, _) => Err(Refusal::wrong_method(method.as_str())),
    }
}

fn is_manager(ask: &Ask) -> bool {
    matches!(ask.caller, Some(Caller::Person { role: Role::Manager, .. }))
}

fn pools(core: &Core, ask: &Ask) -> Result<Answer, Refusal> {
    let wire = ask.wire(core);
    let (name, kind, ids) = (ask.text("poolname"), ask.text("pooltype"), ask.numbers("poolids")?);
    let managed_only = ask.text("actionfilter").is_some_and(|a| a.eq_ignore_ascii_case("manage"));
    let wanted = |pool: &&Pool| {
        name.is_none_or(|n| pool.name.eq_ignore_ascii_case(n))
            && kind.is_none_or(|k| k.eq_ignore_ascii_case("automation"))
            && ids.as_ref().is_none_or(|ids| ids.contains(&pool.id))
            && (!managed_only || is_manager(ask))
    };
    let rows = wire.world.pools.values().filter(wanted).map(|p| wire.pool(p)).collect();
    Ok(Answer::json(list(rows)))
}

fn show(core: &Core, ask: &Ask, id: i64) -> Result<Answer, Refusal> {
    let wire = ask.wire(core);
    Ok(Answer::json(wire.pool(wire.world.pool(id)?)))
}

fn create(core: &mut Core, ask: &Ask, now: Timestamp) -> Result<Answer, Refusal> {
    let form: PoolForm = ask.json()?;
    let name = form
        .name
        .filter(|n| !n.trim().is_empty())
        .ok_or_else(|| Refusal::bad_request("The pool has no name."))?;
    if core.state.world.pool_named(&name).is_some() {
        let words = format!("Agent pool {name} already exists.");
        return Err(Refusal::new(409, "TaskAgentPoolExistsException", words));
    }
    let id = core.state.add_pool(&name, now);
    show(core, ask, id)
}

fn change(core: &mut Core, ask: &Ask, id: i64) -> Result<Answer, Refusal> {
    let form: PoolForm = ask.json()?;
    core.state.world.pool(id)?;
    if let Some(pool) = core.state.world.pools.get_mut(&id) {
        pool.auto_update = form.auto_update.unwrap_or(pool.auto_update);
        pool.auto_provision = form.auto_provision.unwrap_or(pool.auto_provision);
        pool.name = form.name.unwrap_or_else(|| pool.name.clone());
    }
    show(core, ask, id)
}

pub(super) fn queues(
    core: &Core,
    ask: &Ask,
    project: Option<&str>,
    id: Option<i64>,
) -> Result<Answer, Refusal> {
    if ask.method != Method::GET {
        return Err(Refusal::wrong_method(ask.method.as_str()));
    }
    let (wire, project) = (ask.wire(core), wire::project_id(project.unwrap_or("demo")));
    if let Some(id) = id {
        let pool = wire.world.pools.get(&id).ok_or_else(|| {
            Refusal::new(
                404,
                "TaskAgentQueueNotFoundException",
                format!("No agent queue found with identifier {id}."),
            )
        })?;
        return Ok(Answer::json(wire.queue(project, pool)));
    }
    let names: Option<Vec<&str>> = ask.text("queuenames").map(|n| n.split(',').collect());
    let (ids, pools) = (ask.numbers("queueids")?, ask.numbers("poolids")?);
    let wanted = |pool: &&Pool| {
        ask.text("queuename").is_none_or(|n| pool.name.eq_ignore_ascii_case(n))
            && names.as_ref().is_none_or(|n| n.iter().any(|n| pool.name.eq_ignore_ascii_case(n)))
            && ids.as_ref().is_none_or(|ids| ids.contains(&pool.id))
            && pools.as_ref().is_none_or(|ids| ids.contains(&pool.id))
    };
    Ok(Answer::json(list(
        wire.world.pools.values().filter(wanted).map(|p| wire.queue(project, p)).collect(),
    )))
}

/// Newest first, as `$top=1` is the usual question.
pub(super) fn packages(
    shell: &Shell,
    ask: &Ask,
    platform: Option<&str>,
    version: Option<&str>,
) -> Answer {
    let platform = platform.or(ask.text("platform"));
    let mut found: Vec<_> = shell
        .packages
        .iter()
        .filter(|p| platform.is_none_or(|x| p.platform.eq_ignore_ascii_case(x)))
        .filter(|p| version.is_none_or(|x| p.version == x))
        .collect();
    found.sort_by(|a, b| crate::types::compare_versions(&b.version, &a.version));
    if let Some(version) = version {
        return match found.first() {
            Some(package) => Answer::json(package.describe(&ask.base)),
            None => Refusal::new(
                404,
                "PackageNotFoundException",
                format!("No package with version {version}."),
            )
            .into(),
        };
    }
    let top = ask.text("$top").and_then(|t| t.parse().ok()).unwrap_or(usize::MAX);
    Answer::json(list(found.into_iter().take(top).map(|p| p.describe(&ask.base)).collect()))
}
