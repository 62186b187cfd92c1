//! Days of a pool that lives in containers on one server and under users and units on another.

use crate::fleet::{BJW, Fleet, TK5};

pub(crate) const POOL: &str = "mixed";
const COUNT: u64 = 6;
/// What the other pools have at this time of the day.
pub(crate) const BESIDE: [(&str, u64); 3] = [("nightly-svc", 10), ("nightly", 12), (POOL, COUNT)];

pub(crate) fn one_pool_two_groups(fleet: &Fleet) {
    assert_eq!(traces(fleet), [""; 0], "the server has nothing of agents yet");
    fleet.create_pool(POOL, "lab=bjw", "fleet-agent:demo");
    let units = ["group", "add", POOL, "units", "--runtime", "systemd", "--selector", "lab=tk5"];
    fleet.ok(&[&units[..], &["--mode", "once"]].concat());
    fleet.scale(POOL, 6);
    let on = |host: &str, runtime: &str| {
        let agents = fleet.agents(POOL);
        agents.iter().filter(|a| a["host"] == host && a["runtime"] == runtime).count()
    };
    assert_eq!((on(BJW, "docker"), on(TK5, "systemd")), (3, 3), "{:?}", fleet.agents(POOL));
    let listeners = listeners(fleet);
    assert_eq!(listeners.len(), 3);
    assert!(listeners.iter().all(|line| line.starts_with("az-")), "{listeners:?}");
    jobs(fleet, 6, "3");
    fleet.all_is_well(&BESIDE);
}

pub(crate) fn hostd_away(fleet: &Fleet) {
    fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "12"]);
    fleet.within(30, "all are busy", || fleet.pool(POOL)["busy"] == COUNT);
    let (before, done) = (listeners(fleet), succeeded(fleet));
    fleet.on(TK5, &["systemctl", "kill", "--signal", "KILL", "hostd"]);
    fleet.within(60, "the jobs have succeeded", || succeeded(fleet) == done + 6);
    assert_eq!(before.len(), 3);
    fleet.all_is_well(&BESIDE);
    // Not only for a moment: an upgrade that takes long, or a hostd that does not start.
    let stopped = fleet.on(TK5, &["systemctl", "stop", "hostd"]);
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    for _ in 0..2 {
        let done = succeeded(fleet);
        fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "2"]);
        fleet.within(60, "jobs are done without hostd", || succeeded(fleet) == done + 6);
    }
    fleet.on(TK5, &["systemctl", "start", "hostd"]);
    fleet.all_is_well(&BESIDE);
}

