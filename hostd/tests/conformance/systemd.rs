//! Agents as users and units, with the stub agent against a simulator on the same server.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{Mode, Package, RuntimeKind};
use hostd::{
    execute::ProxyForAzure,
    runtime::{
        RunId, RunSpec, Runtime,
        systemd::{SYSTEM_BUS, SystemdRuntime, SystemdSettings},
    },
};
use tempfile::TempDir;

use crate::{
    artifacts::{VERSION, tarball_name},
    azure::{Azure, NEW_VERSION},
    bench::{self, Bench, bare_template},
    systemd_server::PLACE,
};

pub(crate) struct Units {
    pub(crate) runtime: Arc<SystemdRuntime>,
    pub(crate) settings: SystemdSettings,
    pub(crate) azure: Azure,
    host: String,
    dir: TempDir,
    agents: Mutex<BTreeSet<u16>>,
}

/// A case by name.
pub(crate) type Case =
    (&'static str, for<'a> fn(&'a Units) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

pub(crate) async fn bench() -> Units {
    let dir = TempDir::with_prefix("fleet-test-").unwrap();
    let place = Path::new(PLACE);
    let tarball = place.join(tarball_name(VERSION));
    let settings = SystemdSettings {
        package: Some(Package {
            sha256: fleet_proto::sha256_hex(&fs::read(&tarball).unwrap()),
            source: tarball.display().to_string(),
        }),
        homes: "/home".into(),
        first_uid: 40_000,
        // One for all cases: a number is never used twice.
        users_file: place.join("users.json"),
        runs_dir: "/run/fleet-test".into(),
        remembered: dir.path().join("units"),
        program: place.join("hostd"),
        proxy: ProxyForAzure(None),
        bus: SYSTEM_BUS.to_owned(),
        engine: "/var/run/docker.sock".into(),
    };
    Units {
        runtime: Arc::new(SystemdRuntime::new(settings.clone())),
        settings,
        azure: Azure::start(&place.join(tarball_name(NEW_VERSION))).await,
        host: bench::unique_host(),
        dir,
        agents: Mutex::default(),
    }
}

impl Units {
    /// Removes every agent of this bench as hostd would; what is left then is a fault.
    pub(crate) async fn clear(&self) {
        let agents = std::mem::take(&mut *self.agents.lock().unwrap());
        for number in agents {
            let spec = self.spec(number, Mode::Once);
            for seen in self.runtime.list().await.unwrap() {
                if seen.run.agent == spec.run.agent {
                    self.runtime.ensure_ended(&seen.run).await.unwrap();
                    self.runtime.ensure_removed(&seen.run).await.unwrap();
                }
            }
            self.runtime.forget_slot(&spec.run.agent, &spec.slot_dir).await.unwrap();
        }
        self.agents.lock().unwrap().clear();
    }

    /// Where agent `number` lives.
    pub(crate) fn root_of(&self, spec: &RunSpec) -> PathBuf {
        let unit = self.unit_json(spec);
        unit["root"].as_str().unwrap().into()
    }

    /// What is written down of a run.
    pub(crate) fn unit_json(&self, spec: &RunSpec) -> serde_json::Value {
        let file = self.settings.runs_dir.join(spec.run.to_string()).join("unit.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
}

#[async_trait]
impl Bench for Units {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    fn again(&self) -> Arc<dyn Runtime> {
        Arc::new(SystemdRuntime::new(self.settings.clone()))
    }

    fn spec(&self, number: u16, mode: Mode) -> RunSpec {
        self.agents.lock().unwrap().insert(number);
        let template = bare_template(RuntimeKind::Systemd);
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
        Some(fs::read_to_string(self.root_of(spec).join(".agent")).unwrap())
    }
}
