//! `svc.sh`, `runsvc.sh` and the service host. systemd is played by two small scripts on PATH.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::bench::{Agent, Bench, output};
use crate::process::{Process, child, until};

struct Systemd {
    tools: PathBuf,
    units: PathBuf,
}

impl Systemd {
    /// `systemctl VERB` ends with what the file VERB holds, 0 without it; every call is logged.
    fn beside(agent: &Agent) -> Self {
        let home = agent.root.parent().unwrap();
        let (tools, units) = (home.join("systemd"), home.join("units"));
        std::fs::create_dir(&tools).unwrap();
        std::fs::create_dir(&units).unwrap();
        let here = tools.display();
        script(&tools.join("id"), "echo 0");
        script(&tools.join("systemd-escape"), "echo \"$2\" | sed 's/-/\\\\x2d/g'");
        let answer = format!(
            "echo \"$*\" >> {here}/calls\n[ ! -e {here}/$1 ] || exit $(cat {here}/$1)\ncase $2 in status) exit 3;; esac"
        );
        script(&tools.join("systemctl"), &answer);
        Self { tools, units }
    }

    fn svc(&self, agent: &Agent, arguments: &[&str]) -> Command {
        let mut command = agent.command("sh");
        let path = format!("{}:{}", self.tools.display(), std::env::var("PATH").unwrap());
        command.arg("svc.sh").args(arguments).env("PATH", path).env("STUB_UNIT_DIR", &self.units);
        command
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.tools.join("calls")).unwrap_or_default()
    }
}

fn script(file: &Path, text: &str) {
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn svc_sh_exits_0_for_every_command() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("host1-01").await;
    let systemd = Systemd::beside(&agent);
    for arguments in [
        &["status"][..],
        &["install", "ci"],
        &["start"],
        &["status"],
        &["stop"],
        &["nonsense"],
        &[],
    ] {
        let (code, text) = output(systemd.svc(&agent, arguments)).await;
        assert_eq!(code, 0, "{arguments:?}: {text}");
    }
    let unit = "vsts.agent.fabrikam.nightly.host1\\x2d01.service";
    assert_eq!(std::fs::read_to_string(agent.root.join(".service")).unwrap().trim_end(), unit);
    let text = std::fs::read_to_string(systemd.units.join(unit)).unwrap();
    let wanted = [
        &format!("ExecStart={}/runsvc.sh", agent.root.display()),
        "User=ci",
        "KillMode=process",
        "KillSignal=SIGTERM",
        "TimeoutStopSec=5min",
    ];
    for line in wanted {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("Restart="));
    assert!(agent.root.join("runsvc.sh").exists());
    assert!(systemd.calls().contains(&format!("start {unit}")), "{}", systemd.calls());

    let (code, text) = output(systemd.svc(&agent, &["uninstall"])).await;
    assert_eq!(code, 0, "{text}");
    assert!(!agent.root.join(".service").exists() && !systemd.units.join(unit).exists());
}

#[tokio::test]
async fn svc_sh_exits_1_only_when_a_step_fails() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let systemd = Systemd::beside(&agent);
    assert_eq!(output(systemd.svc(&agent, &["install"])).await.0, 0);
    let (code, text) = output(systemd.svc(&agent, &["install"])).await;
    assert_eq!(code, 1, "a unit that exists is a failed step: {text}");
    std::fs::write(systemd.tools.join("start"), "5").unwrap();
    assert_eq!(output(systemd.svc(&agent, &["start"])).await.0, 1);
    script(&systemd.tools.join("id"), "echo 1000");
    let (code, text) = output(systemd.svc(&agent, &["status"])).await;
    assert_eq!((code, text.trim()), (1, "Must run as sudo"));
}

#[tokio::test]
async fn runsvc_sh_keeps_a_listener_and_turns_term_into_int() {
    let bench = Bench::start().await;
    let agent = bench.install_with(|settings| settings["serviceRestartMs"] = 1.into());
    agent.configured("a").await;
    std::fs::copy(agent.root.join("bin/runsvc.sh"), agent.root.join("runsvc.sh")).unwrap();
    let mut command = agent.command("sh");
    command.arg("runsvc.sh");
    let mut service = Process::start(command);
    service.line("Listening for Jobs").await;
    let host = child(service.pid(), "node").unwrap();
    assert!(host.arguments.ends_with(&["bin/AgentService.js".to_owned()]), "{:?}", host.arguments);
    let listener = child(host.pid, "Agent.Listener").unwrap();

    nix::sys::signal::kill(listener.pid, Signal::SIGKILL).unwrap();
    service.line("re-launch agent").await;
    until("the dead session is gone", || bench.kill_session("a").then_some(())).await;
    service.line("Listening for Jobs").await;

    service.signal(Signal::SIGTERM);
    assert_eq!(service.code().await, 0);
    assert!(!bench.is_online("a"), "an orderly end deletes the session");
}
