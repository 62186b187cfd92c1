//! The days themselves, in the order in which they come.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use crate::fleet::{Fleet, STR, SVC, run};

/// What every day but the last ones begins and ends with.
const USUAL: [(&str, u64); 2] = [("nightly-svc", 10), ("nightly", 12)];

pub(crate) fn main_job(fleet: &Fleet) {
    fleet.scale("nightly-svc", 10);
    fleet.scale("nightly", 12);
    let count = |pool: &str, host: &str| {
        fleet.agents(pool).iter().filter(|agent| agent["host"] == host).count()
    };
    assert_eq!(count("nightly-svc", SVC), 10);
    assert_eq!(STR.map(|host| count("nightly", host)), [6, 6]);
    for key in ["name", "pool", "host", "lab", "slot", "runtime", "phase", "since"] {
        assert!(!fleet.agents("nightly")[0][key].is_null(), "an agent has no {key}");
    }
    fleet.all_is_well(&USUAL);
}

pub(crate) fn jobs(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    fleet.azdo(&["queue", "--pool", "nightly-svc", "--count", "4", "--seconds", "6"]);
    fleet.within(30, "four agents are busy", || fleet.pool("nightly-svc")["busy"] == 4);
    fleet.within(60, "four jobs have succeeded", || fleet.summary()["jobs"]["succeeded"] == 4);
    fleet.all_is_well(&USUAL);
    let same = fleet.containers(SVC).iter().filter(|name| before.contains(name)).count();
    assert_eq!(same, 6, "each of the four jobs ends its container, and no other one ends");
}

pub(crate) fn bad_input(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    fleet.refused(&["scale", "nigthly-svc", "3"], 1, "nightly-svc");
    fleet.refused(&["scale", "nightly-svc", "-3"], 1, "-3");
    fleet.refused(&["scale", "nightly-svc", "99999999"], 1, "99999999");
    fleet.refused(&["--endpoint", "127.0.0.1:1", "status"], 5, "127.0.0.1:1");
    reused_token(fleet);
    foreign_credential(fleet);
    broken_config(fleet);
    fleet.untouched(SVC, &before);
    fleet.all_is_well(&USUAL);
}

/// A line that was pasted once does not work again, nor for another server.
fn reused_token(fleet: &Fleet) {
    let line = fleet.ok(&["host", "invite", "spare-1", "--lab", "svc", "--quiet"]);
    let other = line.replace("spare-1", "spare-2");
    let paste = |line: &str| {
        let line = line.trim().replace("hostd join", "hostd join --data /tmp/spare");
        let script = format!("rm -rf /tmp/spare; {line}");
        fleet.on(SVC, &["bash", "-c", &script])
    };
    let foreign = paste(&other);
    assert_ne!(foreign.code, 0, "a token for spare-1 let spare-2 in");
    let first = paste(&line);
    assert_eq!(first.code, 0, "{}", first.err);
    let again = paste(&line);
    assert_ne!(again.code, 0, "a token worked twice");
    assert!(again.err.contains("used") || again.err.contains("invite"), "{}", again.err);
    fleet.ok(&["host", "remove", "spare-1", "--force"]);
    fleet.on(SVC, &["rm", "-rf", "/tmp/spare"]);
}

/// A credential of another authority is refused, and the error says so.
fn foreign_credential(fleet: &Fleet) {
    let dir = "/tmp/foreign";
    let made = fleet.on(
        "control",
        &[
            "coordinator",
            "init",
            "--data",
            dir,
            "--name",
            "foreign",
            "--san",
            "127.0.0.1",
            "--operator-out",
            "/tmp/foreign.toml",
        ],
    );
    assert_eq!(made.code, 0, "{}", made.err);
    let foreign = fleet.on("control", &["cat", "/tmp/foreign.toml"]).out;
    fleet.on("control", &["rm", "-rf", dir, "/tmp/foreign.toml"]);
    let path = fleet.credential().with_file_name("foreign.toml");
    fs::write(&path, foreign).expect("the test's own directory");
    run(Command::new("chmod").arg("600").arg(&path));
    fleet.refused(&["--config", &path.display().to_string(), "status"], 4, "certificate");
}

fn broken_config(fleet: &Fleet) {
    let script = "printf 'data = \"/tmp/x\"\\nimge = 3\\n' >/tmp/broken.toml; \
                  hostd check --config /tmp/broken.toml";
    let ran = fleet.on(SVC, &["bash", "-c", script]);
    assert_ne!(ran.code, 0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("imge") && said.contains("broken.toml"), "{said}");
}

