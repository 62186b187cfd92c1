//! A fleet in a lab of this test's own, and how to look at it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const SVC: &str = "svcstr-server-2";
pub(crate) const BJW: &str = "bjw-ca-serv-5";
pub(crate) const TK5: &str = "strtk5-serv-02";
pub(crate) const STR: [&str; 2] = ["str-acs-serv-15", "str-acs-serv-65"];

/// Brought up once; taken down when dropped, unless something failed and it is to be kept.
pub(crate) struct Fleet {
    name: String,
    dir: PathBuf,
    sim: String,
    endpoint: String,
    well: std::cell::Cell<bool>,
}

/// A run of a program: exit code and output.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

impl Fleet {
    pub(crate) fn up() -> Self {
        let name = format!("test-{}", std::process::id());
        let dir = target().join(format!("lab-{name}"));
        let mut fleet = Self {
            name,
            dir,
            sim: String::new(),
            endpoint: String::new(),
            well: std::cell::Cell::new(false),
        };
        let dir = fleet.dir.display().to_string();
        let up = fleet.script("fleet.sh", &["up", &fleet.name, &dir]);
        assert_eq!(up.code, 0, "the lab did not come up:\n{}\n{}", up.out, up.err);
        println!("{}", up.out);
        fleet.find_ports();
        let pools = [("nightly-svc", "lab=svc"), ("nightly", "lab in (str,str3)")];
        for (pool, selector) in pools {
            fleet.create_pool(pool, selector, "fleet-agent:demo");
        }
        fleet
    }

    pub(crate) fn create_pool(&self, pool: &str, selector: &str, image: &str) {
        let pat = self.dir.join("pat").display().to_string();
        let url = "http://control:8080/fabrikam";
        self.ok(&[
            "pool",
            "create",
            pool,
            "--azure-url",
            url,
            "--azure-pool",
            &azure_pool(pool),
            "--selector",
            selector,
            "--image",
            image,
            "--mode",
            "once",
            "--pat-file",
            &pat,
            "--settle",
            "3s",
        ]);
    }

    /// The engine gives a restarted server new ports on loopback.
    pub(crate) fn find_ports(&mut self) {
        let port = |inner: &str| {
            let said = self.script("lab.sh", &["port", &self.name, inner]);
            assert_eq!(said.code, 0, "{}", said.err);
            said.out.trim().to_owned()
        };
        let (endpoint, sim) = (port("7443"), port("8080"));
        self.endpoint = endpoint;
        self.sim = format!("http://{sim}");
    }

    fn script(&self, script: &str, args: &[&str]) -> Ran {
        run(Command::new(root().join("deploy/lab").join(script)).args(args))
    }

    /// agentctl with the fleet's credential.
    pub(crate) fn ctl(&self, args: &[&str]) -> Ran {
        run(&mut self.agentctl(args))
    }

