//! Days on which an operator holds servers back: drained, cut off in the middle of it, paused.

use std::{process::Stdio, thread};

use serde_json::Value;

use crate::fleet::{Fleet, STR, SVC};

fn host(fleet: &Fleet, name: &str) -> Value {
    fleet.json(&["get", "hosts", name])["hosts"][0].clone()
}

fn done(fleet: &Fleet) -> u64 {
    fleet.summary()["jobs"]["succeeded"].as_u64().unwrap_or(0)
}

fn count(fleet: &Fleet, pool: &str, is_so: impl Fn(&Value) -> bool) -> usize {
    fleet.agents(pool).iter().filter(|agent| is_so(agent)).count()
}

pub(crate) fn drained(fleet: &Fleet) {
    let name = STR[0];
    fleet.mark();
    let before = done(fleet);
    fleet.azdo(&["queue", "--pool", "nightly", "--count", "12", "--seconds", "40"]);
    fleet.within(60, "twelve agents are busy", || fleet.pool("nightly")["busy"] == 12);
    let args = ["drain", name, "--reason", "new disks", "--deadline", "5m"];
    let waiting = fleet.agentctl(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let waiting = waiting.expect("agentctl runs");
    let waiting = thread::spawn(move || waiting.wait_with_output());
    fleet.within(30, "its agents are on their way out", || {
        count(fleet, "nightly", |a| a["host"] == name && a["intent"] != "keep") == 6
    });
    let job =
        fleet.agents("nightly").into_iter().find(|a| a["host"] == name && a["job"].is_object());
    let job = job.expect("a job on it");
    assert!(job["runUrl"].as_str().is_some_and(|url| url.contains("buildId=")), "{job}");
    // It is cut off while its jobs run: nobody may say that it is empty.
    fleet.lab("cut", name);
    fleet.within(60, "the coordinator misses it", || host(fleet, name)["state"] != "Ready");
    assert_eq!(host(fleet, name)["restraint"]["done"], Value::Null);
    fleet.lab("heal", name);
    let ended = waiting.join().expect("no panic").expect("it ended");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let shown = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}{shown}");
    assert!(said.contains(&format!("{name}: drained after")), "{said}");
    assert!(fleet.containers(name).is_empty(), "something of an agent runs on");
    fleet.within(60, "all twelve jobs have succeeded", || done(fleet) == before + 12);
    fleet.within(60, "the other server has them all", || {
        count(fleet, "nightly", |a| a["host"] == STR[1] && a["phase"] == "Idle") == 12
    });
    // A place is filled when another is free; beside them only the last registration of the pool.
    let most = fleet.summary()["pools"]["nightly"]["rowsMax"].clone();
    assert!(most.as_u64().is_some_and(|most| most <= 13), "{most} rows at once");
    let history = fleet.ok(&["events", "--host", name, "-n", "200"]);
    for part in ["Active → Draining: new disks", "host.drained"] {
        assert!(history.contains(part), "the history lacks {part}: {history}");
    }
    fleet.ok(&["uncordon", name]);
    // It takes agents again: idle ones come, a few at a time, until both have as many.
    fleet.within(180, "both servers have six", || {
        let idle =
            |host: &str| count(fleet, "nightly", |a| a["host"] == host && a["phase"] == "Idle");
        idle(name) == 6 && idle(STR[1]) == 6
    });
    let most = fleet.summary()["pools"]["nightly"]["rowsMax"].clone();
    assert!(most.as_u64().is_some_and(|most| most <= 13), "{most} rows at once");
    fleet.mark();
    fleet.all_is_well(&[("nightly", 12)]);
}

pub(crate) fn paused(fleet: &Fleet) {
    let before = (done(fleet), fleet.containers(SVC).len());
    fleet.azdo(&["queue", "--pool", "nightly-svc", "--count", "4", "--seconds", "15"]);
    fleet.within(30, "four are busy", || fleet.pool("nightly-svc")["busy"] == 4);
    let said =
        fleet.ok(&["pause", "--lab", "svc", "--reason", "switch firmware", "--timeout", "3m"]);
    assert!(said.contains("lab svc: paused, no job runs after"), "{said}");
    assert_eq!(done(fleet), before.0 + 4, "their jobs ran to their end");
    assert!(fleet.rows("nightly-svc").iter().all(|row| row["enabled"] == false));
    // What runs is kept, and gets nothing.
    fleet.azdo(&["queue", "--pool", "nightly-svc", "--count", "2", "--seconds", "1"]);
    let wide = fleet.ok(&["get", "agents", "--pool", "nightly-svc", "-o", "wide"]);
    assert!(wide.contains("paused by ") && wide.contains("switch firmware"), "{wide}");
    assert!(fleet.ok(&["status"]).contains("switch firmware"), "an operator is not told");
    let waits = fleet.ctl(&["scale", "nightly-svc", "11", "--timeout", "3s"]);
    assert!(waits.code == 2 && waits.err.contains("paused"), "{}", waits.err);
    assert_eq!(done(fleet), before.0 + 4, "a paused agent took a job");
    fleet.ok(&["resume", "--lab", "svc"]);
    fleet.scale("nightly-svc", 10);
    fleet.within(60, "the waiting jobs are done", || done(fleet) == before.0 + 6);
    fleet.within(30, "all wait for jobs", || fleet.pool("nightly-svc")["idle"] == 10);
    fleet.mark();
    fleet.all_is_well(&[("nightly-svc", 10)]);
}
