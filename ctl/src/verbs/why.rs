//! `agentctl why NAME`: what a pool, a host or an agent is, and on what that hangs.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1::{self, explain_request::About};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::Global,
    complete,
    connect::Session,
    error::Failure,
    help,
    names::{Kind, ask_about},
    output,
    verbs::events,
    view::{Agent, Event, Host, Pool, Share},
    when, words,
};

/// Events that are shown.
const LATELY: u32 = 8;
/// Hosts that are named before "and N more".
const NAMED: usize = 5;

/// Says why a pool, a host or an agent is as it is.
///
/// Of a pool: what it lacks, which host has how many of its agents, and which rule keeps a host from
/// having more. Of a host: the same the other way round. Of an agent: its phase, what is wanted of it,
/// and by whom. With what happened to it lately.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl why nightly-svc",
    "Why it has eight agents and not ten",
    help::ASKING,
))]
pub(crate) struct Why {
    #[command(flatten)]
    about: Named,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// Pool, host or agent
    #[arg(add = ArgValueCandidates::new(complete::hosts_and_pools))]
    name: Option<String>,
    /// A host that shares its name with a pool
    #[arg(long, hide_short_help = true, add = ArgValueCandidates::new(complete::hosts))]
    host: Option<String>,
    /// A pool that shares its name with a host
    #[arg(long, hide_short_help = true, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// In words
    #[default]
    Text,
    /// One JSON object
    Json,
    /// The same as YAML
    Yaml,
}

/// What was asked about, with what it hangs on.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    pools: Vec<Pool>,
    hosts: Vec<Host>,
    agents: Vec<Agent>,
    shares: Vec<Share>,
    /// The newest events about it, oldest first.
    events: Vec<Event>,
}

impl Why {
    /// Asks, and says it.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let (kind, name, about) = match (&self.about.host, &self.about.pool, &self.about.name) {
            (Some(host), ..) => (Kind::Host, host.as_str(), About::Host(host.clone())),
            (_, Some(pool), _) => (Kind::Pool, pool.as_str(), About::Pool(pool.clone())),
            (.., name) => {
                let name = name.as_deref().unwrap_or_default();
                (Kind::Any, name, About::Name(name.to_owned()))
            }
        };
        let mut client = session.client();
        let call = client.explain(v1::ExplainRequest { about: Some(about) });
        let wire = ask_about(&session, (kind, name), &format!("explain {name}"), call).await?;
        let mut answer = Answer {
            pools: wire.pools.into_iter().map(Pool::from).collect(),
            hosts: wire.hosts.into_iter().map(Host::from).collect(),
            agents: wire.agents.into_iter().map(Agent::from).collect(),
            shares: wire.shares.into_iter().map(Share::from).collect(),
            events: Vec::new(),
        };
        answer.events = lately(&session, &answer).await?;
        output::print(&match self.output {
            Format::Text => text(&answer, Timestamp::now()),
            Format::Json => output::json_pretty(&answer)?,
            Format::Yaml => output::yaml(&answer)?,
        })
    }
}

async fn lately(session: &Session, answer: &Answer) -> Result<Vec<Event>, Failure> {
    let mut request = v1::ListEventsRequest { limit: LATELY, ..v1::ListEventsRequest::default() };
    match (answer.agents.first(), answer.pools.first(), answer.hosts.first()) {
        (Some(agent), ..) => request.agent.clone_from(&agent.name),
        (_, Some(pool), _) => request.pool.clone_from(&pool.name),
        (.., Some(host)) => request.host.clone_from(&host.name),
        _ => return Ok(Vec::new()),
    }
    let mut client = session.client();
    let mut stream = session.ask("read the events", client.list_events(request)).await?;
    let mut events = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(message)) => events.extend(message.event.map(Event::from)),
            Ok(None) => return Ok(events),
            Err(status) => return Err(session.explain("read the events", status).await),
        }
    }
}

