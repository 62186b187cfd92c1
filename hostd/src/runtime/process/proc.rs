//! Which processes belong to an agent, and is one of them a worker? From `/proc`, from outside.

use std::{collections::BTreeSet, fs, io, path::Path};

use crate::runtime::WorkerCheck;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    zombie: bool,
    /// Name and command line.
    words: String,
}

/// Does a worker live in the group, or beneath the process, of this number?
pub(super) fn worker(leader: i32) -> WorkerCheck {
    match all(Path::new("/proc")) {
        Ok(processes) => find(&processes, leader),
        Err(error) => WorkerCheck::Unknown(format!("the process list cannot be read: {error}")),
    }
}

fn all(proc: &Path) -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc)? {
        let dir = entry?.path();
        let is_process =
            dir.file_name().is_some_and(|n| n.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if is_process && let Some(process) = read(&dir)? {
            processes.push(process);
        }
    }
    Ok(processes)
}

/// None when it ended while we looked: that is no error, everything else is.
fn read(dir: &Path) -> io::Result<Option<Process>> {
    let ended = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound
            || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
    };
    let (stat, line) = match (fs::read(dir.join("stat")), fs::read(dir.join("cmdline"))) {
        (Err(error), _) | (_, Err(error)) if ended(&error) => return Ok(None),
        (stat, line) => (stat?, line?),
    };
    let stat = String::from_utf8_lossy(&stat);
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    parse(&stat, &line).map(Some).ok_or_else(|| io::Error::other(format!("odd line {stat:?}")))
}

/// `pid (comm) state ppid pgrp …`, where the name may hold anything, brackets too.
fn parse(stat: &str, line: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let zombie = fields.next()? == "Z";
    let mut number = || fields.next()?.parse().ok();
    let (parent, group) = (number()?, number()?);
    Some(Process { pid: pid.parse().ok()?, parent, group, zombie, words: format!("{comm} {line}") })
}

fn find(processes: &[Process], leader: i32) -> WorkerCheck {
    let mut ours = BTreeSet::from([leader]);
    // A child of one of ours is ours; a list in no order needs as many rounds as it has layers.
    loop {
        let before = ours.len();
        ours.extend(
            processes
                .iter()
                .filter(|p| p.group == leader || ours.contains(&p.parent))
                .map(|p| p.pid)
                .collect::<Vec<_>>(),
        );
        if ours.len() == before {
            break;
        }
    }
    let is_worker =
        |p: &&Process| ours.contains(&p.pid) && !p.zombie && p.words.contains("Agent.Worker");
    match processes.iter().find(is_worker) {
        Some(_) => WorkerCheck::Present,
        None => WorkerCheck::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, words: &str) -> Process {
        Process { pid, parent, group, zombie: false, words: words.to_owned() }
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name() {
        let read = parse("42 (a) b (c) S 7 40 40 0 -1 4194560", "x y");
        assert_eq!(read, Some(process(42, 7, 40, "a) b (c x y")));
        assert_eq!(parse("42 (a", ""), None);
    }

    #[test]
    fn a_worker_counts_in_the_group_and_beneath_the_leader_only() {
        let leader = process(10, 1, 10, "Agent.Listener");
        let check = |worker: Process| find(&[worker, leader.clone()], 10);
        let name = "Agent.Worker spawnclient 1 2";
        assert_eq!(check(process(12, 10, 10, name)), WorkerCheck::Present, "child");
        assert_eq!(check(process(12, 1, 10, name)), WorkerCheck::Present, "orphan of the group");
        assert_eq!(check(process(12, 10, 12, name)), WorkerCheck::Present, "child that left it");
        assert_eq!(check(process(12, 1, 12, name)), WorkerCheck::None, "another agent's");
        let dead = Process { zombie: true, ..process(12, 10, 10, name) };
        assert_eq!(check(dead), WorkerCheck::None, "ended");
    }

    #[test]
    fn a_grandchild_is_found_in_any_order() {
        let list = [
            process(13, 12, 13, "Agent.Worker"),
            process(12, 11, 12, "sh"),
            process(11, 10, 11, "sh"),
            process(10, 1, 10, "Agent.Listener"),
        ];
        assert_eq!(find(&list, 10), WorkerCheck::Present);
    }

    #[test]
    fn this_machines_list_can_be_read() {
        let own = i32::try_from(std::process::id()).expect("a process number");
        assert_eq!(worker(own), WorkerCheck::None);
        assert!(all(Path::new("/nowhere")).is_err());
    }
}
