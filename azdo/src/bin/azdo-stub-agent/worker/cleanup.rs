//! Ends what a job leaves behind: every process whose environment carries the job's lookup id.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills the leftovers of the job marked `lookup`. The worker itself is not marked: only its children are.
pub(crate) fn kill_leftovers(lookup: &str) {
    let mark = format!("VSTS_PROCESS_LOOKUP_ID={lookup}");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            // Gone already is as good as killed.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