    /// The same, to be run by the caller.
    pub(crate) fn agentctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(target().join("debug/agentctl"));
        command.env("AGENTCTL_CONFIG", self.dir.join("agentctl.toml"));
        command.env("AGENTCTL_ENDPOINT", &self.endpoint).args(args);
        command
    }

    /// agentctl, which must end with 0.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.ctl(args);
        assert_eq!(ran.code, 0, "agentctl {args:?}:\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    /// agentctl, which must fail with `code` and say `part`.
    pub(crate) fn refused(&self, args: &[&str], code: i32, part: &str) {
        let ran = self.ctl(args);
        assert_eq!(ran.code, code, "agentctl {args:?}:\n{}\n{}", ran.out, ran.err);
        assert!(ran.err.contains(part), "agentctl {args:?} should say {part:?}:\n{}", ran.err);
        assert!(ran.err.contains("next:"), "agentctl {args:?} names no next step:\n{}", ran.err);
    }

    pub(crate) fn scale(&self, pool: &str, replicas: u32) {
        self.ok(&["scale", pool, &replicas.to_string(), "--timeout", "3m"]);
    }

    /// A command on a server.
    pub(crate) fn on(&self, host: &str, args: &[&str]) -> Ran {
        let all = [&["exec", &self.name, host], args].concat();
        self.script("lab.sh", &all)
    }

    pub(crate) fn lab(&self, verb: &str, host: &str) {
        let ran = self.script("lab.sh", &[verb, &self.name, host]);
        assert_eq!(ran.code, 0, "lab.sh {verb} {host}:\n{}\n{}", ran.out, ran.err);
    }

    /// The simulator's own command.
    pub(crate) fn azdo(&self, args: &[&str]) -> String {
        let mut command = Command::new(target().join("debug/azdo-sim"));
        let ran = run(command.env("AZDO_SIM", &self.sim).args(args));
        assert_eq!(ran.code, 0, "azdo-sim {args:?}:\n{}\n{}", ran.out, ran.err);
        ran.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("agentctl {args:?}: {e}\n{text}"))
    }

    pub(crate) fn pool(&self, pool: &str) -> Value {
        self.json(&["get", "pools", pool])["pools"][0].clone()
    }

    pub(crate) fn agents(&self, pool: &str) -> Vec<Value> {
        self.json(&["get", "agents", "--pool", pool])["agents"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// Rows of a pool at Azure.
    pub(crate) fn rows(&self, pool: &str) -> Vec<Value> {
        let text = self.azdo(&["rows", "--pool", &azure_pool(pool), "--json"]);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        value.as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn online(&self, pool: &str) -> usize {
        self.rows(pool).iter().filter(|row| row["online"] == true).count()
    }

    pub(crate) fn summary(&self) -> Value {
        let text = self.azdo(&["journal", "--summary", "--json"]);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Names of the agents' containers that run on a server: they tell whether one was restarted.
    pub(crate) fn containers(&self, host: &str) -> Vec<String> {
        let format = "{{.Names}} {{.ID}}";
        let ran = self.on(
            host,
            &["docker", "ps", "--filter", "label=fleet.managed=true", "--format", format],
        );
        assert_eq!(ran.code, 0, "{}", ran.err);
        let mut names: Vec<String> = ran.out.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Waits until `what` holds, at most `secs`.
    pub(crate) fn within(&self, secs: u64, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(secs);
        while !holds() {
            if Instant::now() > end {
                panic!("not within {secs} s: {what}");
            }
            thread::sleep(Duration::from_millis(250));
        }
    }

    /// Counts are right within ten seconds, and nothing was lost on the way there.
    pub(crate) fn all_is_well(&self, wanted: &[(&str, u64)]) {
        for (pool, count) in wanted {
            self.within(10, &format!("{pool} has {count} agents, all of them online"), || {
                let seen = self.pool(pool);
                let as_wanted = ["desired", "ready"].iter().all(|key| seen[*key] == *count);
                let none = ["starting", "failed", "leaving"].iter().all(|key| seen[*key] == 0);
                as_wanted && none && self.online(pool) as u64 == *count
            });
        }
        let summary = self.summary();
        for lost in ["cancelled", "abandoned"] {
            assert_eq!(summary["jobs"][lost], 0, "{lost} jobs: {summary}");
        }
        assert_eq!(summary["sessionConflicts"], 0, "{summary}");
        assert_eq!(summary["deletesOfBusy"], 0, "{summary}");
        for (pool, count) in wanted {
            let most = summary["pools"][azure_pool(pool)]["rowsMax"].as_u64().unwrap_or(u64::MAX);
            assert!(
                most <= (*count).max(1),
                "{pool}: {most} rows at most, wanted {count}: {summary}"
            );
        }
    }

    /// One call to Azure, as somebody with the pool's token makes it; `path` is below the agents of the
    /// pool's Azure pool.
    pub(crate) fn azure(&self, method: &str, pool: &str, path: &str, body: &Value) -> Value {
        let pat = std::fs::read_to_string(self.pat()).expect("the token");
        let pools = format!("{}/fabrikam/_apis/distributedtask/pools", self.sim);
        let call = |method: &str, url: &str, body: &str| {
            let dir = self.dir.join("curl");
            // Not on the command line: it holds the token.
            let options = format!("user = \":{}\"\nurl = \"{url}\"\n", pat.trim());
            std::fs::write(&dir, options).expect("written");
            let ran = run(Command::new("curl")
                .args(["-fsS", "-X", method, "-H", "Content-Type: application/json", "-d", body])
                .arg("-K")
                .arg(&dir));
            std::fs::remove_file(&dir).expect("removed");
            assert_eq!(ran.code, 0, "{method} {url}: {}", ran.err);
            serde_json::from_str::<Value>(&ran.out).unwrap_or_default()
        };
        let named = format!("{pools}?poolName={}&api-version=7.1", azure_pool(pool));
        let id = call("GET", &named, "")["value"][0]["id"].clone();
        let url = format!("{pools}/{id}/agents{path}?api-version=7.1");
        call(method, &url, &body.to_string())
    }

    /// From here on the journal's maxima count anew.
    pub(crate) fn mark(&self) {
        let ran = run(Command::new("curl")
            .args(["-fsS", "-X", "POST"])
            .arg(format!("{}/_sim/journal/mark", self.sim)));
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    /// A server's agents were left alone: the same containers as `before`.
    pub(crate) fn untouched(&self, host: &str, before: &[String]) {
        assert_eq!(self.containers(host), before, "agents of {host} were touched");
    }

    pub(crate) fn pat(&self) -> PathBuf {
        self.dir.join("pat")
    }

    pub(crate) fn credential(&self) -> PathBuf {
        self.dir.join("agentctl.toml")
    }

    pub(crate) fn well(&self) {
        self.well.set(true);
    }

    /// What is there, for the one who reads a failure.
    fn tell(&self) {
        println!("{}", self.ctl(&["status"]).out);
        println!("{}", self.ctl(&["get", "agents", "-o", "wide"]).out);
        println!("{}", self.ctl(&["events", "-n", "40"]).out);
        for host in [STR[0], STR[1], SVC, BJW, TK5, "control"] {
            let units =
                ["journalctl", "-u", "hostd", "-u", "coordinator", "-n", "25", "--no-pager"];
            println!("{host}:\n{}", self.on(host, &units).out);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !self.well.get() && !self.endpoint.is_empty() {
            self.tell();
        }
        if !self.well.get() && std::env::var_os("FLEET_LAB_KEEP").is_some() {
            println!("the lab {} is left up: deploy/lab/lab.sh status {0}", self.name);
            return;
        }
        let dir = self.dir.display().to_string();
        let down = self.script("fleet.sh", &["down", &self.name, &dir]);
        if down.code != 0 {
            println!("the lab {} was not taken down:\n{}\n{}", self.name, down.out, down.err);
        }
    }
}

/// Pools of the lab that are not in the simulator from the start use an Azure pool that is.
pub(crate) fn azure_pool(pool: &str) -> String {
    match pool {
        "no-image" => "nightly-bjw".into(),
        "mixed" | "small" => "nightly-tk5".into(),
        other => other.into(),
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}