pub(crate) fn missing_image(fleet: &Fleet) {
    fleet.create_pool("no-image", "lab=bjw", "registry.invalid:443/no/such:1");
    fleet.ok(&["scale", "no-image", "3", "--detach"]);
    fleet.within(30, "the pool says that its image is missing", || {
        let troubles = fleet.pool("no-image")["troubles"].to_string();
        troubles.contains("registry.invalid") && troubles.contains("bjw-ca-serv-5")
    });
    fleet.ok(&["pool", "delete", "no-image", "--timeout", "1m"]);
    let pools = fleet.ok(&["get", "pools", "-o", "name"]);
    assert!(!pools.contains("no-image"), "{pools}");
}

pub(crate) fn coordinator_killed(fleet: &Fleet) {
    fleet.mark();
    let before = fleet.containers(SVC);
    fleet.ok(&["scale", "nightly-svc", "18", "--detach"]);
    let killed = fleet.on("control", &["systemctl", "kill", "--signal", "KILL", "coordinator"]);
    assert_eq!(killed.code, 0, "{}", killed.err);
    fleet.within(30, "the coordinator answers again", || fleet.ctl(&["status"]).code == 0);
    fleet.within(30, "the pool has what it was scaled to", || {
        fleet.pool("nightly-svc")["ready"] == 18
    });
    fleet.all_is_well(&[("nightly-svc", 18), ("nightly", 12)]);
    let after = fleet.containers(SVC);
    assert!(before.iter().all(|name| after.contains(name)), "an agent was restarted");
}

pub(crate) fn hostd_killed(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    let pid = |text: String| text.trim().to_owned();
    let main = ["systemctl", "show", "-P", "MainPID", "hostd"];
    let old = pid(fleet.on(SVC, &main).out);
    fleet.on(SVC, &["systemctl", "kill", "--signal", "KILL", "hostd"]);
    fleet.within(20, "hostd runs again", || {
        let new = pid(fleet.on(SVC, &main).out);
        new != "0" && new != old
    });
    fleet.all_is_well(&[("nightly-svc", 18), ("nightly", 12)]);
    fleet.untouched(SVC, &before);
}

