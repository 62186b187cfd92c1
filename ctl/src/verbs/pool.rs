//! `agentctl pool …`: care of the pools.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;

use super::{get::Pools, insist::Insist, pool_create::Create};
use crate::{
    cli::Global,
    complete,
    error::Failure,
    goal::Goal,
    help,
    names::{Kind, ask_about},
    output, view, wait,
    wait::{Scope, Waiting},
    when,
};

/// Creates, deletes and lists pools.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl pool list",
    "All pools; `agentctl pool create --help` shows how to make one",
    help::WAITING,
))]
pub(crate) struct Pool {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Box<Create>),
    Delete(Delete),
    /// Lists pools, as `get pools` does.
    #[command(after_help = help::after("agentctl pool list -o wide", "All pools", help::ASKING))]
    List(Pools),
}

/// Deletes a pool: its agents go, busy ones at their job's end, and so do their rows at Azure.
///
/// The pool at Azure itself stays. Waits until nothing is left.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl pool delete nightly-tk5 --timeout 1h",
    "A pool that is no longer needed; its last job may take an hour",
    help::WAITING,
))]
struct Delete {
    /// Pool
    #[arg(add = ArgValueCandidates::new(complete::pools))]
    name: String,
    #[command(flatten)]
    insist: Insist,
    #[command(flatten)]
    waiting: Waiting,
}

impl Pool {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.verb {
            Verb::Create(create) => create.run(global).await,
            Verb::Delete(delete) => delete.run(global).await,
            Verb::List(pools) => pools.run(global).await,
        }
    }
}

impl Delete {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let what = format!("delete pool {}", self.name);
        let (force, reason) = self.insist.checked(&what)?;
        let session = global.session()?;
        let mut client = session.client();
        let request = v1::DeletePoolRequest { pool: self.name.clone(), force, reason };
        let call = client.delete_pool(request);
        let answer = ask_about(&session, (Kind::Pool, &self.name), &what, call).await?;
        if self.waiting.detach {
            let order = answer.order.map(|o| format!(" (order {})", view::Order::from(o)));
            let order = order.unwrap_or_default();
            return output::print(&format!("pool {}: deletion accepted{order}\n", self.name));
        }
        let (scope, limit) = (Scope::Pool(self.name.clone()), Some(self.waiting.timeout));
        let (took, _) = wait::until(&session, scope, Goal::Gone, limit).await?;
        let took = when::short(took.try_into().unwrap_or_default());
        output::print(&format!("pool {} deleted, nothing left after {took}\n", self.name))
    }
}