/// In words: the thing itself, then what it hangs on, then what happened.
fn text(answer: &Answer, now: Timestamp) -> String {
    let mut lines = match (&answer.agents[..], &answer.pools[..], &answer.hosts[..]) {
        ([agent, ..], pools, hosts) => {
            about_agent(agent, pools.first(), hosts.first(), answer, now)
        }
        (_, [pool, ..], hosts) => about_pool(pool, hosts, &answer.shares, now),
        (_, _, [host, ..]) => about_host(host, &answer.shares, now),
        _ => Vec::new(),
    };
    if !answer.events.is_empty() {
        lines.push("lately:".to_owned());
    }
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = if at == 0 { "" } else { "  " };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{indent}{}", output::plain(line));
    }
    for event in &answer.events {
        let _ = write!(text, "    {}", events::text(event));
    }
    text
}

fn about_pool(pool: &Pool, hosts: &[Host], shares: &[Share], now: Timestamp) -> Vec<String> {
    let states = [
        (pool.ready, "ready"),
        (pool.starting, "starting"),
        (pool.failed, "failed"),
        (pool.paused, "paused"),
        (pool.leaving, "leaving"),
        (pool.quarantined, "in quarantine"),
    ];
    let states: Vec<String> = states
        .iter()
        .filter(|(count, word)| *count > 0 || *word == "ready")
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let wanted = words::count(pool.desired, "agent");
    let mut lines = vec![format!("{} wants {wanted}: {}", pool.name, states.join(", "))];
    lines.extend(
        pool.restraint.as_ref().map(|r| format!("it is {}", r.sentence(&pool.availability, now))),
    );
    if pool.unplaced > 0 {
        let agents = words::count(pool.unplaced, "agent");
        lines.push(format!("{agents} without a host: {}", pool.unplaced_reasons.join("; ")));
    }
    if pool.waiting > 0 {
        let agents = words::count(pool.waiting, "agent");
        lines.push(format!("{agents} to start when as many have left elsewhere"));
    }
    lines.extend(pool.troubles.iter().map(|trouble| match &trouble.host {
        Some(host) => format!("{host}: {}: {}", trouble.kind, trouble.message),
        None => format!("{}: {}", trouble.kind, trouble.message),
    }));
    let (used, unused): (Vec<_>, Vec<_>) =
        shares.iter().partition(|share| share.placed + share.there > 0);
    for share in used {
        let state = hosts.iter().find(|host| host.name == share.host && host.state != "Ready");
        let state = state.map(|host| format!(" ({})", host.state)).unwrap_or_default();
        lines.push(format!("{}: {}{state} {}", share.group, share.host, has(share)));
    }
    let mut none: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for share in unused {
        let why = share.refusal.as_deref().unwrap_or("not needed");
        none.entry((&share.group, why)).or_default().push(&share.host);
    }
    for ((group, why), hosts) in none {
        lines.push(format!("{group}: none on {}: {why}", named(&hosts)));
    }
    lines
}

fn about_host(host: &Host, shares: &[Share], now: Timestamp) -> Vec<String> {
    let mut lines =
        vec![format!("{} is {} for {}", host.name, host.state, when::age(host.since, now))];
    lines.extend(
        host.restraint.as_ref().map(|r| format!("it is {}", r.sentence(&host.availability, now))),
    );
    let (agents, busy) = (words::count(host.agents, "agent"), host.busy);
    let capacity = host.capacity.map(|most| format!(" of at most {most}")).unwrap_or_default();
    lines.push(format!("{agents}{capacity}, {busy} with a job"));
    if host.applied != host.ordered
        && let (Some(applied), Some(ordered)) = (host.applied, host.ordered)
    {
        lines.push(format!("it has taken order {applied}, and {ordered} is meant for it"));
    }
    lines.extend(host.conditions.iter().map(|c| format!("{}: {}", c.kind, c.message)));
    for share in shares {
        lines.push(format!("{}, {}: {}", share.pool, share.group, has(share)));
    }
    lines
}

