//! The unit of an agent: its name, its description, its properties.

use std::path::Path;

use fleet_model::{AgentName, Limits};
use zbus::{OwnedVariant, Variant};

use super::bus::{BusError, Properties};
use crate::runtime::{RunId, RunSpec};

const PREFIX: &str = "fleet-agent-";
const SUFFIX: &str = ".service";
/// All units of ours.
pub(super) const PATTERN: &str = "fleet-agent-*.service";
/// In a description, before the attempt.
const RUN_WORD: &str = ", run ";

/// An agent has one unit, so two runs of it cannot live at the same time.
pub(super) fn name(agent: &AgentName) -> String {
    format!("{PREFIX}{agent}{SUFFIX}")
}

/// What people read, and by what we know which run it is.
fn description(run: &RunId) -> String {
    format!("Azure Pipelines agent {}{RUN_WORD}{}", run.agent, run.attempt)
}

/// Which run a unit is.
pub(super) fn run_of(name: &str, description: &str) -> Option<RunId> {
    let agent = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    let attempt = description.rsplit_once(RUN_WORD)?.1.parse().ok()?;
    Some(RunId { agent, attempt })
}

/// The unit's properties.
///
/// * `KillMode=process`: a stop, or the death of agent-run, leaves the listener to the next
///   agent-run; what is left of a run is ended by agent-run itself.
/// * `TimeoutStopSec=infinity`: a job is finished first; agent-run has a limit of its own for a
///   machine that goes down.
/// * `Restart=on-failure`: agent-run ends with 0 only when it is to end.
/// * A transient unit in memory: a reboot leaves nothing, and hostd makes it anew.
pub(super) fn properties(
    spec: &RunSpec,
    program: &Path,
    run_dir: &Path,
) -> Result<Properties, BusError> {
    let program = program.display().to_string();
    let arguments = vec![program.clone(), "agent-run".into(), run_dir.display().to_string()];
    let mut all = vec![
        property("Description", description(&spec.run))?,
        property("Type", "exec")?,
        property("ExecStart", vec![(program, arguments, false)])?,
        property("NotifyAccess", "main")?,
        property("Restart", "on-failure")?,
        property("RestartUSec", 1_000_000_u64)?,
        property("StartLimitIntervalUSec", 0_u64)?,
        property("KillMode", "process")?,
        property("KillSignal", nix::sys::signal::Signal::SIGINT as i32)?,
        property("TimeoutStopUSec", u64::MAX)?,
        property("OOMPolicy", "continue")?,
        property("CollectMode", "inactive-or-failed")?,
        property("SyslogIdentifier", spec.run.agent.as_str())?,
        property("CPUAccounting", true)?,
        property("MemoryAccounting", true)?,
        property("TasksAccounting", true)?,
    ];
    let Limits { cpu_millis, memory_bytes, pids } = spec.template.limits;
    if let Some(millis) = cpu_millis {
        // Microseconds of processor time each second.
        all.push(property("CPUQuotaPerSecUSec", u64::from(millis) * 1000)?);
    }
    if let Some(bytes) = memory_bytes {
        all.push(property("MemoryMax", bytes)?);
    }
    if let Some(pids) = pids {
        all.push(property("TasksMax", u64::from(pids))?);
    }
    Ok(all)
}

fn property<'a>(
    name: &str,
    value: impl Into<Variant<'a>>,
) -> Result<(String, OwnedVariant), BusError> {
    let value = OwnedVariant::try_from(value.into());
    Ok((name.to_owned(), value.map_err(|error| BusError::Refused(error.to_string()))?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_unit_says_which_run_it_is() {
        let run = RunId { agent: "nightly-svc-h-1-07".parse().unwrap(), attempt: 12 };
        let name = name(&run.agent);
        assert_eq!(name, "fleet-agent-nightly-svc-h-1-07.service");
        assert_eq!(run_of(&name, &description(&run)), Some(run));
        assert_eq!(run_of("fleet-agent-a.service", "somebody else's"), None);
        assert_eq!(run_of("ssh.service", "x, run 3"), None);
    }
}
