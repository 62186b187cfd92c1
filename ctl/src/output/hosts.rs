//! The columns of `get hosts`.

use fleet_model::{Room, readable};

use super::{Column, Line, Listed, Tone};
use crate::{view::Host, when};

impl Listed for Host {
    const MANY: &'static str = "hosts";
    const ONE: &'static str = "host";
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("NAME", |h, _| h.name.as_str().into()),
        Column::text("LAB", |h, _| h.lab.as_str().into()),
        Column::text("STATE", |h, _| state(h)),
        Column::text("SINCE", |h, now| when::age(h.since, now).into()),
        Column::text("AVAILABILITY", |h, _| h.availability.as_str().into()),
        Column::number("AGENTS", |h, _| h.agents.into()),
        Column::number("BUSY", |h, _| h.busy.into()),
        Column::number("CAPACITY", |h, _| Line::or_dash(h.capacity)),
        Column::text("TROUBLE", |h, _| trouble(h)),
        Column::wide("HELD-BACK", |h, now| {
            let sentence = h.restraint.as_ref().map(|r| r.sentence(&h.availability, now));
            Line::or_dash(sentence)
        }),
        Column::wide("VERSION", |h, _| Line::or_dash(h.version.as_deref())),
        Column::wide("ENGINE", |h, _| Line::or_dash(h.engine.as_deref())),
        Column::wide("APPLIED", |h, _| Line::or_dash(h.applied)),
        Column::wide("ORDERED", |h, _| Line::or_dash(h.ordered)),
        Column::wide("CERTIFICATE", |h, now| {
            Line::or_dash(h.certificate_expires.map(|t| when::short(t.duration_since(now))))
        }),
        Column::wide("FREE", |h, _| free(h)),
        Column::wide("CACHES", |h, _| caches(h)),
        Column::wide("LABELS", |h, _| labels(h)),
    ];

    fn name(&self) -> &str {
        &self.name
    }
}

fn state(host: &Host) -> Line {
    let tone = match host.state.as_str() {
        "Ready" => Tone::Good,
        "Down" => Tone::Bad,
        "Disconnected" => Tone::Warn,
        _ => Tone::Dim,
    };
    Line(host.state.clone(), tone)
}

fn trouble(host: &Host) -> Line {
    let kinds: Vec<&str> = host.conditions.iter().map(|c| c.kind.as_str()).collect();
    match kinds.as_slice() {
        [] => Line::or_dash(None::<&str>),
        kinds => Line(kinds.join(","), Tone::Warn),
    }
}

/// The free part of each of its disks.
fn free(host: &Host) -> Line {
    let disks: Vec<String> = host
        .disks
        .iter()
        .map(|disk| {
            let bytes = Room { total: disk.bytes_total, free: disk.bytes_free };
            format!("{} {} ({bytes})", disk.place, readable(bytes.free))
        })
        .collect();
    Line::or_dash((!disks.is_empty()).then(|| disks.join(", ")))
}

/// All of what takes room beside the agents.
fn caches(host: &Host) -> Line {
    let all: u64 = host.caches.iter().map(|cache| cache.bytes).sum();
    Line::or_dash((all > 0).then(|| readable(all)))
}

fn labels(host: &Host) -> Line {
    let pairs: Vec<String> =
        host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Line::or_dash((!pairs.is_empty()).then(|| pairs.join(",")))
}
