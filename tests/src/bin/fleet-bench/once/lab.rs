//! A lab server for agents as users and units: real systemd, users that are gone with the server. The
//! programs are brought there, this one among them, which measures inside and says what it found.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail, ensure};
use bollard::{Docker, query_parameters::ListNetworksOptionsBuilder};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{Args, Cycles, units};
use crate::{engine::remove, fleet::Programs, proc::run};

/// Labs of this program are named so, and found by it when one was left behind.
const PREFIX: &str = "bench-";
/// The lab's own mark on containers and networks, with the lab's name.
const LABEL: &str = "fleet.lab";
/// The server that is measured on.
const SERVER: &str = "bench";
/// Where things lie there.
const PLACE: &str = "/opt/fleet-bench";
/// The agent's package in [`PLACE`].
pub(super) const PACKAGE: &str = "vsts-agent-linux-x64-4.260.0.tar.gz";
/// On a volume: what hostd writes has to reach a disk there as it has to on a real server.
const STATE: &str = "/var/lib/hostd";

/// Measures on a server of its own.
pub(super) async fn measure(programs: &Programs, args: &Args) -> anyhow::Result<Cycles> {
    let lab = Lab { name: format!("{PREFIX}{}", std::process::id()), deploy: args.deploy.clone() };
    eprintln!("  units: a lab server boots");
    let hosts = format!("{SERVER}:{SERVER}");
    lab.finish(lab.script(&["up", &lab.name, "--hosts", &hosts]).stdout(Stdio::null())).await?;
    for name in ["coordinator", "hostd", "agentctl", "azdo-sim", "fleet-bench"] {
        lab.bring(name, &programs.path(name)).await?;
    }
    lab.bring_package(&programs.path("azdo-stub-agent")).await?;
    let words = [
        format!("TMPDIR={STATE}"),
        format!("{PLACE}/fleet-bench"),
        "once-server".into(),
        format!("--agents={}", args.agents),
        format!("--rounds={}", args.rounds),
        format!("--jobs={}", args.jobs),
        format!("--alone={}", args.alone),
    ];
    let mut inside = lab.on_server("env");
    let found = lab.finish(inside.args(words).stdout(Stdio::piped())).await?;
    lab.finish(&mut lab.script(&["down", &lab.name])).await?;
    serde_json::from_str(&found).context("what was measured on the lab server")
}

/// The part that runs on the server: measures, and says so on standard output.
pub(crate) async fn on_server(args: &Args) -> anyhow::Result<()> {
    let programs = Programs::find(None)?;
    let cycles = units::measure(programs, args, &Path::new(PLACE).join(PACKAGE)).await?;
    println!("{}", serde_json::to_string(&cycles)?);
    Ok(())
}

/// Removes every lab that this program made, now or in a run that was cut off.
pub(crate) async fn clean(docker: &Docker) -> anyhow::Result<()> {
    let filters = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
    let options = bollard::query_parameters::ListContainersOptionsBuilder::default();
    let containers = docker.list_containers(Some(options.all(true).filters(&filters).build()));
    let labels = containers.await?.into_iter().filter_map(|container| container.labels);
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let networks = docker.list_networks(Some(options)).await?;
    let name = |labels: Option<&HashMap<String, String>>| labels?.get(LABEL).cloned();
    let labs: BTreeSet<String> = labels.filter_map(|labels| name(Some(&labels))).collect();
    for lab in labs.iter().filter(|lab| lab.starts_with(PREFIX)) {
        remove(docker, &format!("{LABEL}={lab}")).await?;
    }
    for network in networks {
        let lab = name(network.labels.as_ref()).filter(|lab| lab.starts_with(PREFIX));
        if let (Some(_), Some(network)) = (lab, network.id) {
            docker.remove_network(&network).await?;
        }
    }
    Ok(())
}

/// One lab. It is taken down in order at the end, and by [`clean`] when something went wrong.
struct Lab {
    name: String,
    deploy: PathBuf,
}

impl Lab {
    fn script(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.deploy.join("lab/lab.sh"));
        command.args(words).stdin(Stdio::null());
        command
    }

    fn on_server(&self, program: &str) -> Command {
        self.script(&["exec", &self.name, SERVER, program])
    }

    /// Runs a command to its end; its standard output, where it is asked for. A lab's script starts
    /// others, so all of them are a group and end together when this is cut off.
    async fn finish(&self, command: &mut Command) -> anyhow::Result<String> {
        let child = command.process_group(0).spawn().context("the lab's script")?;
        let mut group = Group::of(&child)?;
        let output = child.wait_with_output().await?;
        group.0 = None;
        let what = command.as_std().get_args().take(4).collect::<Vec<_>>();
        ensure!(output.status.success(), "lab.sh {what:?} failed ({})", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A program, without its symbols: they are most of it.
    async fn bring(&self, name: &str, program: &Path) -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let small = dir.path().join(name);
        run(Command::new("strip").arg("-o").args([&small, program])).await?;
        self.put(name, &small).await
    }

    async fn bring_package(&self, agent: &Path) -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let package = dir.path().join(PACKAGE);
        let mut make = Command::new(self.deploy.join("../azdo/stub/package.sh"));
        run(make.arg(&package).arg("--binary").arg(agent)).await?;
        self.put(PACKAGE, &package).await
    }

    async fn put(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        let script = format!("mkdir -p {PLACE} && cat >{PLACE}/{name} && chmod 755 {PLACE}/{name}");
        let file = std::fs::File::open(file)?;
        let mut copy = self.on_server("sh");
        self.finish(copy.args(["-c", &script]).stdin(file)).await.map(drop)
    }
}

/// The processes of a script; ended when this is dropped before the script's end.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> anyhow::Result<Self> {
        let Some(pid) = child.id() else { bail!("the lab's script ended at once") };
        Ok(Self(Some(Pid::from_raw(i32::try_from(pid)?))))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Ended already is as good.
            let _ = killpg(group, Signal::SIGTERM);
        }
    }
}
