//! Is it done, for hosts and pools that are held back. Pure, as [`crate::goal`].
//!
//! Whether it is done is the coordinator's word, for it hears all hosts; here is shown what is
//! awaited.

use fleet_proto::v1::{self, Phase, RestraintKind};
use jiff::Timestamp;

use crate::{
    goal::{Standing, State},
    live::{Key, Live},
    when, words,
};

/// How many agents are named before "and N more".
const NAMED: usize = 10;

/// Everything that was named is held back so, and what that asks for is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldGoal {
    pub(crate) kind: RestraintKind,
    /// Hosts, or pools.
    pub(crate) whom: Vec<Key>,
}

impl HeldGoal {
    /// What is not so yet.
    pub(crate) fn unfinished(&self) -> &'static str {
        match self.kind {
            RestraintKind::Drain => "is not drained yet",
            RestraintKind::Pause => "is not at rest yet",
            RestraintKind::Cordon | RestraintKind::Unspecified => "is not cordoned yet",
        }
    }

    fn finished(&self) -> &'static str {
        match self.kind {
            RestraintKind::Drain => "drained",
            RestraintKind::Pause => "paused, no job runs",
            RestraintKind::Cordon | RestraintKind::Unspecified => "cordoned",
        }
    }

    fn concerns(&self, agent: &v1::Agent) -> bool {
        let pool = agent.status.as_ref().map(|status| status.pool.as_str()).unwrap_or_default();
        self.whom.iter().any(|key| match key {
            Key::Host(host) => *host == agent.host,
            Key::Pool(name) => name == pool,
            Key::Agent(_) => false,
        })
    }

    /// It is in the way of the end. What is kept aside or holds a registration does not run.
    fn awaits(&self, status: &v1::AgentStatus) -> bool {
        let rests = self.kind == RestraintKind::Pause
            && status.phase() == Phase::Paused
            && status.job.is_none();
        !rests && !status.placeholder && status.phase() != Phase::Quarantined
    }
}

/// Where they stand.
pub(crate) fn look(goal: &HeldGoal, live: &Live, now: Timestamp) -> Standing {
    let mut open = Vec::new();
    let mut reasons = Vec::new();
    for key in &goal.whom {
        let name = key.name();
        let restraint = match held(key, live) {
            Ok(restraint) => restraint,
            Err(why) => return Standing::different(why),
        };
        if restraint.kind() != goal.kind {
            let kind = words::restraint(restraint.kind);
            return Standing::different(format!("{name} is held back otherwise now: {kind}"));
        }
        if restraint.done.is_none() {
            open.push(key);
        }
        if restraint.deadline.is_some_and(|deadline| deadline.passed) {
            reasons.push(format!("{name}: the deadline has passed; it waits on"));
        }
    }
    let awaited: Vec<(&v1::Agent, &v1::AgentStatus)> = live
        .agents
        .values()
        .filter(|agent| goal.concerns(agent))
        .filter_map(|agent| Some((agent, agent.status.as_ref()?)))
        .filter(|(_, status)| goal.awaits(status))
        .collect();
    if open.is_empty() {
        return Standing {
            state: State::Reached,
            remaining: 0,
            line: goal.finished().to_owned(),
            reasons,
            notes: Vec::new(),
            missing: Vec::new(),
        };
    }
    reasons.extend(away(goal, &awaited, live));
    // Told once each, so without an age.
    let notes = awaited.iter().take(NAMED).filter_map(|(agent, status)| {
        let (job, link) = job(agent, status)?;
        Some(format!("{} ends its job first: {job}{link}", status.agent))
    });
    let mut missing: Vec<String> =
        awaited.iter().map(|(agent, status)| one(agent, status, now)).collect();
    let more = missing.len().saturating_sub(NAMED);
    missing.truncate(NAMED);
    missing.extend((more > 0).then(|| format!("and {more} more")));
    Standing {
        state: State::Waiting,
        remaining: (awaited.len() as u64).max(1),
        line: line(goal, open.len(), &awaited),
        reasons,
        notes: notes.collect(),
        missing,
    }
}

fn held<'a>(key: &Key, live: &'a Live) -> Result<&'a v1::Restraint, String> {
    let name = key.name();
    let found = match key {
        Key::Host(host) => live.hosts.get(host).map(|host| host.restraint.as_ref()),
        Key::Pool(pool) => live.pools.get(pool).map(|pool| pool.spec.as_ref()?.restraint.as_ref()),
        Key::Agent(_) => None,
    };
    match found {
        None => Err(format!("{name} does not exist any more")),
        Some(None) => Err(format!("{name} is Active")),
        Some(Some(restraint)) => Ok(restraint),
    }
}

fn line(goal: &HeldGoal, open: usize, awaited: &[(&v1::Agent, &v1::AgentStatus)]) -> String {
    let jobs = awaited.iter().filter(|(_, status)| status.job.is_some()).count() as u64;
    let agents = match (awaited.len() as u64, goal.kind) {
        (0, RestraintKind::Pause) => "no job is seen, Azure's word is awaited".to_owned(),
        (0, _) => "no agent is seen, the word of the hosts is awaited".to_owned(),
        (n, RestraintKind::Pause) => format!("{} not at rest", words::count(n, "agent")),
        (n, _) => format!("{} to go", words::count(n, "agent")),
    };
    let jobs = match jobs {
        0 => String::new(),
        n => format!(", {n} at their job's end"),
    };
    let done = goal.whom.len() - open;
    let done = (goal.whom.len() > 1).then(|| format!("{done} of {} done, ", goal.whom.len()));
    format!("{}{agents}{jobs}", done.unwrap_or_default())
}

/// Hosts whose word is needed and that are not there to give it.
fn away(goal: &HeldGoal, awaited: &[(&v1::Agent, &v1::AgentStatus)], live: &Live) -> Vec<String> {
    let named = |host: &str| goal.whom.contains(&Key::Host(host.to_owned()));
    let concerned = |host: &str| named(host) || awaited.iter().any(|(agent, _)| agent.host == host);
    live.hosts
        .values()
        .filter(|host| host.state() != v1::HostState::Ready && concerned(&host.name))
        .map(|host| {
            let state = words::host_state(host.state);
            format!("{} is {state}; nothing is known of its agents until it is back", host.name)
        })
        .collect()
}

/// One agent that is awaited: its job, for how long, and where to look at it.
fn one(agent: &v1::Agent, status: &v1::AgentStatus, now: Timestamp) -> String {
    let phase = words::phase(status.phase);
    let age = |since| when::age(when::at(since), now);
    match job(agent, status) {
        Some((name, link)) => {
            let since = status.job.as_ref().and_then(|job| job.since.as_ref());
            format!("{} has job {name} for {}{link}", status.agent, age(since))
        }
        None => {
            let age = age(status.since.as_ref());
            format!("{} is {phase} for {age}: {}", status.agent, status.why)
        }
    }
}

/// Its job's name, and the page of the run as the end of a sentence.
fn job<'a>(agent: &v1::Agent, status: &'a v1::AgentStatus) -> Option<(&'a str, String)> {
    let job = status.job.as_ref()?;
    let name = if job.name.is_empty() { "(name unknown)" } else { &job.name };
    let link = match agent.run_url.as_str() {
        "" => String::new(),
        url => format!(", {url}"),
    };
    Some((name, link))
}

#[cfg(test)]
#[path = "held_goal_tests.rs"]
mod tests;
