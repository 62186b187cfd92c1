//! A stub of the Azure Pipelines agent: real processes with the real agent's names, files, console lines
//! and exit codes, but jobs that only wait or run one shell script. The fleet is tried against it, so what
//! matters here is to misbehave where the real agent does, not to be pleasant.
//!
//! One binary, told apart by the name it was started under (the package holds hard links):
//!
//! ```text
//! run.sh > bin/Agent.Listener run [--once] > bin/Agent.Worker spawnclient OUT IN > sh (the job's step)
//! runsvc.sh > externals/node20/bin/node bin/AgentService.js > bin/Agent.Listener run --startuptype service
//! ```

mod api;
mod args;
mod capabilities;
mod channel;
mod configure;
mod connection;
mod diag;
mod environment;
mod exit;
mod files;
mod job;
mod key;
mod layout;
mod listener;
mod moments;
mod prompt;
mod reauth;
mod register;
mod remove;
mod service;
mod settings;
mod term;
mod worker;

use std::process::ExitCode;

use args::Verb;
use environment::Environment;
use exit::Exit;
use layout::Layout;
use moments::Moments;

fn main() -> ExitCode {
    let mut argv = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let called_as = argv.next().unwrap_or_default();
    let rest: Vec<String> = argv.collect();
    let moments = Moments::of(&called_as, rest.first());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(Exit::Retryable.code());
        }
    };
    let code = runtime.block_on(Box::pin(call(&called_as, rest)));
    // A blocked look-up thread must not hold the process: its life ends with the answer.
    runtime.shutdown_background();
    moments.ends();
    ExitCode::from(code)
}

async fn call(called_as: &str, rest: Vec<String>) -> u8 {
    let name = called_as.rsplit('/').next().unwrap_or_default();
    let worker = name == "Agent.Worker" || rest.first().is_some_and(|a| a == "spawnclient");
    let result = if worker {
        worker::main(&rest).await
    } else if name == "node" {
        service::main().await
    } else {
        Box::pin(agent(rest)).await.map(Exit::code)
    };
    result.unwrap_or_else(|error| {
        term::error(&format!("{error:#}"));
        Exit::Terminated.code()
    })
}

/// `Agent.Listener VERB [flags]`.
async fn agent(rest: Vec<String>) -> anyhow::Result<Exit> {
    let layout = Layout::of_this_process()?;
    let mut environment = Environment::of_this_process(&layout);
    let command = args::Command::parse(rest, &mut environment);
    for unknown in &command.unknown {
        term::line(&format!(
            "Unrecognized command-line input argument: '{unknown}'. See ./config.sh --help"
        ));
    }
    if command.flag("version") {
        term::line(&layout.version());
        return Ok(Exit::Success);
    }
    if command.flag("commit") {
        term::line("stub");
        return Ok(Exit::Success);
    }
    match command.verb {
        Verb::Configure => configure::run(&layout, &environment, &command).await,
        Verb::Remove => remove::run(&layout, &environment, &command).await,
        Verb::Reauth => reauth::run(&layout, &environment, &command).await,
        Verb::Run => Box::pin(listener::run(layout, environment, &command)).await,
        // The real one loads its assemblies into the page cache; there is nothing to load here.
        Verb::Warmup => Ok(Exit::Success),
        Verb::Help => {
            term::line(
                "config.sh | config.sh remove | run.sh [--once] | reauth.sh; all take --unattended",
            );
            Ok(Exit::Success)
        }
    }
}
