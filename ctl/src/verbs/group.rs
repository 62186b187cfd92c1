//! `agentctl group …`: the parts of a pool.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use fleet_model::{GroupName, GroupSpec};
use fleet_proto::v1;

use super::group_options::GroupOptions;
use crate::{
    cli::Global,
    complete,
    error::Failure,
    help,
    names::{Kind, ask_about},
    output, view,
};

/// Adds and removes groups: parts of a pool that live on other hosts or are built in another way.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl get pools nightly-svc -o wide",
    "The groups of a pool; `agentctl group add --help` shows how to add one",
    help::ASKING,
))]
pub(crate) struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Box<Add>),
    Remove(Remove),
}

/// Adds a group to a pool. The pool's agents are then shared among its groups by weight.
///
/// Adding the very same group again changes nothing; another group under a name that is taken is
/// refused. `agentctl get agents --pool POOL -w` shows how the agents move: those that are too many
/// in one group leave when they are idle.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl group add nightly-svc units --selector lab=tk5 --runtime systemd --mode long-lived",
    "Part of the pool as users and units on the servers of lab tk5",
    help::ASKING,
))]
struct Add {
    /// Pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    pool: String,
    /// Name of the new group, unique in the pool; `pool create` made one called default
    name: GroupName,
    /// Share of the pool compared with its other groups; 0 takes nothing
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Hosts")]
    weight: u32,
    #[command(flatten)]
    group: GroupOptions,
}

/// Takes a group out of a pool: its agents leave, busy ones at their job's end, and the pool's other
/// groups take over what they can.
///
/// Its last registration goes, too: a job that only this group could run then fails when it is
/// queued. The last group of a pool stays; `agentctl pool delete` removes the pool.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl group remove nightly-svc units",
    "The pool lives in its other groups from now on",
    help::ASKING,
))]
struct Remove {
    /// Pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    pool: String,
    /// Group
    name: GroupName,
}

impl Group {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.verb {
            Verb::Add(add) => add.run(global).await,
            Verb::Remove(remove) => remove.run(global).await,
        }
    }
}

impl Add {
    fn spec(&self) -> Result<GroupSpec, Box<dyn std::error::Error>> {
        let group = self.group.group(self.name.clone(), self.weight)?;
        group.check()?;
        Ok(group)
    }

    async fn run(self, global: &Global) -> Result<(), Failure> {
        let what = format!("add group {} to pool {}", self.name, self.pool);
        let group = self.spec().map_err(|error| {
            Failure::error(format!("cannot {what}"))
                .because(error.to_string())
                .next("put the option right; nothing was changed")
        })?;
        let session = global.session()?;
        let mut client = session.client();
        let request = v1::AddGroupRequest { pool: self.pool.clone(), group: Some(group.into()) };
        let call = client.add_group(request);
        let answer = ask_about(&session, (Kind::Pool, &self.pool), &what, call).await?;
        let (pool, name) = (&self.pool, &self.name);
        output::print(&match answer.changed {
            true => format!("group {name} added to pool {pool}{}\n", order(answer.order)),
            false => format!("pool {pool} has that group {name} already\n"),
        })
    }
}

impl Remove {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let what = format!("remove group {} from pool {}", self.name, self.pool);
        let session = global.session()?;
        let mut client = session.client();
        let (pool, group) = (self.pool.clone(), self.name.to_string());
        let call = client.remove_group(v1::RemoveGroupRequest { pool, group });
        let answer = ask_about(&session, (Kind::Pool, &self.pool), &what, call).await?;
        let (pool, name) = (&self.pool, &self.name);
        if !answer.changed {
            return output::print(&format!("group {name} was removed from pool {pool} before\n"));
        }
        output::say(&format!("next: agentctl get agents --pool {pool} -w shows them leave"));
        output::print(&format!("group {name} removed from pool {pool}{}\n", order(answer.order)))
    }
}

fn order(order: Option<v1::Order>) -> String {
    order.map(|o| format!(" (order {})", view::Order::from(o))).unwrap_or_default()
}
