//! The columns of `get agents`.

use fleet_model::readable;

use super::{Column, Line, Listed, Tone};
use crate::{view::Agent, when};

impl Listed for Agent {
    const MANY: &'static str = "agents";
    const ONE: &'static str = "agent";
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("NAME", |a, _| a.name.as_str().into()),
        Column::text("POOL", |a, _| a.pool.as_str().into()),
        Column::text("HOST", |a, _| a.host.as_str().into()),
        Column::text("LAB", |a, _| a.lab.as_str().into()),
        Column::text("PHASE", |a, _| phase(a)),
        Column::text("SINCE", |a, now| when::age(a.since, now).into()),
        Column::text("JOB", |a, _| job(a)),
        Column::wide("RUNTIME", |a, _| a.runtime.as_str().into()),
        Column::wide("GROUP", |a, _| a.group.as_str().into()),
        Column::wide("SLOT", |a, _| a.slot.into()),
        Column::wide("INTENT", |a, _| a.intent.as_str().into()),
        Column::wide("ATTEMPT", |a, _| a.attempt.into()),
        Column::wide("AGENT-ID", |a, _| Line::or_dash(a.agent_id)),
        Column::wide("AZURE", |a, _| azure(a)),
        Column::wide("DISK", |a, _| Line::or_dash(a.disk_bytes.map(readable))),
        Column::wide("RUN", |a, _| Line::or_dash(a.run_url.as_deref())),
        Column::wide("WHY", |a, _| why(a)),
    ];

    fn name(&self) -> &str {
        &self.name
    }
}

/// The phase, and what one must know to read it right.
fn phase(agent: &Agent) -> Line {
    let mut text = agent.phase.clone();
    for (holds, mark) in [
        (agent.placeholder, " (placeholder)"),
        (agent.intent != "keep" && !agent.placeholder && !is_aside(agent), " (leaving)"),
        (agent.stale, " (last known)"),
    ] {
        text.push_str(if holds { mark } else { "" });
    }
    let tone = match agent.phase.as_str() {
        _ if agent.stale => Tone::Dim,
        "Idle" => Tone::Good,
        "Failed" | "Quarantined" => Tone::Bad,
        "Busy" | "Stopped" => Tone::Plain,
        _ => Tone::Warn,
    };
    Line(text, tone)
}

fn is_aside(agent: &Agent) -> bool {
    agent.phase == "Quarantined"
}

/// Also until when it is kept aside, and where to look.
fn why(agent: &Agent) -> Line {
    let quarantine = agent.quarantine.as_ref().filter(|_| is_aside(agent));
    let until = quarantine.and_then(|quarantine| quarantine.until);
    let place = quarantine.and_then(|quarantine| quarantine.evidence.as_deref());
    let parts = [
        agent.why.clone(),
        until.map(|until| format!("until {until:.0}")),
        place.map(|place| format!("evidence: {place}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Line::or_dash((!parts.is_empty()).then(|| parts.join("; ")))
}

fn job(agent: &Agent) -> Line {
    let name = agent.job.as_ref().map(|job| match (&job.name, job.request_id) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => format!("request {id}"),
        (None, None) => "(name unknown)".to_owned(),
    });
    Line::or_dash(name)
}

fn azure(agent: &Agent) -> Line {
    let word = |known: Option<bool>, yes: &'static str, no: &'static str| match known {
        Some(true) => yes,
        Some(false) => no,
        None => "?",
    };
    let online = word(agent.online, "online", "offline");
    let enabled = word(agent.enabled, "enabled", "disabled");
    format!("{online}, {enabled}").into()
}
