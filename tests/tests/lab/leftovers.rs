//! A day of rows without agents, and of agents without rows.

use serde_json::{Value, json};

use crate::{
    fleet::{BJW, Fleet, TK5},
    units::{BESIDE, POOL, succeeded},
};

const FOREIGN: &str = "build-7";

fn row(fleet: &Fleet, name: &str) -> Option<Value> {
    fleet.rows(POOL).into_iter().find(|row| row["name"] == name)
}

/// As its agent would have made it.
fn plant(fleet: &Fleet, name: &str, owner: Option<String>) {
    let mark = owner.map(|owner| json!({ "FLEET_OWNER": owner })).unwrap_or(json!({}));
    let agent = json!({ "name": name, "enabled": true, "systemCapabilities": mark });
    fleet.azure("POST", POOL, "", &agent);
}

fn setting(fleet: &Fleet, line: &str) {
    let file = "/etc/coordinator/conf.d/90-leftovers.toml";
    let write = format!("install -d /etc/coordinator/conf.d && echo '{line}' > {file}");
    let ran =
        fleet.on("control", &["bash", "-c", &format!("{write} && systemctl restart coordinator")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    fleet.within(60, "all hosts are back", || {
        let hosts = fleet.json(&["get", "hosts"]);
        hosts["hosts"].as_array().is_some_and(|all| all.iter().all(|host| host["state"] == "Ready"))
    });
}

pub(crate) fn both_ways(fleet: &Fleet) {
    // A day is too long for a day in the lab.
    setting(fleet, "leftover_age = \"1s\"");
    let name = fleet.json(&["status"])["fleet"].as_str().expect("its name").to_owned();
    let ours = format!("{POOL}-{TK5}-77");
    plant(fleet, &ours, Some(format!("{name}/{TK5}/77")));
    let elsewhere = format!("{POOL}-old-01");
    plant(fleet, &elsewhere, Some(format!("{name}/old/1")));
    plant(fleet, FOREIGN, None);
    // One that is called like a run of ours, and is not.
    let alike = format!("{POOL}-{BJW}-77-1");
    let begin =
        ["docker", "run", "-d", "--name", &alike, "--entrypoint", "sleep", "fleet-agent:demo"];
    let ran = fleet.on(BJW, &[&begin[..], &["900"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let judged = |args: &[&str]| -> Vec<(String, String)> {
        let found = fleet.json(args);
        let all = found["leftovers"].as_array().cloned().unwrap_or_default();
        let word = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
        all.iter().map(|found| (word(found, "agent"), word(found, "verdict"))).collect()
    };
    let of_ours = |verdict: &str| (ours.clone(), verdict.to_owned());
    let kept = (elsewhere.clone(), "keep".to_owned());
    fleet.within(30, "it is old enough", || {
        judged(&["janitor", POOL, "--dry-run"]).contains(&of_ours("delete"))
    });
    assert_eq!(judged(&["janitor", POOL, "--dry-run"]), [of_ours("delete"), kept]);
    assert_eq!(row(fleet, &ours).expect("a dry run does nothing")["enabled"], true);

    // In earnest, while jobs run; and the coordinator is killed in the middle of it.
    let done = succeeded(fleet);
    fleet.azdo(&["queue", "--pool", "nightly-tk5", "--count", "6", "--seconds", "20"]);
    fleet.within(30, "all are busy", || fleet.pool(POOL)["busy"] == 6);
    fleet.ok(&["janitor", POOL]);
    fleet.within(30, "it is to get no job", || {
        row(fleet, &ours).is_some_and(|row| row["enabled"] == false)
    });
    fleet.on("control", &["systemctl", "kill", "--signal", "KILL", "coordinator"]);
    fleet.within(120, "it is gone", || row(fleet, &ours).is_none());
    fleet.within(60, "the jobs have succeeded", || succeeded(fleet) == done + 6);
    assert!(row(fleet, FOREIGN).is_some() && row(fleet, &elsewhere).is_some());

    // The other way round: somebody deletes the rows of a container's and of a unit's agent.
    for runtime in ["docker", "systemd"] {
        let agents = fleet.agents(POOL);
        let agent = agents.iter().find(|agent| agent["runtime"] == runtime).expect("one");
        let (name, old) = (agent["name"].as_str().expect("a name"), agent["agentId"].clone());
        fleet.azure("DELETE", POOL, &format!("/{old}"), &json!({}));
        fleet.within(120, "it is there again under a new row", || {
            row(fleet, name).is_some_and(|row| row["online"] == true && row["id"] != old)
        });
    }
    for name in [FOREIGN, &elsewhere] {
        let id = row(fleet, name).expect("nobody touched it")["id"].clone();
        fleet.azure("DELETE", POOL, &format!("/{id}"), &json!({}));
    }
    let look = ["docker", "inspect", "-f", "{{.State.Running}}", &alike];
    assert_eq!(fleet.on(BJW, &look).out.trim(), "true", "a foreign container was touched");
    fleet.on(BJW, &["docker", "rm", "-f", &alike]);
    setting(fleet, "");
    fleet.mark();
    fleet.all_is_well(&BESIDE);
}
