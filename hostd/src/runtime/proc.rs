//! Which processes belong to an agent, and is one of them a worker? From `/proc`, from outside.

use std::{collections::BTreeSet, fs, io, os::fd::OwnedFd, path::Path};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::WorkerCheck;

/// What every worker has in its command line.
const WORKER: &str = "Agent.Worker";

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    parent: i32,
    group: i32,
    zombie: bool,
    /// Clock ticks between the machine's boot and its start.
    pub(crate) started: u64,
    /// Its user.
    uid: u32,
    /// Name and command line.
    words: String,
}

impl Process {
    fn is_worker(&self) -> bool {
        !self.zombie && self.words.contains(WORKER)
    }
}

/// Does a worker live in the group, or beneath the process, of this number?
pub(super) fn worker(leader: i32) -> WorkerCheck {
    match all(Path::new("/proc")) {
        Ok(processes) => find(&processes, leader),
        Err(error) => unreadable(&error),
    }
}

/// Does a worker of this user live?
pub(crate) fn worker_of_user(uid: u32) -> WorkerCheck {
    match all(Path::new("/proc")) {
        Ok(all) if all.iter().any(|p| p.uid == uid && p.is_worker()) => WorkerCheck::Present,
        Ok(_) => WorkerCheck::None,
        Err(error) => unreadable(&error),
    }
}

/// A listener of this user, if one lives.
///
/// # Errors
/// A process list that cannot be read.
pub(crate) fn listener_of_user(uid: u32) -> io::Result<Option<Process>> {
    let is_listener = |p: &Process| p.uid == uid && !p.zombie && p.words.contains("Agent.Listener");
    Ok(all(Path::new("/proc"))?.into_iter().find(is_listener))
}

/// Whether anything of this user lives.
///
/// # Errors
/// A process list that cannot be read.
pub(crate) fn has_processes(uid: u32) -> io::Result<bool> {
    Ok(all(Path::new("/proc"))?.iter().any(|process| process.uid == uid && !process.zombie))
}

/// The process of this number, if one lives.
///
/// # Errors
/// A process list that cannot be read.
pub(crate) fn alive(pid: i32) -> io::Result<Option<Process>> {
    Ok(read(&Path::new("/proc").join(pid.to_string()))?.filter(|process| !process.zombie))
}

/// Ends every process of a user, and waits for none. Returns how many there were.
///
/// # Errors
/// A process list that cannot be read.
pub(crate) fn kill_user(uid: u32) -> io::Result<usize> {
    let all = all(Path::new("/proc"))?;
    let theirs = all.iter().filter(|process| process.uid == uid && !process.zombie);
    Ok(theirs.filter(|process| kill(process.pid, |now| now.uid == uid)).count())
}

/// Ends the process of this number if it is `still` the one that was meant.
pub(crate) fn kill(pid: i32, still: impl Fn(&Process) -> bool) -> bool {
    let Some(handle) = Handle::open(pid) else { return false };
    matches!(alive(pid), Ok(Some(process)) if still(&process)) && handle.kill()
}

/// A process itself: its number may be given to another one, this is not.
pub(crate) struct Handle {
    /// Its number.
    pub(crate) pid: i32,
    held: OwnedFd,
}

impl Handle {
    /// None: there is none of this number.
    pub(crate) fn open(pid: i32) -> Option<Self> {
        let held = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, held })
    }

    /// False: it ended already.
    pub(crate) fn kill(&self) -> bool {
        pidfd_send_signal(&self.held, Signal::KILL).is_ok()
    }
}

fn unreadable(error: &io::Error) -> WorkerCheck {
    WorkerCheck::Unknown(format!("the process list cannot be read: {error}"))
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
    let of = |name: &str| match fs::read(dir.join(name)) {
        Err(error) if ended(&error) => Ok(None),
        other => other.map(Some),
    };
    let (Some(stat), Some(line), Some(status)) = (of("stat")?, of("cmdline")?, of("status")?)
    else {
        return Ok(None);
    };
    let stat = String::from_utf8_lossy(&stat);
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let process = owner(&String::from_utf8_lossy(&status)).and_then(|uid| parse(&stat, &line, uid));
    process.map(Some).ok_or_else(|| io::Error::other(format!("odd line {stat:?}")))
}

/// The user in `Uid: real effective saved file`. The directory's owner would not do: of a process
/// that must not be looked into it is root.
fn owner(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `pid (comm) state ppid pgrp …`, where the name may hold anything, brackets too.
fn parse(stat: &str, line: &str, uid: u32) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let zombie = fields.next()? == "Z";
    let mut number = || fields.next()?.parse().ok();
    let (parent, group) = (number()?, number()?);
    // The 22nd field; the group was the 5th.
    let started = fields.nth(16)?.parse().ok()?;
    let words = format!("{comm} {line}");
    Some(Process { pid: pid.parse().ok()?, parent, group, zombie, started, uid, words })
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
    match processes.iter().any(|p| ours.contains(&p.pid) && p.is_worker()) {
        true => WorkerCheck::Present,
        false => WorkerCheck::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, words: &str) -> Process {
        let (zombie, started, uid) = (false, 5, 1000);
        Process { pid, parent, group, zombie, started, uid, words: words.to_owned() }
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name() {
        let stat = "42 (a) b (c) S 7 40 40 0 -1 4194560 1 2 3 4 0 0 0 0 20 0 1 0 5 99 8";
        let read = parse(stat, "x y", 1000);
        assert_eq!(read, Some(process(42, 7, 40, "a) b (c x y")));
        assert_eq!(parse("42 (a", "", 0), None);
        assert_eq!(owner("Name:\tx\nUid:\t7\t8\t8\t8\n"), Some(7));
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
    fn only_the_process_that_was_meant_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("a process");
        let pid = i32::try_from(child.id()).expect("a process number");
        let seen = alive(pid).expect("a list").expect("it lives");
        assert!(!kill(pid, |now| now.started != seen.started), "it is another one");
        assert!(kill(pid, |now| now.started == seen.started));
        child.wait().expect("it ended");
        assert!(!kill(pid, |_| true), "it is gone");
    }

    #[test]
    fn this_machines_list_can_be_read() {
        let own = i32::try_from(std::process::id()).expect("a process number");
        assert_eq!(worker(own), WorkerCheck::None);
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(alive(own).expect("a list").map(|process| process.uid), Some(uid));
        assert!(all(Path::new("/nowhere")).is_err());
    }
}
