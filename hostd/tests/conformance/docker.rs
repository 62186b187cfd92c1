//! Containers on this machine's own engine, with the stub agent's image against the simulator.
//! The host's network, so that the containers reach the simulator on the loopback address.

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_model::{Mode, Template};
use hostd::runtime::{
    RunId, RunSpec, Runtime, RuntimeEvent, Sign, StartWith,
    docker::{DockerRuntime, DockerSettings},
};
use tempfile::TempDir;

use crate::{
    artifacts::Artifacts,
    azure::{Azure, NEW_VERSION, TOKEN},
    bench::{self, Bench, EngineBench},
    watching::Watching,
};

pub(crate) struct Containers {
    pub(crate) runtime: Arc<DockerRuntime>,
    pub(crate) settings: DockerSettings,
    pub(crate) azure: Azure,
    pub(crate) template: Template,
    pub(crate) dir: TempDir,
}

impl Drop for Containers {
    /// Also after a failure: the engine forgets nothing by itself.
    fn drop(&mut self) {
        let filter = format!("label=fleet.host={}", self.settings.host);
        let list = Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output();
        let list = list.map(|list| list.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&list).lines() {
            let _ = Command::new("docker").args(["rm", "-fv", id]).output();
        }
    }
}

pub(crate) fn runtime(settings: &DockerSettings) -> DockerRuntime {
    let label = ("fleet.test".to_owned(), "1".to_owned());
    DockerRuntime::new(settings.clone()).with_labels(BTreeMap::from([label]))
}

pub(crate) async fn bench() -> Containers {
    let artifacts = Artifacts::get();
    let image = artifacts.image();
    let dir = TempDir::with_prefix("fleet-test-").unwrap();
    let settings = DockerSettings {
        network: Some("host".to_owned()),
        runs_dir: dir.path().join("runs"),
        ..DockerSettings::new(bench::unique_host().parse().unwrap())
    };
    Containers {
        runtime: Arc::new(runtime(&settings)),
        settings,
        azure: Azure::start(&artifacts.update).await,
        template: Template::docker(image.parse().unwrap(), Mode::Once),
        dir,
    }
}

#[async_trait]
impl Bench for Containers {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn again(&self) -> Arc<dyn Runtime> {
        Arc::new(runtime(&self.settings))
    }

    fn spec(&self, number: u16, mode: Mode) -> RunSpec {
        let slots = self.dir.path().join("slots");
        let host = self.settings.host.as_str();
        bench::spec(host, number, self.azure.target(), self.template.clone(), mode, &slots)
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
        let find = "for p in /proc/[0-9]*; do read -r n <$p/comm; \
             [ \"$n\" = Agent.Listener ] && cat \"$p/cwd/.agent\"; done; :";
        Some(docker(&["exec", &spec.run.to_string(), "sh", "-c", find]))
    }
}

impl EngineBench for Containers {
    fn missing(&self, mut spec: RunSpec) -> RunSpec {
        // A registry that refuses at once.
        let image = "127.0.0.1:1/fleet-test/none:1".parse().unwrap();
        Arc::make_mut(&mut spec.template).image = Some(image);
        spec
    }

    fn calls(&self) -> u64 {
        self.runtime.calls()
    }

    fn without_engine(&self) -> Arc<dyn Runtime> {
        let socket = self.dir.path().join("nobody.sock");
        Arc::new(DockerRuntime::new(DockerSettings { socket, ..self.settings.clone() }))
    }
}

crate::suite::conformance!(bench());
crate::suite::engine_conformance!(bench());

