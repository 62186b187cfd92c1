//! The command line as a whole: what all verbs share, and the list of verbs.

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    config::CONFIG_VARIABLE,
    connect::Session,
    error::Failure,
    help,
    verbs::{
        agent, completion, events, get, group, host, janitor, logs, pool, restrain, scale, status,
        why,
    },
};

/// Runs self-hosted pipeline agents on many lab servers from one place.
#[derive(Debug, Parser)]
#[command(name = "agentctl", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = help::after(
    "agentctl scale nightly-svc 10",
    "Ten agents in pool nightly-svc; waits until they are there",
    help::ALL,
))]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Global {
    /// Credential file; else ~/.config/agentctl/config.toml, else /etc/agentctl/config.toml
    #[arg(long, global = true, env = CONFIG_VARIABLE, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Coordinator to ask, instead of the credential file's
    #[arg(long, global = true, env = "AGENTCTL_ENDPOINT", value_name = "HOST:PORT")]
    pub(crate) endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Scale(scale::Scale),
    Status(status::Status),
    Get(get::Get),
    Why(why::Why),
    Events(events::Events),
    Logs(logs::Logs),
    Host(host::Host),
    Pool(pool::Pool),
    Group(group::Group),
    Agent(agent::Agent),
    Cordon(restrain::Cordon),
    Uncordon(restrain::Uncordon),
    Pause(restrain::Pause),
    Resume(restrain::Resume),
    Drain(restrain::Drain),
    Janitor(janitor::Janitor),
    Completion(completion::Completion),
}

impl Cli {
    /// Runs the verb that was asked for.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let global = &self.global;
        // The large futures are boxed: the enum's future would be as large as the largest of them.
        match self.verb {
            Verb::Scale(verb) => Box::pin(verb.run(global)).await,
            Verb::Status(verb) => Box::pin(verb.run(global)).await,
            Verb::Get(verb) => Box::pin(verb.run(global)).await,
            Verb::Why(verb) => Box::pin(verb.run(global)).await,
            Verb::Events(verb) => Box::pin(verb.run(global)).await,
            Verb::Logs(verb) => Box::pin(verb.run(global)).await,
            Verb::Host(verb) => Box::pin(verb.run(global)).await,
            Verb::Pool(verb) => Box::pin(verb.run(global)).await,
            Verb::Group(verb) => Box::pin(verb.run(global)).await,
            Verb::Agent(verb) => Box::pin(verb.run(global)).await,
            Verb::Cordon(verb) => Box::pin(verb.run(global)).await,
            Verb::Uncordon(verb) => Box::pin(verb.run(global)).await,
            Verb::Pause(verb) => Box::pin(verb.run(global)).await,
            Verb::Resume(verb) => Box::pin(verb.run(global)).await,
            Verb::Drain(verb) => Box::pin(verb.run(global)).await,
            Verb::Janitor(verb) => Box::pin(verb.run(global)).await,
            Verb::Completion(verb) => verb.run(),
        }
    }
}

impl Global {
    /// The way to the coordinator, by the credential file.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        Session::open(self)
    }
}

/// The whole command line, for completion scripts and for the test of the documentation.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example_and_its_exit_codes() {
        fn visit(command: &clap::Command, path: &str) {
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .for_each(|c| visit(c, &format!("{path} {}", c.get_name())));
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:") && help.contains(path), "{path}: {help}");
            assert!(help.contains("Exit codes:"), "{path}: {help}");
        }
        visit(&command(), "agentctl");
    }
}
