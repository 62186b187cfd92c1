//! `agentctl host …`: care of the lab servers.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use fleet_proto::v1;

use super::{get::Hosts, host_invite::Invite};
use crate::{
    cli::Global,
    complete,
    error::Failure,
    help,
    names::{Kind, ask_about},
    output,
};

/// Invites, lists and removes hosts.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl host invite svcstr-server-2 --lab svc",
    "Prints the line that makes the server part of the fleet",
    help::ASKING,
))]
pub(crate) struct Host {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Invite(Invite),
    /// Lists hosts, as `get hosts` does.
    #[command(after_help = help::after("agentctl host list -o wide", "All hosts", help::ASKING))]
    List(Hosts),
    Remove(Remove),
}

/// Takes a host out of the fleet. Its certificate is refused from then on.
///
/// A host that is in session, or whose agents are not known to be gone, is removed with --force
/// only: its agents would go on without anybody caring for them.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl host remove strtk5-serv-02",
    "A server that is gone for good",
    help::ASKING,
))]
struct Remove {
    /// Host
    #[arg(add = ArgValueCandidates::new(complete::hosts))]
    name: String,
    /// Also when it is in session or its agents are not known to be gone
    #[arg(long)]
    force: bool,
}

impl Host {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.verb {
            Verb::Invite(invite) => invite.run(global).await,
            Verb::List(hosts) => hosts.run(global).await,
            Verb::Remove(remove) => remove.run(global).await,
        }
    }
}

impl Remove {
    async fn run(self, global: &Global) -> Result<(), Failure> {
        let session = global.session()?;
        let request = v1::RemoveHostRequest { host: self.name.clone(), force: self.force };
        let mut client = session.client();
        let what = format!("remove host {}", self.name);
        let call = client.remove_host(request);
        ask_about(&session, (Kind::Host, &self.name), &what, call).await?;
        output::print(&format!("host {} removed\n", self.name))
    }
}
