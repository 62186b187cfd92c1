//! How a container says which run it is. Labels are the only memory of the engine: a hostd that
//! starts anew finds its runs by them, and two hosts on one engine do not see each other's.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as Engine};
use fleet_model::{Entry, HostName, Mode};

use crate::runtime::{RunId, RunSeen, RunSpec, RunState};

const MANAGED: &str = "fleet.managed";
const HOST: &str = "fleet.host";
const POOL: &str = "fleet.pool";
const GROUP: &str = "fleet.group";
const SLOT: &str = "fleet.slot";
const AGENT: &str = "fleet.agent";
const ATTEMPT: &str = "fleet.attempt";
const OWNER: &str = "fleet.owner";
const ENTRY: &str = "fleet.entry";
const MODE: &str = "fleet.mode";

/// The labels of a run.
pub(super) fn of(spec: &RunSpec) -> HashMap<String, String> {
    let mode = match spec.template.mode {
        Mode::Once => "once",
        Mode::LongLived => "long-lived",
    };
    let entry = match spec.template.entry {
        Entry::Own => "own",
        Entry::Image => "image",
    };
    [
        (MANAGED, "true".to_owned()),
        (HOST, spec.host.to_string()),
        (POOL, spec.pool.to_string()),
        (GROUP, spec.group.to_string()),
        (SLOT, spec.slot.to_string()),
        (AGENT, spec.run.agent.to_string()),
        (ATTEMPT, spec.run.attempt.to_string()),
        (OWNER, spec.owner.clone()),
        (ENTRY, entry.to_owned()),
        (MODE, mode.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The engine's filter for the runs of `host`.
pub(super) fn filter(host: &HostName) -> HashMap<String, Vec<String>> {
    let labels = vec![format!("{MANAGED}=true"), format!("{HOST}={host}")];
    HashMap::from([("label".to_owned(), labels)])
}

/// Which run has these labels; none when they are not ours.
pub(super) fn run(labels: &HashMap<String, String>) -> Option<RunId> {
    Some(RunId {
        agent: labels.get(AGENT)?.parse().ok()?,
        attempt: labels.get(ATTEMPT)?.parse().ok()?,
    })
}

/// Who starts the listener. Our own entry unless the label says otherwise.
pub(super) fn entry(labels: &HashMap<String, String>) -> Entry {
    match labels.get(ENTRY).map(String::as_str) {
        Some("image") => Entry::Image,
        _ => Entry::Own,
    }
}

/// A container of the engine's list as a run; none when its labels are not ours.
pub(super) fn seen(container: &ContainerSummary) -> Option<(RunSeen, Entry)> {
    let labels = container.labels.as_ref()?;
    let seen = RunSeen {
        run: run(labels)?,
        pool: labels.get(POOL)?.parse().ok()?,
        group: labels.get(GROUP)?.parse().ok()?,
        slot: labels.get(SLOT)?.parse().ok()?,
        state: state(container.state, container.status.as_deref().unwrap_or_default()),
    };
    Some((seen, entry(labels)))
}

/// What the engine's words mean. A word that is not known means running: whoever is in doubt must
/// not start the agent a second time.
fn state(state: Option<Engine>, status: &str) -> RunState {
    match state {
        Some(Engine::CREATED) => RunState::Created,
        Some(Engine::EXITED | Engine::DEAD | Engine::REMOVING) => {
            RunState::Ended(exit_code(status))
        }
        _ => RunState::Running,
    }
}

/// The code in "Exited (137) 2 seconds ago"; asking for it elsewhere is one call per container.
fn exit_code(status: &str) -> Option<i32> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_the_engine_are_understood_and_doubt_means_running() {
        let table = [
            (Some(Engine::CREATED), "Created", RunState::Created),
            (Some(Engine::RUNNING), "Up 3 seconds", RunState::Running),
            (Some(Engine::PAUSED), "Up 3 seconds (Paused)", RunState::Running),
            (Some(Engine::RESTARTING), "Restarting (1) now", RunState::Running),
            (Some(Engine::STOPPING), "", RunState::Running),
            (Some(Engine::EMPTY), "", RunState::Running),
            (None, "", RunState::Running),
            (Some(Engine::EXITED), "Exited (137) 2 seconds ago", RunState::Ended(Some(137))),
            (Some(Engine::EXITED), "odd", RunState::Ended(None)),
            (Some(Engine::DEAD), "Dead", RunState::Ended(None)),
            (Some(Engine::REMOVING), "Removal In Progress", RunState::Ended(None)),
        ];
        for (word, status, expected) in table {
            assert_eq!(state(word, status), expected, "{word:?} {status}");
        }
    }

    #[test]
    fn a_foreign_container_is_no_run() {
        let labels = HashMap::from([(MANAGED.to_owned(), "true".to_owned())]);
        assert_eq!(run(&labels), None);
        assert!(seen(&ContainerSummary { labels: Some(labels), ..Default::default() }).is_none());
        assert!(seen(&ContainerSummary::default()).is_none());
    }
}
