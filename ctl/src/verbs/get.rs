//! `agentctl get hosts|pools|agents`: lists for people and programs.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;

use super::watch;
use crate::{
    cli::Global,
    complete,
    connect::Session,
    error::Failure,
    help,
    names::{self, Kind, ask_about},
    output::{self, Format, Listed},
    view::{Agent, Host, Pool},
};

/// Lists hosts, pools or agents.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl get agents --pool nightly-svc -o json",
    "The agents of a pool, for a program",
    help::ASKING,
))]
pub(crate) struct Get {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists hosts.
    #[command(visible_alias = "host", after_help = help::after(
        "agentctl get hosts --lab svc", "The servers of one lab", help::ASKING))]
    Hosts(Hosts),
    /// Lists pools.
    #[command(visible_alias = "pool", after_help = help::after(
        "agentctl get pools -o wide", "All pools with image, placement and more", help::ASKING))]
    Pools(Pools),
    /// Lists agents.
    #[command(visible_alias = "agent", after_help = help::after(
        "agentctl get agents --pool nightly-svc -w", "Agents, then every change", help::ASKING))]
    Agents(Agents),
}

/// How to show a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct Show {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Go on with every change until stopped; with json one object per line
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Leave out the titles of a table
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// Arguments of `get hosts`, which `host list` shares.
#[derive(Debug, Clone, Args)]
pub(crate) struct Hosts {
    /// Only this host
    #[arg(add = ArgValueCandidates::new(complete::hosts))]
    name: Option<String>,
    /// Only hosts of this lab
    #[arg(long)]
    lab: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// Arguments of `get pools`, which `pool list` shares.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pools {
    /// Only this pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    name: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// Arguments of `get agents`.
#[derive(Debug, Clone, Args)]
struct Agents {
    /// Only this agent
    #[arg(add = ArgValueCandidates::new(complete::agents))]
    name: Option<String>,
    /// Only agents of this pool
    #[arg(long, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
    /// Only agents on this host
    #[arg(long, add = ArgValueCandidates::new(complete::hosts))]
    host: Option<String>,
    /// Only agents in this lab
    #[arg(long)]
    lab: Option<String>,
    #[command(flatten)]
    show: Show,
}

impl Get {
    /// Lists what was asked for.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.what {
            What::Hosts(hosts) => hosts.run(global).await,
            What::Pools(pools) => pools.run(global).await,
            What::Agents(agents) => agents.run(global).await,
        }
    }
}

impl Hosts {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let host = self.name.clone().unwrap_or_default();
        let keep = move |host: &Host| self.lab.as_ref().is_none_or(|lab| *lab == host.lab);
        if self.show.watch {
            let request = v1::WatchRequest { hosts: true, host, ..Default::default() };
            return watch::run(&session, request, &self.show, self.name.as_deref(), keep).await;
        }
        let mut client = session.client();
        let call = client.list_hosts(v1::ListHostsRequest { host: host.clone() });
        let answer = ask_about(&session, (Kind::Host, &host), "get hosts", call).await?;
        let hosts: Vec<Host> = answer.hosts.into_iter().map(Host::from).filter(keep).collect();
        if hosts.is_empty() && self.name.is_some() {
            return Err(names::unknown(&session, Kind::Host, &host, "cannot get hosts").await);
        }
        show(&hosts, &self.show)
    }
}

impl Pools {
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let pool = self.name.clone().unwrap_or_default();
        if self.show.watch {
            let request = v1::WatchRequest { pools: true, pool, ..Default::default() };
            let all = |_: &Pool| true;
            return watch::run(&session, request, &self.show, self.name.as_deref(), all).await;
        }
        let mut client = session.client();
        let call = client.list_pools(v1::ListPoolsRequest { pool: pool.clone() });
        let answer = ask_about(&session, (Kind::Pool, &pool), "get pools", call).await?;
        let pools: Vec<Pool> = answer.pools.into_iter().map(Pool::from).collect();
        if pools.is_empty() && self.name.is_some() {
            return Err(names::unknown(&session, Kind::Pool, &pool, "cannot get pools").await);
        }
        show(&pools, &self.show)
    }
}

impl Agents {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let [name, pool, host] =
            [&self.name, &self.pool, &self.host].map(|filter| filter.clone().unwrap_or_default());
        let lab = self.lab.clone();
        let keep = move |agent: &Agent| lab.as_ref().is_none_or(|lab| *lab == agent.lab);
        if self.show.watch {
            let request = v1::WatchRequest { agents: true, pool, host, ..Default::default() };
            return watch::run(&session, request, &self.show, self.name.as_deref(), keep).await;
        }
        let mut client = session.client();
        let call = client.list_agents(v1::ListAgentsRequest { pool, host, agent: name.clone() });
        let answer = ask_about(&session, (Kind::Agent, &name), "get agents", call).await?;
        let agents: Vec<Agent> = answer.agents.into_iter().map(Agent::from).filter(keep).collect();
        if agents.is_empty() {
            self.check_filters(&session).await?;
        }
        show(&agents, &self.show)
    }

    /// Nothing found: a misspelt pool or host must not look like an empty one.
    async fn check_filters(&self, session: &Session) -> Result<(), Failure> {
        let filters =
            [(Kind::Pool, &self.pool), (Kind::Host, &self.host), (Kind::Agent, &self.name)];
        for (kind, filter) in filters {
            let Some(name) = filter else { continue };
            if !names::known(session, kind).await?.contains(name) {
                return Err(names::unknown(session, kind, name, "cannot get agents").await);
            }
        }
        Ok(())
    }
}

fn show<T: Listed>(items: &[T], show: &Show) -> Result<(), Failure> {
    let table = matches!(show.output, Format::Table | Format::Wide);
    if items.is_empty() && table {
        output::say(&format!("no {}", T::MANY));
        return Ok(());
    }
    output::print(&output::list(items, show.output, !show.no_headers)?)
}
