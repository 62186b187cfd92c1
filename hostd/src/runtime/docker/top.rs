//! The engine's process list → is there a worker? Pure but for one look-up. The list comes from outside of the
//! container, so no tool in an image can be missing, and no process in it is asked.
//!
//! It may be wrong in one direction only: a process that calls itself a worker makes one.

use bollard::models::ContainerTopResponse;

use crate::runtime::WorkerCheck;

/// What the engine's `ps` is asked for. `comm` may hold blanks, so that what stands before it is
/// what can be relied on.
pub(super) const PS_ARGS: &str = "-eo pid,ppid,stat,comm,args";

const COLUMNS: usize = 5;
const WORKER: &str = "Agent.Worker";
const LISTENER: &str = "Agent.Listener";

/// One process, as its line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process<'a> {
    /// Its number on the host.
    pub(super) pid: i32,
    /// It ended, and nobody asked for its exit code yet.
    zombie: bool,
    comm: &'a str,
    args: &'a str,
}

impl Process<'_> {
    /// Is this number, as seen from here, still this process?
    pub(super) fn has_this_name(&self) -> bool {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", self.pid));
        comm.is_ok_and(|comm| comm.trim_end() == self.comm)
    }

    fn is(&self, name: &str) -> bool {
        !self.zombie && (self.comm.contains(name) || self.args.contains(name))
    }

    /// A process without which an agent is over: listener, worker, or the script that starts the
    /// listener again after an update.
    pub(super) fn keeps_the_agent(&self) -> bool {
        [LISTENER, WORKER, "run.sh", "run-docker.sh"].iter().any(|name| self.is(name))
    }
}

/// Reads the list.
///
/// # Errors
/// In words, when it does not have the shape that was asked for: then nothing is known.
pub(super) fn processes(top: &ContainerTopResponse) -> Result<Vec<Process<'_>>, String> {
    let titles = top.titles.as_deref().unwrap_or_default();
    if titles.len() != COLUMNS || titles[0] != "PID" {
        return Err(format!("the process list has the columns {titles:?}"));
    }
    let rows = top.processes.as_deref().unwrap_or_default();
    if rows.is_empty() {
        // The process that is the container is always there.
        return Err("the process list is empty".to_owned());
    }
    rows.iter().map(|row| process(row)).collect()
}

fn process(row: &[String]) -> Result<Process<'_>, String> {
    let [pid, ppid, stat, comm, args] = row else {
        return Err(format!("a process has {} columns", row.len()));
    };
    let (Ok(pid), Ok(_)) = (pid.parse(), ppid.parse::<i32>()) else {
        return Err(format!("a process has the number {pid:?}"));
    };
    if !stat.starts_with(|c: char| c.is_ascii_uppercase() || c == 't') {
        return Err(format!("a process has the state {stat:?}"));
    }
    Ok(Process { pid, zombie: stat.starts_with('Z'), comm, args })
}

/// Does a worker live in there?
pub(super) fn worker(top: &ContainerTopResponse) -> WorkerCheck {
    match processes(top) {
        Err(why) => WorkerCheck::Unknown(why),
        Ok(all) if all.iter().any(|p| p.is(WORKER)) => WorkerCheck::Present,
        Ok(_) => WorkerCheck::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn top(titles: &[&str], rows: &[&[&str]]) -> ContainerTopResponse {
        let owned = |row: &[&str]| row.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        ContainerTopResponse {
            titles: Some(owned(titles)),
            processes: Some(rows.iter().map(|r| owned(r)).collect()),
        }
    }

    const TITLES: [&str; 5] = ["PID", "PPID", "STAT", "COMMAND", "COMMAND"];
    const INIT: [&str; 5] = ["11", "10", "Ss", "docker-init", "/sbin/docker-init -- /bin/sh x"];
    const IDLE: [&str; 5] = ["12", "11", "Sl", "Agent.Listener", "./bin/Agent.Listener run --once"];

    #[test]
    fn a_worker_is_found_by_name_or_arguments() {
        for row in [
            ["13", "12", "Sl", "Agent.Worker", "/azp/bin/Agent.Worker spawnclient 9 8"],
            ["13", "12", "R", "dotnet", "dotnet bin/Agent.Worker.dll spawnclient 9 8"],
            ["13", "12", "t", "Agent.Worker", "x"],
            // A name with a blank shifts what follows; it is looked for everywhere.
            ["13", "12", "S", "my", "tool Agent.Worker"],
        ] {
            assert_eq!(worker(&top(&TITLES, &[&INIT, &IDLE, &row])), WorkerCheck::Present);
        }
    }

    #[test]
    fn a_whole_list_without_one_says_none() {
        assert_eq!(worker(&top(&TITLES, &[&INIT, &IDLE])), WorkerCheck::None);
        let ended = ["13", "12", "Z", "Agent.Worker", "[Agent.Worker] <defunct>"];
        assert_eq!(worker(&top(&TITLES, &[&INIT, &IDLE, &ended])), WorkerCheck::None);
    }

    #[test]
    fn an_odd_list_is_unknown() {
        let unknown = |list| matches!(worker(&list), WorkerCheck::Unknown(_));
        assert!(unknown(ContainerTopResponse::default()), "nothing at all");
        assert!(unknown(top(&TITLES, &[])), "no process");
        assert!(unknown(top(&["PID", "CMD"], &[&["1", "sh"]])), "other columns");
        assert!(unknown(top(&TITLES, &[&INIT, &["12", "1"]])), "a short line");
        assert!(unknown(top(&TITLES, &[&["x", "1", "S", "a", "b"]])), "no number");
        assert!(unknown(top(&TITLES, &[&["1", "1", "", "a", "b"]])), "no state");
    }

    #[test]
    fn an_agent_is_kept_by_listener_worker_and_run_script() {
        let run_sh = ["14", "11", "S", "sh", "/bin/sh ./run.sh"];
        let start_sh = ["15", "11", "S", "sh", "/bin/sh /azp/start.sh"];
        let list = top(&TITLES, &[&INIT, &IDLE, &run_sh, &start_sh]);
        let kept: Vec<i32> = processes(&list)
            .expect("a whole list")
            .iter()
            .filter(|p| p.keeps_the_agent())
            .map(|p| p.pid)
            .collect();
        assert_eq!(kept, [12, 14]);
    }

    proptest! {
        #[test]
        fn a_list_with_a_living_worker_never_says_none(
            before in proptest::collection::vec(proptest::collection::vec("\\PC{0,8}", 0..7), 0..4),
            titles in proptest::collection::vec("PID|PPID|STAT|COMMAND", 0..7),
        ) {
            let mut rows = before;
            rows.push(["13", "12", "Sl", "Agent.Worker", "x"].map(str::to_owned).to_vec());
            let list = ContainerTopResponse { titles: Some(titles), processes: Some(rows) };
            prop_assert_ne!(worker(&list), WorkerCheck::None);
        }
    }
}