fn about_agent(
    agent: &Agent,
    pool: Option<&Pool>,
    host: Option<&Host>,
    answer: &Answer,
    now: Timestamp,
) -> Vec<String> {
    let why = agent.why.as_deref().unwrap_or("no reason given");
    let age = when::age(agent.since, now);
    let mut lines = vec![format!("{} is {} for {age}: {why}", agent.name, agent.phase)];
    if let Some(job) = &agent.job {
        let name = job.name.as_deref().unwrap_or("(name unknown)");
        let page = agent.run_url.as_ref().map(|url| format!(", {url}")).unwrap_or_default();
        lines.push(format!("its job: {name} for {}{page}", when::age(job.since, now)));
    }
    let word = |known: Option<bool>, yes: &'static str, no: &'static str| match known {
        Some(true) => yes,
        Some(false) => no,
        None => "not seen",
    };
    let (online, enabled) =
        (word(agent.online, "online", "offline"), word(agent.enabled, "enabled", "disabled"));
    lines.push(format!("at Azure: {online}, {enabled}"));
    if agent.placeholder {
        lines.push(
            "it holds the pool's last registration, so that jobs wait and do not fail".into(),
        );
    } else if agent.intent != "keep" {
        lines.push(format!("it leaves ({}): {}", agent.intent, leaves(pool, host, &answer.shares)));
    }
    if let Some(quarantine) = &agent.quarantine {
        let by = quarantine.by.as_deref().unwrap_or("its host");
        let until = quarantine.until.map(|until| format!(", until {until:.0}")).unwrap_or_default();
        lines.push(format!("kept aside by {by}{until}"));
    }
    if let Some(host) = host.filter(|host| host.state != "Ready") {
        let age = when::age(host.since, now);
        lines.push(format!("{} is {} for {age}: this is what it last said", host.name, host.state));
    }
    lines.extend(held(pool, host, now));
    lines
}

/// Why one that leaves does so, as far as the fleet's wishes tell.
fn leaves(pool: Option<&Pool>, host: Option<&Host>, shares: &[Share]) -> String {
    if pool.is_some_and(|pool| pool.deleted) {
        return "its pool is being deleted".to_owned();
    }
    match (shares.first(), pool, host) {
        (None, Some(pool), _) => format!("its group is no longer part of {}", pool.name),
        (Some(share), Some(pool), Some(host)) => format!(
            "{} is to keep {} of the {} that {} wants, and has {}",
            host.name, share.placed, pool.desired, pool.name, share.there
        ),
        _ => "its pool or host is not known any more".to_owned(),
    }
}

fn held(pool: Option<&Pool>, host: Option<&Host>, now: Timestamp) -> Vec<String> {
    let host =
        host.and_then(|host| Some((&host.name, host.restraint.as_ref()?, &host.availability)));
    let pool =
        pool.and_then(|pool| Some((&pool.name, pool.restraint.as_ref()?, &pool.availability)));
    let sentence =
        |(name, restraint, availability): (&String, &crate::view::Restraint, &String)| {
            format!("{name} is {}", restraint.sentence(availability, now))
        };
    host.into_iter().chain(pool).map(sentence).collect()
}

/// `has 3 of its 5 (2 wait for others to leave); gets no more: full (5 agents)`.
fn has(share: &Share) -> String {
    let mut text = match (share.placed, share.there) {
        (0, 0) => "none".to_owned(),
        (placed, there) if there > placed => {
            format!("keeps {placed}, {} leaving", there - placed)
        }
        (placed, _) => format!("keeps {placed}"),
    };
    if share.told < share.placed {
        text += &format!(
            ", {} of them to start when as many have left elsewhere",
            share.placed - share.told
        );
    }
    if let Some(why) = &share.refusal {
        text += &format!("; no more: {why}");
    }
    text
}

fn named(hosts: &[&str]) -> String {
    let shown = hosts.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match hosts.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