pub(crate) fn engine_restarted(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    let ran = fleet.on(SVC, &["systemctl", "restart", "docker"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    fleet.all_is_well(&[("nightly-svc", 18), ("nightly", 12)]);
    fleet.untouched(SVC, &before);
}

pub(crate) fn azure_trouble(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    let path = "/_apis/distributedtask/pools";
    let faults: [&[&str]; 4] = [
        &["--status", "401"],
        &["--status", "429", "--retry-after-s", "5"],
        &["--status", "503"],
        &["--drop", "before"],
    ];
    for fault in faults {
        // The fleet's own calls; listeners have sessions of their own kind.
        let set = ["fault", "set", "--method", "GET", "--path", path];
        fleet.azdo(&[&set, fault].concat());
        fleet.within(40, &format!("Azure's trouble {fault:?} is shown"), || {
            let pool = fleet.pool("nightly-svc");
            pool["troubles"].as_array().is_some_and(|troubles| !troubles.is_empty())
        });
        fleet.untouched(SVC, &before);
        fleet.azdo(&["fault", "clear"]);
        fleet.within(60, "the trouble is over", || {
            let pool = fleet.pool("nightly-svc");
            pool["troubles"].as_array().is_some_and(Vec::is_empty)
        });
        fleet.all_is_well(&[("nightly-svc", 18), ("nightly", 12)]);
    }
    fleet.untouched(SVC, &before);
}

pub(crate) fn scale_down(fleet: &Fleet) {
    fleet.azdo(&["queue", "--pool", "nightly-svc", "--count", "12", "--seconds", "25"]);
    fleet.within(30, "twelve agents are busy", || fleet.pool("nightly-svc")["busy"] == 12);
    let done = fleet.summary()["jobs"]["succeeded"].as_u64().unwrap_or(0);
    fleet.scale("nightly-svc", 10);
    fleet.within(90, "all twelve jobs have succeeded", || {
        fleet.summary()["jobs"]["succeeded"].as_u64() == Some(done + 12)
    });
    fleet.mark();
    fleet.all_is_well(&USUAL);
    assert_eq!(fleet.rows("nightly-svc").len(), 10);
}

pub(crate) fn cut_off(fleet: &Fleet) {
    let host = STR[0];
    let before = fleet.containers(host);
    fleet.lab("cut", host);
    let state = |wanted: &str| {
        let hosts = fleet.ok(&["get", "hosts", host, "-o", "json"]);
        hosts.contains(&format!("\"state\": \"{wanted}\""))
            || hosts.contains(&format!("\"state\":\"{wanted}\""))
    };
    let minute = Instant::now() + Duration::from_secs(60);
    fleet.within(90, "the host is Down, and the minute over", || {
        fleet.untouched(host, &before);
        state("Down") && Instant::now() > minute
    });
    fleet.lab("heal", host);
    fleet.within(40, "the host is Ready again", || state("Ready"));
    // Listeners come back by themselves within their own back-off, up to half a minute.
    fleet.within(60, "its agents are online", || fleet.online("nightly") == 12);
    fleet.all_is_well(&USUAL);
    fleet.untouched(host, &before);
}

pub(crate) fn to_none_and_back(fleet: &Fleet) {
    fleet.scale("nightly-svc", 0);
    assert_eq!(fleet.online("nightly-svc"), 0);
    let rows = fleet.rows("nightly-svc");
    assert_eq!(rows.len(), 1, "one registration stays: {rows:?}");
    assert_eq!((&rows[0]["enabled"], &rows[0]["online"]), (&true.into(), &false.into()));
    let name = rows[0]["name"].clone();
    // With none at all the job would fail at once; so it waits.
    fleet.azdo(&["queue", "--pool", "nightly-svc", "--count", "1", "--seconds", "2"]);
    let failed = fleet.summary()["jobs"]["failed"].clone();
    assert_eq!(failed, 0);
    fleet.mark();
    // Jobs are counted from the mark on.
    let done = fleet.summary()["jobs"]["succeeded"].as_u64().unwrap_or(0);
    fleet.scale("nightly-svc", 10);
    assert!(
        fleet.rows("nightly-svc").iter().any(|row| row["name"] == name),
        "its slot is used again"
    );
    fleet.within(60, "the job that waited has run", || {
        fleet.summary()["jobs"]["succeeded"].as_u64() == Some(done + 1)
    });
    fleet.all_is_well(&USUAL);
}

pub(crate) fn old_store(fleet: &Fleet) {
    let before = fleet.containers(SVC);
    let control = |script: &str| {
        let ran = fleet.on("control", &["bash", "-ec", script]);
        assert_eq!(ran.code, 0, "{script}\n{}\n{}", ran.out, ran.err);
    };
    let data = "/var/lib/coordinator";
    control(&format!(
        "systemctl stop coordinator; rm -rf /tmp/old; cp -a {data} /tmp/old; systemctl start coordinator"
    ));
    fleet.within(30, "the coordinator answers", || fleet.ctl(&["status"]).code == 0);
    fleet.scale("nightly", 14);
    control(&format!(
        "systemctl stop coordinator; find {data} -mindepth 1 -delete; cp -a /tmp/old/. {data}; systemctl start coordinator"
    ));
    fleet.within(30, "it says that it gives no orders", || {
        fleet.ctl(&["status"]).out.contains("READ-ONLY")
    });
    fleet.refused(&["scale", "nightly", "3"], 1, "recover");
    fleet.untouched(SVC, &before);
    assert_eq!(fleet.online("nightly"), 14, "an old store drained somebody");
    control(&format!(
        "systemctl stop coordinator; runuser -u coordinator -- coordinator recover --data {data}; systemctl start coordinator"
    ));
    fleet.within(60, "it gives orders again", || {
        fleet.ctl(&["status"]).code == 0 && !fleet.ctl(&["status"]).out.contains("READ-ONLY")
    });
    fleet.scale("nightly", 12);
    fleet.mark();
    fleet.all_is_well(&USUAL);
    fleet.untouched(SVC, &before);
}

pub(crate) fn power_cut(fleet: &Fleet) {
    let host = STR[1];
    fleet.lab("kill-power", host);
    fleet.lab("reboot", host);
    // Azure holds the dead sessions for minutes; the fleet sees that no job is on them and
    // registers anew at once.
    fleet.within(90, "its agents are back", || {
        let pool = fleet.pool("nightly");
        pool["ready"] == 12 && pool["leaving"] == 0
    });
    fleet.within(20, "twelve are online", || fleet.online("nightly") == 12);
    assert!(fleet.pat().exists());
}
