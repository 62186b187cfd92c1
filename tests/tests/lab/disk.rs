//! The day on which a disk fills up: homes of units lie on a small file system in memory.

use crate::fleet::{Fleet, TK5};

const POOL: &str = "small";
/// In MiB. Agents are paused below a tenth of it, and go on above a fifth.
const SIZE: u64 = 400;
const PACKAGES: &str = "/home/.fleet-packages";
/// A package of which no agent is made any more.
const OLD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn shell(fleet: &Fleet, script: &str) -> String {
    let ran = fleet.on(TK5, &["sh", "-c", script]);
    assert_eq!(ran.code, 0, "{script}: {}", ran.err);
    ran.out.trim().to_owned()
}

fn phases(fleet: &Fleet) -> Vec<String> {
    let phase = |agent: &serde_json::Value| agent["phase"].as_str().unwrap_or_default().to_owned();
    fleet.agents(POOL).iter().map(phase).collect()
}

fn enabled(fleet: &Fleet) -> usize {
    fleet.rows(POOL).iter().filter(|row| row["enabled"] == true).count()
}

fn done(fleet: &Fleet) -> u64 {
    fleet.summary()["jobs"]["succeeded"].as_u64().unwrap_or(0)
}

fn attempts(fleet: &Fleet) -> Vec<u64> {
    fleet.agents(POOL).iter().filter_map(|agent| agent["attempt"].as_u64()).collect()
}

pub(crate) fn fills_up(fleet: &Fleet) {
    shell(fleet, &format!("mount -t tmpfs -o size={SIZE}m,mode=755 small /home"));
    // hostd has mounts of its own, and would go on with the old one.
    shell(fleet, "systemctl restart hostd");
    create(fleet);
    fleet.scale(POOL, 2);
    shell(fleet, &format!("cp -r {PACKAGES}/$(ls {PACKAGES} | head -1) {PACKAGES}/{OLD}"));
    let (before, used) = (done(fleet), shell(fleet, &format!("ls {PACKAGES} | grep -v {OLD}")));
    let queue = ["queue", "--pool", "nightly-tk5", "--count", "1", "--seconds", "75"];
    fleet.azdo(&queue);
    fleet.within(30, "one is busy", || fleet.pool(POOL)["busy"] == 1);
    // To the brim but for a few MiB, while the job runs.
    shell(
        fleet,
        "fallocate -l $(($(df --output=avail -B1 /home | tail -1) - 8388608)) /home/filler",
    );
    fleet.within(60, "no more jobs are taken", || enabled(fleet) == 0);
    fleet.within(30, "the other one is paused", || phases(fleet).contains(&"Paused".to_owned()));
    assert!(phases(fleet).contains(&"Busy".to_owned()), "its job runs on: {:?}", phases(fleet));
    let (history, runs) = (fleet.ok(&["events", "-n", "100"]), attempts(fleet));
    assert!(history.contains("of /home is free"), "{history}");
    assert!(fleet.ok(&["status"]).contains("/home"), "an operator is not told");
    fleet.within(60, "the old package is removed", || {
        shell(fleet, &format!("ls {PACKAGES}")) == used
    });
    fleet.within(120, "its job succeeds", || done(fleet) == before + 1);
    // What comes now waits, and nothing begins.
    fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "2", "--seconds", "1"]);
    fleet.within(60, "both are paused", || phases(fleet) == ["Paused"; 2]);
    // While another pool does a job that takes longer than a look at the disk comes again.
    fleet.azdo(&["queue", "--pool", "nightly", "--count", "1", "--seconds", "40"]);
    fleet.within(90, "the other pool's job succeeds", || done(fleet) == before + 2);
    assert_eq!((attempts(fleet), enabled(fleet)), (runs, 0), "nothing began");
    shell(fleet, "rm /home/filler");
    fleet.within(120, "they go on", || done(fleet) == before + 4);
    fleet
        .within(60, "both wait for jobs", || fleet.pool(POOL)["ready"] == 2 && enabled(fleet) == 2);
    assert!(fleet.ok(&["events", "-n", "100"]).contains("disk.cleaned"), "the history lacks it");
    fleet.ok(&["pool", "delete", POOL, "--timeout", "3m"]);
    shell(fleet, "umount /home && systemctl restart hostd");
}

fn create(fleet: &Fleet) {
    let pat = fleet.pat().display().to_string();
    let azure = ["--azure-url", "http://control:8080/fabrikam", "--azure-pool", "nightly-tk5"];
    let how = ["--runtime", "systemd", "--mode", "once", "--settle", "3s"];
    let rest = ["--selector", "lab=tk5", "--pat-file", &pat];
    fleet.ok(&[&["pool", "create", POOL][..], &azure, &how, &rest].concat());
}
