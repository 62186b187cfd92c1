//! The container image, built and run on the real engine. The container shares this machine's loopback, where the
//! simulator listens; names and labels say that it is a test's.

use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::Command;

use crate::bench::{Bench, output};
use crate::process::{Process, child, until};

/// What the image may weigh, in bytes.
const HEAVIEST: u64 = 40_000_000;
/// What an idle listener may hold in memory, in KiB.
const IDLE_KIB: u64 = 16 * 1024;

/// An image and a container of it; both go with the test.
struct Image {
    name: String,
}

impl Drop for Image {
    fn drop(&mut self) {
        let quiet = |arguments: &[&str]| {
            drop(std::process::Command::new("docker").args(arguments).output())
        };
        quiet(&["rm", "--force", &self.container()]);
        quiet(&["rmi", "--force", &self.name]);
    }
}

impl Image {
    async fn build(version: &str) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let out = tempfile::tempdir().unwrap();
        let tar = out.path().join("agent.tar");
        let image = Self { name: format!("fleet-test-agent-{}:{version}", std::process::id()) };
        let mut command = Command::new(repository.join("deploy/lab/agent-image.sh"));
        command.arg(&tar).args(["--version", version, "--import", &image.name]);
        command.args(["--binary", env!("CARGO_BIN_EXE_azdo-stub-agent")]);
        let (code, text) = output(command).await;
        assert_eq!(code, 0, "a Docker engine is needed (apt-get install docker.io): {text}");
        assert!(
            text.lines().any(|line| line.starts_with("sha256:")),
            "it prints the image id: {text}"
        );
        let size = tar.metadata().unwrap().len();
        assert!(size < HEAVIEST, "{size} bytes");
        image
    }

    fn container(&self) -> String {
        self.name.replace(':', "-")
    }

    fn run(&self) -> Command {
        let mut command = Command::new("docker");
        command.args([
            "run",
            "--rm",
            "--init",
            "--network",
            "host",
            "--label",
            "fleet.test=1",
            "--name",
        ]);
        command.arg(self.container());
        command
    }
}

#[tokio::test]
async fn the_image_lives_by_microsoft_s_container_contract() {
    let bench = Bench::start().await;
    let image = Image::build("4.261.0").await;
    let mut command = image.run();
    for (name, value) in [("URL", bench.url()), ("POOL", "nightly".into()), ("TOKEN", bench.pat())]
    {
        command.env(format!("AZP_{name}"), value).args(["-e", &format!("AZP_{name}")]);
    }
    command.args(["-e", "AZP_AGENT_NAME=c1", &image.name]);
    let mut container = Process::start(command);
    container.line("Listening for Jobs").await;
    assert_eq!(bench.row("c1").await.unwrap().version.as_deref(), Some("4.261.0"));
    let job = bench.queue("j", 0);
    assert_eq!(bench.result(job).await, "succeeded");
    assert_eq!(bench.job(job).await.record.unwrap().work_folder, Vec::<String>::new());

    let mut stop = Command::new("docker");
    stop.args(["stop", "--time", "30", &image.container()]);
    assert_eq!(output(stop).await.0, 0);
    assert_eq!(container.code().await, 143);
    assert!(bench.row("c1").await.is_none(), "its script took the registration back");
}

#[tokio::test]
async fn a_listener_at_rest_is_small() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut shell = Process::start(agent.run(&[]));
    shell.line("Listening for Jobs").await;
    let listener = child(shell.pid(), "Agent.Listener").unwrap().pid;
    // The job before brings in all the code that a listener ever uses.
    let job = bench.queue("j", 0);
    assert_eq!(bench.result(job).await, "succeeded");
    let resident = until("its memory can be read", || resident_kib(listener)).await;
    assert!(resident < IDLE_KIB, "{resident} KiB");
    shell.signal_group(Signal::SIGINT);
}

fn resident_kib(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
