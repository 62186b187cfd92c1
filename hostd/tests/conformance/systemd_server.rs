//! The suite on a lab server: real systemd, real users, a machine that is compared before and after.
//!
//! The test boots a server and runs itself there, with [`ROLE`] set; what it prints there is its
//! report. A case that fails, or leaves anything on the machine, fails the test.

use std::{
    collections::BTreeMap,
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use futures_util::FutureExt;

use crate::{
    artifacts::{Artifacts, workspace},
    systemd::{self, Case, Units},
};

/// Says that this is the run on the server.
const ROLE: &str = "FLEET_TEST_ON_SERVER";
/// Part of the names of the cases to be run.
const ONLY: &str = "FLEET_TEST_ONLY";
/// Where things lie on the server.
pub(crate) const PLACE: &str = "/opt/fleet-test";

const SUITE: &[Case] = crate::suite::all_cases!(crate::suite::table => Units);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_under_systemd_and_the_machine_is_as_before() {
    if std::env::var_os(ROLE).is_some() {
        return on_the_server().await;
    }
    let lab = Lab::up();
    lab.bring("hostd", &Artifacts::program("hostd"));
    lab.bring("conformance", &std::env::current_exe().unwrap());
    let artifacts = Artifacts::get();
    for package in [&artifacts.tarball, &artifacts.update] {
        lab.bring_as_it_is(&package.file_name().unwrap().to_string_lossy(), package);
    }
    let status = lab
        .on_server()
        .args(["env", &format!("{ROLE}=1")])
        .arg(format!("{ONLY}={}", std::env::var(ONLY).unwrap_or_default()))
        .arg(format!("{PLACE}/conformance"))
        .args(["--exact", "--nocapture"])
        .arg("systemd_server::every_case_holds_under_systemd_and_the_machine_is_as_before")
        .status()
        .unwrap();
    assert!(status.success(), "see the report above");
}

async fn on_the_server() {
    let only = std::env::var(ONLY).unwrap_or_default();
    let all = SUITE
        .iter()
        .chain(crate::systemd_clean::CASES)
        .chain(crate::systemd_alone::CASES)
        .chain(crate::systemd_disk::CASES);
    let all: Vec<_> = all.filter(|(name, _)| name.contains(&only)).collect();
    assert!(!all.is_empty(), "no case has {only:?} in its name");
    let mut failed = Vec::new();
    for (name, case) in all {
        let (before, began) = (Machine::look(), Instant::now());
        let bench = systemd::bench().await;
        let went = AssertUnwindSafe(case(&bench)).catch_unwind().await.is_ok();
        let cleared = AssertUnwindSafe(bench.clear()).catch_unwind().await.is_ok();
        drop(bench);
        let left = before.differences(&Machine::look());
        let well = went && cleared && left.is_empty();
        let word = if well { "ok" } else { "FAILED" };
        println!("    {word:<7} {:>5.1} s  {name}", began.elapsed().as_secs_f64());
        left.iter().for_each(|line| println!("            left behind: {line}"));
        if !well {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed on the server: {failed:?}");
}

/// What an agent may leave on a machine.
struct Machine(BTreeMap<&'static str, String>);

impl Machine {
    fn look() -> Self {
        let commands = [
            (
                "users",
                "cat /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid",
            ),
            ("homes", "ls -A /home | grep -v '^.fleet-packages$'"),
            ("units", "systemctl list-units --all --plain --no-legend 'fleet-*' 'user-4*'"),
            (
                "unit files",
                "find /etc/systemd /run/systemd/system /run/systemd/transient -name 'fleet*'",
            ),
            ("groups of processes", "find /sys/fs/cgroup -type d -name '*fleet-agent*'"),
            (
                "processes",
                "ps -eo user:32,args | grep -E '^(az-|4000[0-9])|[A]gent[.]|[a]gent-run|[u]nit=fleet-agent'",
            ),
            ("mounts", "grep -E '/home|/opt/fleet' /proc/self/mountinfo"),
            ("loop devices", "losetup -a"),
            ("common places", "find /tmp /var/tmp /dev/shm -user '+40000' -o -name 'fleet-*'"),
            ("runs", "ls -A /run/fleet-test 2>/dev/null | grep -v '^.attended$'"),
        ];
        let said = |(name, script)| {
            let output = Command::new("sh").args(["-c", script]).output().unwrap();
            (name, String::from_utf8_lossy(&output.stdout).into_owned())
        };
        Self(commands.map(said).into())
    }

    fn differences(&self, now: &Self) -> Vec<String> {
        let without = |text: &str, other: &str, word: &str, name: &str| -> Vec<String> {
            let missing = text.lines().filter(|line| !other.lines().any(|l| l == *line));
            missing.map(|line| format!("{name}: {line:?} {word}")).collect()
        };
        let differs = |(name, text): (&&'static str, &String)| {
            let now = &now.0[name];
            [without(text, now, "was", name), without(now, text, "is", name)].concat()
        };
        self.0.iter().flat_map(differs).collect()
    }
}

/// One server, gone when this is dropped.
struct Lab {
    name: String,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("FLEET_LAB_KEEP").is_none() {
            let _ = self.script().args(["down", &self.name]).status();
        }
    }
}

impl Lab {
    fn up() -> Self {
        let lab = Self { name: format!("test-{}-units", std::process::id()) };
        let up = lab.script().args(["up", &lab.name, "--hosts", "bench:str"]).status().unwrap();
        assert!(up.success(), "the lab server did not come up");
        lab
    }

    fn script(&self) -> Command {
        Command::new(workspace().join("deploy/lab/lab.sh"))
    }

    fn on_server(&self) -> Command {
        let mut command = self.script();
        command.args(["exec", &self.name, "bench"]).stdin(Stdio::null());
        command
    }

    /// A program, without its symbols: they are most of it.
    fn bring(&self, name: &str, program: &Path) {
        let dir = tempfile::tempdir().unwrap();
        let small = dir.path().join(name);
        let status = Command::new("strip").arg("-o").args([&small, program]).status().unwrap();
        assert!(status.success(), "strip {}", program.display());
        self.bring_as_it_is(name, &small);
    }

    fn bring_as_it_is(&self, name: &str, file: &Path) {
        let place: PathBuf = Path::new(PLACE).join(name);
        let script = format!(
            "mkdir -p {PLACE} && cat >{place} && chmod 755 {place}",
            place = place.display()
        );
        let file = fs::File::open(file).unwrap();
        let copied = self.on_server().args(["sh", "-c", &script]).stdin(file).status().unwrap();
        assert!(copied.success(), "{name} was not brought to the server");
    }
}
