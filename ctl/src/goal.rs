//! Is it done, how far is it, and what is in the way: decided from what the coordinator said.
//! Pure; [`crate::wait`] acts on it.

use std::collections::{BTreeMap, BTreeSet};

use fleet_proto::v1;
use jiff::Timestamp;

use crate::{
    agent_goal::{self, AgentGoal},
    held_goal::{self, HeldGoal},
    live::Live,
    when, words,
};

/// How many single agents are named before "and N more".
const NAMED: usize = 5;

/// What a verb waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The pool has exactly this many agents, all online and none leaving.
    Scaled(u32),
    /// The pool and its agents are gone.
    Gone,
    /// Something of one agent.
    Agent(String, AgentGoal),
    /// Hosts or pools are held back.
    Held(HeldGoal),
}

/// Where a pool stands on its way to a [`Goal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    /// Steps that are missing: agents to come plus agents to go. Zero when reached.
    pub(crate) remaining: u64,
    /// How it stands, in one line.
    pub(crate) line: String,
    /// What is in the way. Texts stay equal while the trouble is the same.
    pub(crate) reasons: Vec<String>,
    /// Worth knowing on the way and told once; the last word says it in another way.
    pub(crate) notes: Vec<String>,
    /// Agents that are not yet as they should be, with how long; for the last word.
    pub(crate) missing: Vec<String>,
}

/// See [`Standing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Reached,
    Waiting,
    /// The pool's order is not the one waited for: not known yet, or replaced by a later one.
    Different(String),
}

/// Where `pool` stands.
pub(crate) fn look(goal: &Goal, pool: &str, live: &Live, now: Timestamp) -> Standing {
    let agents = Agents::of(pool, live);
    let found = live.pools.get(pool);
    match goal {
        Goal::Scaled(wanted) => scaled(*wanted, pool, found, &agents, live, now),
        Goal::Gone => gone(found, &agents, live, now),
        Goal::Agent(name, goal) => agent_goal::look(*goal, name, live),
        Goal::Held(goal) => held_goal::look(goal, live, now),
    }
}

fn scaled(
    wanted: u32,
    name: &str,
    pool: Option<&v1::Pool>,
    agents: &Agents<'_>,
    live: &Live,
    now: Timestamp,
) -> Standing {
    let Some(pool) = pool else {
        return Standing::different(format!("pool {name} does not exist any more"));
    };
    let counts = pool.counts.unwrap_or_default();
    let spec = pool.spec.as_ref();
    let asked = spec.map_or(counts.desired, |s| s.replicas);
    if spec.is_some_and(|s| s.deleted) {
        return Standing::different(format!("pool {name} is being deleted"));
    }
    if asked != wanted {
        return Standing::different(format!("pool {name} is now meant to have {asked}"));
    }
    let to_come = u64::from(wanted.saturating_sub(counts.ready));
    let surplus = agents.all().saturating_sub(u64::from(wanted));
    let remaining = to_come + surplus.max(u64::from(counts.leaving));
    let agree = counts.desired == wanted && counts.ready == wanted;
    // The counts and the list of agents travel as messages of their own: both must say so.
    let reached = agree && remaining == 0 && agents.all() == u64::from(wanted);
    let mut parts = vec![match counts.ready {
        ready if ready > wanted => format!("{ready} ready, {wanted} wanted"),
        ready => format!("{ready} of {wanted} ready"),
    }];
    parts.extend(agents.by_phase());
    parts.extend((pool.unplaced > 0).then(|| format!("{} without a host", pool.unplaced)));
    parts.extend(agents.leaving_words());
    Standing {
        state: if reached { State::Reached } else { State::Waiting },
        remaining: if reached { 0 } else { remaining.max(1) },
        line: parts.join(", "),
        reasons: reasons(pool, agents, live),
        notes: Vec::new(),
        missing: agents.missing(now, |status| !is_ready(status)),
    }
}

fn gone(pool: Option<&v1::Pool>, agents: &Agents<'_>, live: &Live, now: Timestamp) -> Standing {
    // Here the placeholder counts, too: deleting the pool takes the last registration.
    let left = agents.all() + agents.placeholders + agents.aside.len() as u64;
    let reached = pool.is_none() && left == 0;
    Standing {
        state: if reached { State::Reached } else { State::Waiting },
        remaining: if reached { 0 } else { left.max(1) },
        line: match left {
            0 if reached => "gone".to_owned(),
            0 => "no agents left, the pool itself is going".to_owned(),
            _ => format!("{} left{}", words::count(left, "agent"), busy_suffix(agents)),
        },
        reasons: pool.map(|pool| reasons(pool, agents, live)).unwrap_or_default(),
        notes: Vec::new(),
        missing: agents.missing(now, |_| true),
    }
}