pub(crate) fn hanging_listeners(fleet: &Fleet) {
    let done = succeeded(fleet);
    let queue = ["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "1"];
    fleet.azdo(&[&queue[..], &["--hang-after-job"]].concat());
    fleet.within(40, "the jobs have succeeded", || succeeded(fleet) == done + 6);
    // A minute of patience, a look at the processes, and a fresh registration for each.
    fleet.within(120, "six fresh listeners wait for jobs", || {
        let pool = fleet.pool(POOL);
        pool["ready"] == COUNT && pool["busy"] == 0 && fleet.online(POOL) as u64 == COUNT
    });
    jobs(fleet, 6, "1");
    fleet.all_is_well(&BESIDE);
}

/// Jobs come all the time while agents come and go in containers and units alike, so that one comes
/// at every step of some removal.
pub(crate) fn rain(fleet: &Fleet) {
    const SHOWERS: u64 = 4;
    let before = fleet.summary()["jobs"].clone();
    for shower in 0..SHOWERS {
        for seconds in ["0", "1", "2", "4"] {
            let queue = ["queue", "--pool", "nightly-tk5", "--count", "3", "--seconds", seconds];
            fleet.azdo(&queue);
        }
        let to = if shower % 2 == 0 { "2" } else { "6" };
        fleet.ok(&["scale", POOL, to, "--timeout", "3m"]);
    }
    let done = before["succeeded"].as_u64().unwrap_or(0) + SHOWERS * 12;
    // An agent that found no job asks again up to fifteen seconds later.
    fleet.within(180, "every job has succeeded", || succeeded(fleet) == done);
    assert_eq!(fleet.summary()["jobs"]["failed"], before["failed"]);
    fleet.all_is_well(&BESIDE);
}

/// Azure is away for good, and somebody has to clear the servers.
pub(crate) fn forced(fleet: &Fleet) {
    fleet.azdo(&["fault", "set", "--path", "/_apis/distributedtask/pools", "--drop", "before"]);
    fleet.within(40, "Azure's trouble is shown", || {
        let pool = fleet.pool(POOL);
        pool["troubles"].as_array().is_some_and(|troubles| !troubles.is_empty())
    });
    let running = || fleet.containers(BJW).len() + listeners(fleet).len();
    let before = (fleet.containers(BJW), listeners(fleet));
    fleet.ok(&["scale", POOL, "2", "--detach"]);
    fleet.refused(&["scale", POOL, "2", "--force", "--detach"], 1, "--reason");
    std::thread::sleep(std::time::Duration::from_secs(10));
    assert_eq!((fleet.containers(BJW), listeners(fleet)), before, "nobody gave leave");
    let why = "the rack is cleared at noon";
    fleet.ok(&["scale", POOL, "2", "--force", "--reason", why, "--detach"]);
    fleet.within(150, "four of six are gone without Azure's word", || running() == 2);
    assert!(fleet.ok(&["events", "-n", "200"]).contains(why), "the reason is in the history");
    fleet.azdo(&["fault", "clear"]);
    fleet.within(120, "their rows are gone too", || {
        fleet.rows(POOL).len() == 2 && fleet.pool(POOL)["ready"] == 2 && fleet.online(POOL) == 2
    });
    fleet.scale(POOL, 6);
    fleet.mark();
    fleet.all_is_well(&BESIDE);
}

pub(crate) fn power_cut(fleet: &Fleet) {
    fleet.lab("kill-power", TK5);
    fleet.lab("reboot", TK5);
    fleet.within(90, "its agents are back", || {
        let pool = fleet.pool(POOL);
        pool["ready"] == COUNT && fleet.online(POOL) as u64 == COUNT
    });
    jobs(fleet, 6, "1");
    // Dead sessions were left alone, not fought for.
    fleet.all_is_well(&BESIDE);
}

pub(crate) fn leaving(fleet: &Fleet) {
    let done = succeeded(fleet);
    fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "15"]);
    fleet.within(30, "all are busy", || fleet.pool(POOL)["busy"] == COUNT);
    fleet.ok(&["pool", "delete", POOL, "--timeout", "3m"]);
    assert_eq!(succeeded(fleet), done + 6, "a pool was deleted over its jobs");
    assert_eq!(fleet.rows(POOL).len(), 0);
    assert_eq!(traces(fleet), [""; 0], "users, units, homes or processes of agents stayed");
    fleet.all_is_well(&BESIDE[..2]);
}

fn jobs(fleet: &Fleet, count: u64, seconds: &str) {
    let done = succeeded(fleet);
    let queue = ["queue", "--pool", "nightly-tk5", "--count", &count.to_string()];
    fleet.azdo(&[&queue[..], &["--seconds", seconds]].concat());
    fleet.within(60, "the jobs have succeeded", || succeeded(fleet) == done + count);
}

pub(crate) fn succeeded(fleet: &Fleet) -> u64 {
    fleet.summary()["jobs"]["succeeded"].as_u64().unwrap_or(0)
}

/// Listeners on the server of units: user and process number.
fn listeners(fleet: &Fleet) -> Vec<String> {
    lines(fleet, "ps -eo user:32,pid,args | grep '[A]gent.Listener run' | awk '{print $1, $2}'")
}

/// What agents of users and units leave on a server.
fn traces(fleet: &Fleet) -> Vec<String> {
    lines(
        fleet,
        "grep -h '^az-' /etc/passwd /etc/group /etc/shadow; \
         ls -A /home | grep '^az-'; ls -A /run/hostd-agents 2>/dev/null | grep -v '^.attended$'; \
         systemctl list-units --all --plain --no-legend 'fleet-agent-*'; \
         find /sys/fs/cgroup -name 'fleet-agent-*'; ps -eo user:32,args | grep '^az-'; :",
    )
}

fn lines(fleet: &Fleet, script: &str) -> Vec<String> {
    let ran = fleet.on(TK5, &["sh", "-c", script]);
    assert_eq!(ran.code, 0, "{script}: {}", ran.err);
    ran.out.lines().map(str::to_owned).collect()
}
