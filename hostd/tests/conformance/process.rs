//! Agents as processes, with the stub agent against the simulator.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_model::{AzureTarget, Mode, RuntimeKind};
use hostd::runtime::{
    RunId, RunSpec, Runtime,
    process::{ProcessRuntime, ProcessSettings},
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    artifacts::Artifacts,
    azure::Azure,
    bench::{self, Bench, bare_template},
    watching::{LIMIT, Watching},
};

struct Processes {
    runtime: Arc<ProcessRuntime>,
    azure: Azure,
    host: String,
    dir: TempDir,
}

async fn bench() -> Processes {
    let artifacts = Artifacts::get();
    let dir = TempDir::with_prefix("fleet-test-").unwrap();
    let settings =
        ProcessSettings { package: artifacts.package.clone(), runs_dir: dir.path().join("runs") };
    Processes {
        runtime: Arc::new(ProcessRuntime::new(settings)),
        azure: Azure::start(&artifacts.update).await,
        host: bench::unique_host(),
        dir,
    }
}

#[async_trait]
impl Bench for Processes {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn again(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn spec(&self, number: u16, mode: Mode) -> RunSpec {
        let template = bare_template(RuntimeKind::Process);
        let slots = self.dir.path().join("slots");
        bench::spec(&self.host, number, self.azure.target(), template, mode, &slots)
    }

    async fn give_job(&self, run: &RunId, length: Duration) {
        self.azure.give_job(run, length);
    }

    async fn is_online(&self, run: &RunId, expected: bool) {
        self.azure.is_online(run, expected).await;
    }

    fn registrations(&self, run: &RunId) -> usize {
        self.azure.registrations(run)
    }

    async fn update(&self, run: &RunId) {
        self.azure.update(run);
    }

    fn agent_file(&self, spec: &RunSpec) -> Option<String> {
        let root = spec.slot_dir.join(format!("root-{}", spec.run.attempt));
        Some(std::fs::read_to_string(root.join(".agent")).unwrap())
    }
}

crate::suite::conformance!(bench());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_package_is_said_before_anything_is_made() {
    let dir = TempDir::with_prefix("fleet-test-").unwrap();
    let (package, runs_dir) = (dir.path().join("nothing"), dir.path().join("runs"));
    let runtime = ProcessRuntime::new(ProcessSettings { package, runs_dir: runs_dir.clone() });
    let error = bench::error(runtime.describe().await).to_string();
    assert!(error.contains("is no agent package"), "{error}");
    assert!(!runs_dir.exists());
}

/// Says that the test is to play the hostd that is killed: the organisation's URL, and a directory.
const ROLE: &str = "FLEET_TEST_HOSTD";

/// Whatever way hostd ends, even without a chance to clean up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_end_with_hostd() {
    if let Ok(role) = std::env::var(ROLE) {
        let (url, dir) = role.split_once(' ').unwrap();
        return play_hostd(url, Path::new(dir)).await;
    }
    let bench = bench().await;
    let role = format!("{} {}", bench.azure.target().url, bench.dir.path().display());
    let mut hostd = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::agents_end_with_hostd", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let run = RunId { agent: "orphan".parse().unwrap(), attempt: 1 };
    let mut lines = BufReader::new(hostd.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("it listens") {
                return;
            }
        }
        panic!("the hostd of the test ended too early");
    };
    tokio::time::timeout(LIMIT, ready).await.expect("the agent listens");
    bench.is_online(&run, true).await;
    hostd.kill().await.unwrap();
    bench.is_online(&run, false).await;
}

async fn play_hostd(url: &str, dir: &Path) {
    let package = Artifacts::get().package;
    let runtime = ProcessRuntime::new(ProcessSettings { package, runs_dir: dir.join("runs") });
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let azure = AzureTarget { url: url.to_owned(), pool: "nightly".to_owned() };
    let template = bare_template(RuntimeKind::Process);
    let mut spec = bench::spec("orphans", 1, azure, template, Mode::LongLived, dir);
    spec.run.agent = "orphan".parse().unwrap();
    let mut watching = Watching::begin(runtime.clone()).await;
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    println!("it listens");
    std::future::pending::<()>().await;
}
