//! `Agent.Listener run`: a session with the server, messages out of it, one worker at a time.
//!
//! ```text
//! session --ok--> listening --job--> worker --end--> listening          (long-lived)
//!    |                |                 `--end--> exit 0               (--once, whatever the result)
//!    |                |--refresh--> update ready and idle --> exit 3, or 4 with --once
//!    |                |--SIGINT--> cancel the job, delete the session --> exit 0
//!    |                `--agent gone--> exit 2
//!    `--refused--> exit 1, revoked --> exit 0
//! ```

mod message;
mod notify;
mod poll;
mod renew;
mod run_job;
mod serve;
mod session;
mod signals;
mod update;
mod worker_process;

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use crate::api::Api;
use crate::args::Command;
use crate::capabilities;
use crate::connection::Connection;
use crate::diag::Diag;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::files::Registration;
use crate::layout::Layout;
use crate::settings::Settings;
use crate::term;

use session::Opened;
use signals::Signals;

/// What every part of a running listener may look at.
pub(crate) struct Context {
    /// Where the files are.
    pub(crate) layout: Layout,
    /// What the workers get.
    pub(crate) environment: Environment,
    /// Times.
    pub(crate) settings: Settings,
    /// The log.
    pub(crate) diag: Diag,
    /// The server.
    pub(crate) connection: Connection,
    /// What is told about this machine.
    pub(crate) capabilities: BTreeMap<String, String>,
    /// Take one job, then exit.
    pub(crate) once: bool,
    /// Somebody restarts this process: `--startuptype service`.
    pub(crate) service: bool,
}

impl Context {
    fn load(layout: Layout, environment: Environment, command: &Command) -> anyhow::Result<Self> {
        let settings = Settings::load(&layout, &environment);
        let registration = Registration::load(&layout)?;
        let agent = &registration.agent;
        let capabilities = capabilities::scan(&layout, &environment, &agent.agent_name);
        let api = Api::new(&agent.server_url, &settings)?;
        Ok(Self {
            diag: Diag::open(&layout, &environment, "Agent"),
            connection: Connection::new(api, registration),
            capabilities,
            once: command.flag("once"),
            service: command
                .value("startuptype")
                .is_some_and(|kind| kind.eq_ignore_ascii_case("service")),
            layout,
            environment,
            settings,
        })
    }
}

/// Runs until a signal, a job's end in once mode, an update, or an error that cannot be waited out.
pub(crate) async fn run(
    layout: Layout,
    environment: Environment,
    command: &Command,
) -> anyhow::Result<Exit> {
    if !layout.is_configured() {
        anyhow::bail!("The agent is not configured. Run ./config.sh first.");
    }
    let worker = layout.worker();
    if let Err(error) = access(&worker, AccessFlags::X_OK) {
        anyhow::bail!("There is no permission to execute {}: {error}", worker.display());
    }
    // Signals first: one that comes before the session exists must not leave a session behind.
    let mut signals = Signals::new()?;
    term::line("Scanning for tool capabilities.");
    let context = Arc::new(Context::load(layout, environment, command)?);
    term::line("Connecting to the server.");
    let opened = tokio::select! {
        opened = session::open(&context) => opened,
        _ = signals.next() => Opened::Ended(Exit::Success),
    };
    let exit = match opened {
        Opened::Session(session) => {
            term::stamped("Listening for Jobs");
            Box::pin(serve::serve(context.clone(), session, signals)).await
        }
        Opened::Ended(exit) => exit,
    };
    context.diag.log(&format!("Agent exits with {}", exit.code()));
    Ok(exit)
}