/// What `docker` prints for these arguments.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every file beneath `dir` that has `needle` in it.
fn files_with(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            found.extend(files_with(&path, needle));
        } else if kind.is_file()
            && fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_nowhere_once_the_agent_is_registered() {
    let bench = bench().await;
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let name = spec.run.to_string();
    assert!(!docker(&["inspect", &name]).contains(TOKEN), "in the container's description");
    assert!(!docker(&["logs", &name]).contains(TOKEN), "in its log");
    assert_eq!(files_with(bench.dir.path(), TOKEN), [""; 0], "in files of the host");
    let inside = "grep -rl \"$1\" /azp /run /tmp /etc /root 2>/dev/null; \
         for p in /proc/[0-9]*; do \
             [ \"${p#/proc/}\" = $$ ] && continue; \
             grep -l \"$1\" \"$p/environ\" \"$p/cmdline\" 2>/dev/null; done; :";
    // The search has the token in its own arguments, so it is given as two halves.
    let halves = TOKEN.split_at(20);
    let script = format!("set -- \"$1$2\"; {inside}");
    let found = docker(&["exec", &name, "sh", "-c", &script, "sh", halves.0, halves.1]);
    assert_eq!(found.trim(), "", "in files, environments or arguments inside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_has_nothing_in_its_environment_that_we_did_not_put_there() {
    let mut bench = bench().await;
    bench.template.env.insert("LAB_GPU".into(), "h200 x 8".into());
    bench.template.env.insert("dotted.name".into(), "1".into());
    bench.template.proxy.no_proxy = Some("127.0.0.1".into());
    bench.template.mtu = Some(1450);
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let name = spec.run.to_string();
    let script = "for p in /proc/[0-9]*; do read -r n <$p/comm; \
         [ \"$n\" = Agent.Listener ] && tr '\\0' '\\n' <$p/environ; done; :";
    let environment = docker(&["exec", &name, "sh", "-c", script]);
    let mut lines: Vec<&str> = environment.lines().collect();
    lines.sort_unstable();
    let owner = format!("FLEET_OWNER={}", spec.owner);
    let hidden = "VSO_AGENT_IGNORE=AGENT_ALLOW_RUNASROOT,NO_PROXY,no_proxy";
    let path = lines.iter().find(|line| line.starts_with("PATH=")).copied().unwrap();
    let expected = [
        "AGENT_ALLOW_RUNASROOT=1",
        "AGENT_DOCKER_MTU_VALUE=1450",
        owner.as_str(),
        "HOME=/root",
        "LAB_GPU=h200 x 8",
        "LANG=C",
        "NO_PROXY=127.0.0.1",
        path,
        hidden,
        "dotted.name=1",
        "no_proxy=127.0.0.1",
        "rack=r12",
    ];
    assert_eq!(lines, expected);
    let rows = bench.azure.sim.rows(None);
    let row = rows.iter().find(|row| row.name == spec.run.agent.as_str()).unwrap();
    assert!(row.capabilities.iter().any(|name| name == "FLEET_OWNER"));
    assert!(row.capabilities.iter().any(|name| name == "LAB_GPU"));
    assert!(!row.capabilities.iter().any(|name| name.eq_ignore_ascii_case("no_proxy")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_finished_although_its_container_ended() {
    let bench = bench().await;
    let spec = bench.spec(1, Mode::LongLived);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let id = docker(&["inspect", "-f", "{{.Id}}", &spec.run.to_string()]);
    bench.azure.update(&spec.run);
    assert_eq!(watching.ended(&spec.run).await, Some(3));
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    assert_eq!(docker(&["inspect", "-f", "{{.Id}}", &spec.run.to_string()]), id);
    assert_eq!(bench.azure.version(&spec.run).as_deref(), Some(NEW_VERSION));
}

/// Another container's network: what is the loopback address there nobody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_on_another_network_has_no_socket_and_works_as_ever() {
    let mut bench = bench().await;
    let other = format!("{}-net", bench.settings.host);
    let label = format!("fleet.host={}", bench.settings.host);
    let image = bench.template.image.clone().unwrap();
    let sleep = ["--entrypoint", "sleep", image.as_str(), "600"];
    let run = ["run", "-d", "--network", "host", "--name", &other, "--label", &label];
    docker(&[run.as_slice(), &sleep].concat());
    bench.settings.network = Some(format!("container:{other}"));
    bench.runtime = Arc::new(runtime(&bench.settings));
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let agent = bench.agent_file(&spec).unwrap();
    assert!(agent.contains("agentName") && !agent.contains("SocketAddress"), "{agent}");
    bench.give_job(&spec.run, Duration::from_millis(300)).await;
    watching.busy(&spec.run).await;
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    let announced =
        |event: &&RuntimeEvent| matches!(event, RuntimeEvent::Sign(_, Sign::JobAnnounced));
    assert_eq!(watching.seen(&spec.run).into_iter().find(announced), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_costs_two_calls() {
    let bench = bench().await;
    let (first, second) = (bench.spec(1, Mode::Once), bench.spec(2, Mode::Once));
    bench.runtime.ensure_started(&first).await.unwrap();
    let before = bench.runtime.calls();
    bench.runtime.ensure_started(&second).await.unwrap();
    assert_eq!(bench.runtime.calls() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_socket_comes_with_a_root_at_the_same_path_on_both_sides() {
    let mut bench = bench().await;
    bench.template.docker_socket = true;
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    let root = spec.slot_dir.join("root");
    let exe = "for p in /proc/[0-9]*; do read -r n <$p/comm; \
         [ \"$n\" = Agent.Listener ] && readlink $p/exe; done; :";
    let exe = docker(&["exec", &spec.run.to_string(), "sh", "-c", exe]);
    assert_eq!(Path::new(exe.trim()), root.join("bin/Agent.Listener"));
    assert!(root.join("bin/Agent.Listener").exists(), "jobs mount it by the host's path");
    let registration = watching.seen(&spec.run).into_iter().find_map(|event| match event {
        RuntimeEvent::Sign(_, Sign::Registered(files)) => Some(files.clone()),
        _ => None,
    });
    bench.runtime.interrupt(&spec.run).await.unwrap();
    watching.ended(&spec.run).await;
    bench.runtime.ensure_removed(&spec.run).await.unwrap();

    // A job's remains do not come along into the next run.
    fs::write(root.join("_work/left-behind"), "").unwrap();
    let second = bench::next(&spec, StartWith::Registration(registration.unwrap()));
    bench.runtime.ensure_started(&second).await.unwrap();
    watching.listening(&second.run).await;
    assert!(!root.join("_work/left-behind").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_said_with_its_own_code() {
    let bench = bench().await;
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.runtime.ensure_ended(&spec.run).await.unwrap();
    bench.runtime.ensure_removed(&spec.run).await.unwrap();
    let again = bench::next(&spec, spec.start.clone());
    bench.runtime.ensure_started(&again).await.unwrap();
    assert_eq!(watching.ended(&again.run).await, Some(71));
    let complaint = watching.seen(&again.run).into_iter().any(|event| {
        let text = format!("{event:?}");
        text.contains("Complaint") && text.contains("already contains an agent with name")
    });
    assert!(complaint, "{:?}", watching.seen(&again.run));
    assert_eq!(files_with(bench.dir.path(), TOKEN), [""; 0], "the token is gone all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_said_with_its_own_code() {
    let bench = bench().await;
    let mut spec = bench.spec(1, Mode::Once);
    spec.start = StartWith::Token(String::from("wrong").into());
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    assert_eq!(watching.ended(&spec.run).await, Some(70));
    watching.seen(&spec.run).into_iter().for_each(|event| {
        assert!(!format!("{event:?}").contains("Registered"), "{event:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_on_one_engine_do_not_see_each_other() {
    let (one, other) = (bench().await, bench().await);
    let spec = one.spec(1, Mode::Once);
    one.runtime.ensure_started(&spec).await.unwrap();
    assert_eq!(one.runtime.list().await.unwrap().len(), 1);
    assert_eq!(other.runtime.list().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_comes_is_noticed() {
    let bench = bench().await;
    let mut watching = Watching::begin(bench.runtime()).await;
    let image = bench.template.image.clone().unwrap();
    let tag = format!("fleet-test-tag:{}", std::process::id());
    docker(&["tag", image.as_str(), &tag]);
    let came = |event: &RuntimeEvent| *event == RuntimeEvent::ImageCame;
    watching.until("ImageCame", came).await;
    docker(&["rmi", &tag]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_image_gets_what_is_handed_over_and_nobody_else_does() {
    let mut bench = bench().await;
    let image = bench.template.image.clone().unwrap();
    let (tag, cid) =
        (format!("fleet-test-user:{}", std::process::id()), bench.dir.path().join("c"));
    let cid = cid.display().to_string();
    docker(&[
        "create",
        "--cidfile",
        &cid,
        "--name",
        &format!("{}-build", bench.settings.host),
        image.as_str(),
    ]);
    let made = fs::read_to_string(&cid).unwrap();
    docker(&["commit", "-c", "USER 1000", made.trim(), &tag]);
    docker(&["rm", made.trim()]);
    bench.template.image = Some(tag.parse().unwrap());
    let spec = bench.spec(1, Mode::Once);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_image(&tag.parse().unwrap()).await.unwrap();
    bench.runtime.ensure_started(&spec).await.unwrap();
    // Its package belongs to root, so it lives in a copy of its own.
    watching.listening(&spec.run).await;
    let registered = watching
        .seen(&spec.run)
        .into_iter()
        .any(|event| matches!(event, RuntimeEvent::Sign(_, Sign::Registered(_))));
    assert!(registered);
    bench.runtime.ensure_ended(&spec.run).await.unwrap();
    bench.runtime.ensure_removed(&spec.run).await.unwrap();
    docker(&["rmi", &tag]);
}
