//! The columns of `get pools`, which `status` shows as well.

use jiff::{SignedDuration, Timestamp};

use super::{Column, Line, Listed, Tone};
use crate::{
    view::{Credential, Group, Placed, Pool},
    when,
};

/// A credential that ends sooner than this is worth a colour.
const SOON: SignedDuration = SignedDuration::from_hours(72);

impl Listed for Pool {
    const MANY: &'static str = "pools";
    const ONE: &'static str = "pool";
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("NAME", |p, _| p.name.as_str().into()),
        Column::number("DESIRED", |p, _| p.desired.into()),
        Column::number("READY", |p, _| ready(p)),
        Column::number("IDLE", |p, _| p.idle.into()),
        Column::number("BUSY", |p, _| p.busy.into()),
        Column::number("STARTING", |p, _| p.starting.into()),
        Column::number("FAILED", |p, _| bad_if(p.failed)),
        Column::number("LEAVING", |p, _| p.leaving.into()),
        Column::text("CREDENTIAL", |p, now| credential(&p.credential, now)),
        Column::text("TROUBLE", |p, _| trouble(p)),
        Column::wide("PAUSED", |p, _| p.paused.into()),
        Column::wide("AVAILABILITY", |p, _| p.availability.as_str().into()),
        Column::wide("AZURE", |p, _| format!("{}/{}", p.azure_url, p.azure_pool).into()),
        Column::wide("AZURE-SEEN", |p, now| when::age(p.azure_seen, now).into()),
        Column::wide("GROUPS", |p, _| shares(p)),
        Column::wide("RUNTIME", |p, _| groups(p, |g| &g.runtime)),
        Column::wide("MODE", |p, _| groups(p, |g| &g.mode)),
        Column::wide("IMAGE", |p, _| groups(p, |g| g.image.as_deref().unwrap_or("-"))),
        Column::wide("SELECTOR", |p, _| groups(p, |g| &g.selector)),
        Column::wide("PLACEMENT", |p, _| placement(p)),
    ];

    fn name(&self) -> &str {
        &self.name
    }
}

fn ready(pool: &Pool) -> Line {
    let tone = if pool.ready == pool.desired { Tone::Good } else { Tone::Warn };
    Line(pool.ready.to_string(), tone)
}

fn bad_if(count: u32) -> Line {
    Line(count.to_string(), if count > 0 { Tone::Bad } else { Tone::Plain })
}

/// Azure does not tell when a token ends; then its age is what is known.
fn credential(credential: &Credential, now: Timestamp) -> Line {
    match (credential.expires, credential.loaded) {
        (Some(expires), _) if expires <= now => {
            Line(format!("expired {} ago", when::age(Some(expires), now)), Tone::Bad)
        }
        (Some(expires), _) => {
            let left = expires.duration_since(now);
            let tone = if left < SOON { Tone::Warn } else { Tone::Plain };
            Line(format!("{} left", when::days(left)), tone)
        }
        (None, Some(loaded)) => {
            let age = when::days(now.duration_since(loaded));
            format!("unknown, loaded {age} ago").into()
        }
        (None, None) => Line("none loaded".to_owned(), Tone::Warn),
    }
}

fn trouble(pool: &Pool) -> Line {
    let mut words: Vec<String> = Vec::new();
    words.extend(pool.deleted.then(|| "being deleted".to_owned()));
    words.extend((pool.unplaced > 0).then(|| format!("{} without a host", pool.unplaced)));
    let mut kinds: Vec<&str> = pool.troubles.iter().map(|t| t.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    words.extend(kinds.into_iter().map(str::to_owned));
    match words.as_slice() {
        [] => Line::or_dash(None::<&str>),
        words => Line(words.join(", "), Tone::Warn),
    }
}

/// The groups with their weights, when they share the pool.
fn shares(pool: &Pool) -> Line {
    let several = pool.groups.len() > 1;
    let name = |g: &Group| match several {
        true => format!("{}:{}", g.name, g.weight),
        false => g.name.clone(),
    };
    let names: Vec<String> = pool.groups.iter().map(name).collect();
    Line::or_dash((!names.is_empty()).then(|| names.join(" | ")))
}

/// What the groups have, each answer once.
fn groups(pool: &Pool, of: fn(&Group) -> &str) -> Line {
    let mut answers: Vec<&str> = pool.groups.iter().map(of).collect();
    answers.dedup();
    Line::or_dash((!answers.is_empty()).then(|| answers.join(" | ")))
}

fn placement(pool: &Pool) -> Line {
    let several = pool.groups.len() > 1;
    let place = |p: &Placed| match several {
        true => format!("{}/{}={}", p.host, p.group, p.replicas),
        false => format!("{}={}", p.host, p.replicas),
    };
    let hosts: Vec<String> = pool.placement.iter().map(place).collect();
    Line::or_dash((!hosts.is_empty()).then(|| hosts.join(",")))
}