impl Standing {
    pub(crate) fn different(why: String) -> Self {
        Self {
            line: why.clone(),
            state: State::Different(why),
            remaining: 1,
            reasons: Vec::new(),
            notes: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// The agents of one pool, sorted into who stays and who goes.
struct Agents<'a> {
    staying: Vec<&'a v1::Agent>,
    leaving: Vec<&'a v1::Agent>,
    placeholders: u64,
    /// Kept aside. Others have their places, so they are in no count.
    aside: Vec<&'a v1::Agent>,
}

impl<'a> Agents<'a> {
    fn of(pool: &'a str, live: &'a Live) -> Self {
        let (placeholders, agents): (Vec<_>, Vec<_>) =
            live.agents_of(pool).partition(|a| status(a).is_some_and(|s| s.placeholder));
        let (aside, agents): (Vec<_>, Vec<_>) = agents.into_iter().partition(is_aside);
        let (staying, leaving) = agents
            .into_iter()
            .partition(|a| status(a).is_some_and(|s| s.intent() == v1::Intent::Keep));
        Self { staying, leaving, placeholders: placeholders.len() as u64, aside }
    }

    fn all(&self) -> u64 {
        (self.staying.len() + self.leaving.len()) as u64
    }

    /// `2 Starting`, `1 Failed`: those that stay and are not yet ready.
    fn by_phase(&self) -> Vec<String> {
        let mut counts = BTreeMap::<i32, u64>::new();
        for status in self.staying.iter().filter_map(|a| status(a)).filter(|s| !is_ready(s)) {
            *counts.entry(status.phase).or_default() += 1;
        }
        counts.into_iter().map(|(phase, n)| format!("{n} {}", words::phase(phase))).collect()
    }

    fn leaving_words(&self) -> Option<String> {
        let leaving = self.leaving.len();
        (leaving > 0).then(|| format!("{leaving} leaving{}", busy_suffix(self)))
    }

    /// Those that leave, and those that stay in an `unwanted` state.
    fn missing(&self, now: Timestamp, unwanted: fn(&v1::AgentStatus) -> bool) -> Vec<String> {
        let staying = self.staying.iter().filter_map(|a| status(a)).filter(|s| unwanted(s));
        let leaving = self.leaving.iter().filter_map(|a| status(a));
        let lines = staying.chain(leaving).map(|status| {
            let age = when::age(when::at(status.since.as_ref()), now);
            let job = status.job.as_ref().map(|job| format!(", job {}", job_name(job)));
            let phase = words::phase(status.phase);
            format!("{} is {phase} for {age}{}", status.agent, job.unwrap_or_default())
        });
        shorten(lines.collect())
    }
}

fn busy_suffix(agents: &Agents<'_>) -> String {
    let busy = agents.leaving.iter().filter(|a| status(a).is_some_and(|s| s.job.is_some())).count();
    if busy == 0 { String::new() } else { format!(" ({busy} at their job's end)") }
}

/// What stands in the way, as far as the coordinator knows.
fn reasons(pool: &v1::Pool, agents: &Agents<'_>, live: &Live) -> Vec<String> {
    let mut reasons: Vec<String> = pool.troubles.iter().map(trouble).collect();
    if pool.unplaced > 0 {
        let why = pool.unplaced_reasons.join("; ");
        reasons.push(format!("{} without a host: {why}", words::count(pool.unplaced, "agent")));
    }
    if pool.waiting > 0 {
        let agents = words::count(pool.waiting, "agent");
        reasons.push(format!("{agents} to start when as many have left elsewhere"));
    }
    reasons.extend(absent_hosts(pool, live));
    reasons.extend(failures(agents));
    reasons
}

fn trouble(trouble: &v1::PoolTrouble) -> String {
    let condition = trouble.condition.clone().unwrap_or_default();
    let kind = words::condition(condition.kind);
    match trouble.host.as_str() {
        "" => format!("{kind}: {}", condition.message),
        host => format!("{host}: {kind}: {}", condition.message),
    }
}

/// Hosts that are to keep agents of the pool and are not in session.
fn absent_hosts(pool: &v1::Pool, live: &Live) -> Vec<String> {
    let hosts: BTreeSet<&str> =
        pool.placement.iter().filter(|p| p.replicas > 0).map(|p| p.host.as_str()).collect();
    hosts
        .into_iter()
        .filter_map(|name| live.hosts.get(name))
        .filter(|host| host.state() != v1::HostState::Ready)
        .map(|host| {
            format!(
                "{} is {}; what it was told last stays",
                host.name,
                words::host_state(host.state)
            )
        })
        .collect()
}

/// Agents that failed or wait for something else than their turn, told once per host and cause.
fn failures(agents: &Agents<'_>) -> Vec<String> {
    let mut causes = BTreeMap::<(&str, &str, i32), u64>::new();
    for agent in agents.staying.iter().chain(&agents.aside) {
        let Some(status) = status(agent) else { continue };
        use v1::Phase::{Failed, Paused, Quarantined};
        if matches!(status.phase(), Failed | Quarantined | Paused) {
            *causes.entry((&agent.host, &status.why, status.phase)).or_default() += 1;
        }
    }
    let lines = causes.into_iter().map(|((host, why, phase), n)| {
        let why = if why.is_empty() { "no reason given" } else { why };
        format!("{host}: {} {}: {why}", words::count(n, "agent"), words::phase(phase))
    });
    shorten(lines.collect())
}

fn shorten(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}

fn job_name(job: &v1::Job) -> &str {
    if job.name.is_empty() { "(name unknown)" } else { &job.name }
}

fn status(agent: &v1::Agent) -> Option<&v1::AgentStatus> {
    agent.status.as_ref()
}

fn is_aside(agent: &&v1::Agent) -> bool {
    status(agent).is_some_and(|status| status.phase() == v1::Phase::Quarantined)
}

fn is_ready(status: &v1::AgentStatus) -> bool {
    matches!(status.phase(), v1::Phase::Idle | v1::Phase::Busy)
}

#[cfg(test)]
#[path = "goal_tests.rs"]
mod tests;
