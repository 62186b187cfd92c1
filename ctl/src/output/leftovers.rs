//! The columns of `janitor`.

use super::{Column, Line, Listed, Tone};
use crate::{view::Leftover, when};

impl Listed for Leftover {
    const MANY: &'static str = "leftovers";
    const ONE: &'static str = "leftover";
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("NAME", |l, _| l.agent.as_str().into()),
        Column::text("KIND", |l, _| l.kind.as_str().into()),
        Column::number("ROW", |l, _| l.agent_id.into()),
        Column::text("HOST", |l, _| l.host.as_str().into()),
        Column::text("OFFLINE", |l, now| when::age(l.since, now).into()),
        Column::text("VERDICT", verdict),
        Column::text("WHY", |l, _| super::plain(&l.why).into()),
    ];

    fn name(&self) -> &str {
        &self.agent
    }
}

fn verdict(leftover: &Leftover, now: jiff::Timestamp) -> Line {
    let until = leftover.until.map(|until| when::short(until.duration_since(now)));
    let text = match until {
        Some(until) => format!("{} {until}", leftover.verdict),
        None => leftover.verdict.clone(),
    };
    let tone = match leftover.verdict.as_str() {
        "delete" | "going" | "replace" => Tone::Warn,
        _ => Tone::Plain,
    };
    Line(text, tone)
}
