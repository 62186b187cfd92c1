//! Days of single agents, in a container and as a unit.

use serde_json::Value;

use crate::{
    fleet::{BJW, Fleet, TK5},
    units::{BESIDE, POOL, succeeded},
};

/// The first agent of the pool that is kept so.
fn one(fleet: &Fleet, runtime: &str) -> Value {
    let mut agents = fleet.agents(POOL).into_iter();
    agents.find(|agent| agent["runtime"] == runtime).expect("an agent")
}

fn named(fleet: &Fleet, name: &str) -> Option<Value> {
    fleet.agents(POOL).into_iter().find(|agent| agent["name"] == name)
}

fn name(agent: &Value) -> String {
    agent["name"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn orders(fleet: &Fleet) {
    let (container, unit) = (one(fleet, "docker"), one(fleet, "systemd"));
    let (done, row) = (succeeded(fleet), container["agentId"].clone());
    fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "8"]);
    fleet.within(30, "all are busy", || fleet.pool(POOL)["busy"] == 6);
    // Busy both of them: their jobs are finished first.
    fleet.ok(&["agent", "quarantine", &name(&unit), "--reason", "odd", "--timeout", "3m"]);
    fleet.ok(&["agent", "restart", &name(&container), "--reason", "odd", "--timeout", "3m"]);
    fleet.within(60, "the jobs have succeeded", || succeeded(fleet) == done + 6);
    let restarted = named(fleet, &name(&container)).expect("there");
    assert!(restarted["attempt"].as_u64() > container["attempt"].as_u64(), "{restarted}");
    assert_eq!(restarted["agentId"], row, "the same row");
    fleet.within(60, "another unit has the place", || fleet.pool(POOL)["ready"] == 6);
    let aside = named(fleet, &name(&unit)).expect("there");
    assert_eq!(aside["phase"], "Quarantined");
    assert_eq!(aside["quarantine"]["by"], "admin", "{aside}");
    evidence(fleet, TK5, &aside);
    let row = fleet.rows(POOL).into_iter().find(|row| row["name"] == aside["name"]);
    assert_eq!(row.expect("its row")["enabled"], false);
    fleet.refused(&["agent", "restart", &name(&unit)], 1, "release it first");
    fleet.ok(&["agent", "release", &name(&unit)]);
    let history = fleet.ok(&["events", "-n", "300"]);
    for kind in ["agent.restart", "agent.quarantine", "agent.release"] {
        assert!(history.contains(kind), "{kind} is not in the history");
    }
    fleet.within(90, "six agents and six rows", || {
        fleet.agents(POOL).len() == 6 && fleet.rows(POOL).len() == 6
    });
    fleet.mark();
    fleet.all_is_well(&BESIDE);
}

/// Its container dies again and again, soon after it is online.
pub(crate) fn failing(fleet: &Fleet) {
    let agent = name(&one(fleet, "docker"));
    let phase = || named(fleet, &agent).map(|agent| agent["phase"].clone()).unwrap_or_default();
    let kill = format!("docker kill $(docker ps -q --filter name={agent}-)");
    for _ in 0..5 {
        fleet.within(120, "it is online, or kept aside", || {
            ["Idle", "Quarantined"].iter().any(|word| phase() == *word)
        });
        if phase() == "Idle" {
            fleet.on(BJW, &["bash", "-c", &kill]);
            fleet.within(30, "its end is seen", || phase() != "Idle");
        }
    }
    fleet.within(60, "it is kept aside", || phase() == "Quarantined");
    let aside = named(fleet, &agent).expect("there");
    assert_eq!(aside["quarantine"]["by"], Value::Null, "by itself: {aside}");
    evidence(fleet, BJW, &aside);
    fleet.within(60, "another one has its place", || fleet.pool(POOL)["ready"] == 6);
    assert!(fleet.ok(&["status"]).contains("1 agent in quarantine"));
    fleet.ok(&["agent", "release", &agent]);
    fleet.within(90, "six agents and six rows", || {
        fleet.agents(POOL).len() == 6 && fleet.rows(POOL).len() == 6
    });
    fleet.mark();
    fleet.all_is_well(&BESIDE);
}

/// What is kept of it says something, to root alone.
fn evidence(fleet: &Fleet, host: &str, aside: &Value) {
    let place = aside["quarantine"]["evidence"].as_str().unwrap_or_default();
    let look = format!("cd {place} && stat -c %a:%U . log.txt && test -s log.txt && ls");
    let seen = fleet.on(host, &["bash", "-c", &look]);
    assert_eq!(seen.code, 0, "{place:?}: {}", seen.err);
    assert!(seen.out.starts_with("700:root\n600:root\n"), "{}", seen.out);
}
