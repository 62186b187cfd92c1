//! Reading the logs of agents, in a container and under a unit.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::fleet::{Fleet, SVC, TK5};

pub(crate) fn read(fleet: &Fleet) {
    for (pool, azure, host) in [("nightly-svc", "nightly-svc", SVC), ("mixed", "nightly-tk5", TK5)]
    {
        let agents = fleet.agents(pool);
        let agent = agents.iter().find(|agent| agent["host"] == host).expect("one on that host");
        let agent = agent["name"].as_str().expect("a name");
        let log = fleet.ok(&["logs", agent, "--tail", "all"]);
        assert!(log.contains("Listening for Jobs"), "{agent}: {log}");
        let newest = fleet.ok(&["logs", agent, "--tail", "1", "--timestamps"]);
        assert_eq!(newest.lines().count(), 1, "{newest}");
        follow(fleet, agent, host, pool, azure);
    }
    fleet.refused(&["logs", "nightly-svc-nowhere-01"], 1, "there is no agent");
}

/// Stopped also when the day fails.
struct Reading(Child);

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A job's line is told when it happens, and what follows in the agent's next run as well; also when
/// its hostd is killed meanwhile.
fn follow(fleet: &Fleet, agent: &str, host: &str, pool: &str, azure: &str) {
    let mut command = fleet.agentctl(&["logs", agent, "--follow", "--tail", "1"]);
    let mut reading = Reading(command.stdout(Stdio::piped()).spawn().expect("agentctl runs"));
    let output = reading.0.stdout.take().expect("its output");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let until = |words: &str| loop {
        let line = told.recv_timeout(Duration::from_secs(60));
        let line = line.unwrap_or_else(|_| panic!("{words:?} did not come from {agent}"));
        if line.contains(words) {
            break;
        }
    };
    // With the newest line it is being followed.
    until("");
    let count = fleet.agents(pool).len().to_string();
    // One for each: Azure chooses who gets which.
    let queue = ["queue", "--pool", azure, "--count", &count, "--seconds", "2"];
    fleet.azdo(&queue);
    ["Running job: ", "--- run ", "Listening for Jobs"].into_iter().for_each(until);
    fleet.on(host, &["systemctl", "kill", "--signal", "KILL", "hostd"]);
    fleet.azdo(&queue);
    ["Running job: ", "Listening for Jobs"].into_iter().for_each(until);
    assert!(reading.0.try_wait().expect("looked at").is_none(), "it goes on until it is stopped");
    drop(reading);
    fleet.within(60, "all agents wait for jobs again", || {
        let pool = fleet.pool(pool);
        pool["busy"] == 0 && pool["ready"] == count.parse::<u64>().unwrap_or(0)
    });
}
