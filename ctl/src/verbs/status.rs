//! `agentctl status`: the fleet at a glance.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::{Args, ValueEnum};
use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::Global,
    error::Failure,
    help,
    output::{self, Column, Line, Listed, Table, Tone},
    view::{Condition, Host, Order, Pool},
    when, words,
};

/// Shows pools, labs and what needs attention.
#[derive(Debug, Args)]
#[command(after_help = help::after("agentctl status", "How the fleet is", help::ASKING))]
pub(crate) struct Status {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// Tables and sentences for people
    #[default]
    Table,
    /// One JSON object
    Json,
    /// The same as YAML
    Yaml,
}

/// The fleet as `status -o json` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet {
    fleet: String,
    version: String,
    order: Option<Order>,
    /// Why the coordinator gives no orders; null when it does.
    read_only: Option<String>,
    now: Option<Timestamp>,
    pools: Vec<Pool>,
    hosts: Vec<Host>,
}

impl Status {
    /// Asks once and shows the answer.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let mut client = session.client();
        let call = client.get_status(v1::GetStatusRequest {});
        let fleet = Fleet::from(session.ask("read the status", call).await?);
        output::print(&match self.output {
            Format::Table => fleet.text(),
            Format::Json => output::json_pretty(&fleet)?,
            Format::Yaml => output::yaml(&fleet)?,
        })
    }
}

impl From<v1::GetStatusResponse> for Fleet {
    fn from(wire: v1::GetStatusResponse) -> Self {
        Self {
            fleet: wire.fleet,
            version: wire.version,
            order: wire.order.map(Order::from),
            read_only: (!wire.read_only.is_empty()).then_some(wire.read_only),
            now: when::at(wire.now.as_ref()),
            pools: wire.pools.into_iter().map(Pool::from).collect(),
            hosts: wire.hosts.into_iter().map(Host::from).collect(),
        }
    }
}

impl Fleet {
    fn text(&self) -> String {
        // Ages by the coordinator's clock: ours may be wrong, and these are its moments.
        let now = self.now.unwrap_or_else(Timestamp::now);
        let order = self.order.map(|o| format!(", order {o}")).unwrap_or_default();
        let mut text = format!("fleet {}, coordinator {}{order}\n", self.fleet, self.version);
        if let Some(why) = &self.read_only {
            let banner = format!("READ-ONLY: {}", output::plain(why));
            text += &(output::toned(&banner, Tone::Bad) + "\n");
        }
        text.push('\n');
        text +=
            &section(&self.pools, Pool::COLUMNS, now, "no pools: `agentctl pool create` makes one");
        text.push('\n');
        let labs = labs(&self.hosts);
        text += &section(&labs, LABS, now, "no hosts: `agentctl host invite` invites one");
        text += &self.attention(now);
        text
    }

    /// What somebody should look at, in words.
    fn attention(&self, now: Timestamp) -> String {
        let hosts = self.hosts.iter().flat_map(|host| host_lines(host, now));
        let lines: Vec<String> =
            self.pools.iter().flat_map(|pool| pool_lines(pool, now)).chain(hosts).collect();
        if lines.is_empty() {
            return String::new();
        }
        let mut text = format!("\n{}\n", output::toned("needs attention", Tone::Warn));
        for line in lines {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  {}", output::plain(&line));
        }
        text
    }
}

fn section<T>(items: &[T], columns: &'static [Column<T>], now: Timestamp, none: &str) -> String {
    if items.is_empty() {
        return format!("{none}\n");
    }
    Table::new(columns, false).render(items, true, now)
}

fn pool_lines(pool: &Pool, now: Timestamp) -> Vec<String> {
    let held = pool.restraint.as_ref().map(|r| r.sentence(&pool.availability, now));
    let mut lines: Vec<String> =
        held.map(|held| format!("{} is {held}", pool.name)).into_iter().collect();
    lines.extend(pool.troubles.iter().map(|t| sentence(&pool.name, t)));
    if pool.unplaced > 0 {
        let agents = words::count(pool.unplaced, "agent");
        let why = pool.unplaced_reasons.join("; ");
        lines.push(format!("{}: {agents} without a host: {why}", pool.name));
    }
    if pool.quarantined > 0 {
        let agents = words::count(pool.quarantined, "agent");
        let name = &pool.name;
        lines.push(format!(
            "{name}: {agents} in quarantine; `agentctl get agents --pool {name} -o wide` says why"
        ));
    }
    lines
}

fn sentence(pool: &str, trouble: &Condition) -> String {
    let Condition { host, kind, message, .. } = trouble;
    match host {
        Some(host) => format!("{pool} on {host}: {kind}: {message}"),
        None => format!("{pool}: {kind}: {message}"),
    }
}

fn host_lines(host: &Host, now: Timestamp) -> Vec<String> {
    let held = host.restraint.as_ref().map(|r| r.sentence(&host.availability, now));
    let mut lines: Vec<String> =
        held.map(|held| format!("{} is {held}", host.name)).into_iter().collect();
    if matches!(host.state.as_str(), "Down" | "Disconnected") {
        let age = when::age(host.since, now);
        lines.push(format!(
            "{} is {} for {age}; its agents stay as they are",
            host.name, host.state
        ));
    }
    // Conditions about a pool are already told with the pool.
    let own = host.conditions.iter().filter(|c| c.pool.is_none());
    lines.extend(own.map(|c| format!("{}: {}: {}", host.name, c.kind, c.message)));
    lines
}

/// One lab's hosts, summed up.
#[derive(Debug, Default)]
struct Lab {
    name: String,
    states: BTreeMap<String, u32>,
    hosts: u32,
    agents: u32,
    busy: u32,
}

const LABS: &[Column<Lab>] = &[
    Column::text("LAB", |lab, _| lab.name.as_str().into()),
    Column::number("HOSTS", |lab, _| lab.hosts.into()),
    Column::text("STATES", |lab, _| states(lab)),
    Column::number("AGENTS", |lab, _| lab.agents.into()),
    Column::number("BUSY", |lab, _| lab.busy.into()),
];

fn labs(hosts: &[Host]) -> Vec<Lab> {
    let mut labs = BTreeMap::<&str, Lab>::new();
    for host in hosts {
        let lab = labs.entry(&host.lab).or_default();
        lab.name.clone_from(&host.lab);
        lab.hosts += 1;
        lab.agents += host.agents;
        lab.busy += host.busy;
        *lab.states.entry(host.state.clone()).or_default() += 1;
    }
    labs.into_values().collect()
}

fn states(lab: &Lab) -> Line {
    let all_ready = lab.states.keys().all(|state| state == "Ready");
    let words: Vec<String> = lab.states.iter().map(|(state, n)| format!("{n} {state}")).collect();
    Line(words.join(", "), if all_ready { Tone::Good } else { Tone::Warn })
}
