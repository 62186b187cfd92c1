//! agentctl: the command line of the fleet.
//!
//! One verb, one file in `verbs/`: its arguments, its help, its function. A verb reads the
//! credential ([`config`]), asks the coordinator ([`connect`]) and prints what it was told
//! (`view` = the data, `output` = how it looks). Verbs that wait follow the coordinator's changes
//! ([`feed`]) and ask a pure function whether the goal is reached ([`goal`]).
//!
//! What is absent: agentctl keeps no state, decides nothing about the fleet, and knows no secret
//! longer than one call.

mod agent_goal;
mod cli;
mod complete;
mod config;
mod connect;
mod diagnose;
mod error;
mod feed;
mod goal;
mod held_goal;
mod help;
mod live;
mod names;
mod output;
mod place;
mod progress;
mod secret;
mod verbs;
mod view;
mod wait;
mod when;
mod words;

use std::process::ExitCode;

use clap::Parser as _;
pub use cli::command;
use error::Failure;
use fleet_proto::exit::Exit;

/// Reads the command line, runs the verb, and says how it went.
pub fn main() -> ExitCode {
    // Answers the shell's request for completions, when this is one, and ends there.
    clap_complete::CompleteEnv::with_factory(command).var(complete::VARIABLE).complete();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            if !failure.is_silent() {
                output::complain(&failure);
            }
            failure.exit().into()
        }
    }
}

fn run(cli: cli::Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::error("cannot start").because(error.to_string()))?;
    let done = runtime.block_on(cli.run());
    // A look-up that the system still does for us must not hold the prompt back.
    runtime.shutdown_background();
    done
}

/// `--help` and `--version` are no errors; everything else the parser says is one (code 1, since
/// the parser's own 2 means "not converged" here).
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when even this cannot be written.
    let _ = error.print();
    if error.use_stderr() { Exit::Error.into() } else { Exit::Done.into() }
}
