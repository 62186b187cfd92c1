//! Names for the shell's completion, asked of the coordinator. Silent and quick: a key press must
//! never hang or print an error into the line that is being typed.

use std::{env, time::Duration};

use clap_complete::CompletionCandidate;

use crate::{
    cli::Global,
    config::CONFIG_VARIABLE,
    names::{Kind, known},
};

/// By this variable the shell's script asks for completions.
pub(crate) const VARIABLE: &str = "COMPLETE";
/// Longer than this nobody waits for a completion.
const LIMIT: Duration = Duration::from_millis(1500);

/// Names of pools.
pub(crate) fn pools() -> Vec<CompletionCandidate> {
    candidates(Kind::Pool)
}

/// Names of hosts.
pub(crate) fn hosts() -> Vec<CompletionCandidate> {
    candidates(Kind::Host)
}

/// Names of hosts and pools.
pub(crate) fn hosts_and_pools() -> Vec<CompletionCandidate> {
    candidates(Kind::HostOrPool)
}

/// Names of agents.
pub(crate) fn agents() -> Vec<CompletionCandidate> {
    candidates(Kind::Agent)
}

fn candidates(kind: Kind) -> Vec<CompletionCandidate> {
    names(kind).unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

fn names(kind: Kind) -> Option<Vec<String>> {
    // What stands on the line is not known here; the environment and the usual places are.
    let global = Global {
        config: env::var_os(CONFIG_VARIABLE).map(Into::into),
        endpoint: env::var("AGENTCTL_ENDPOINT").ok(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let names = runtime.block_on(async {
        let session = global.session().ok()?;
        tokio::time::timeout(LIMIT, known(&session, kind)).await.ok()?.ok()
    });
    runtime.shutdown_background();
    names
}
