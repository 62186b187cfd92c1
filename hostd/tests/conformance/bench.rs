//! What the suite needs to know of the runtime under test, and of the world around it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{AzureTarget, Mode, RuntimeKind, Template};
use hostd::runtime::{RunId, RunSpec, Runtime, RuntimeError, StartWith};

/// A runtime with its world.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    /// The runtime under test.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// As after a restart of hostd, where agents survive one; else the same again.
    fn again(&self) -> Arc<dyn Runtime>;

    /// A run of agent `number` that begins with a token.
    fn spec(&self, number: u16, mode: Mode) -> RunSpec;

    /// The agent of this run gets a job of this length.
    async fn give_job(&self, run: &RunId, length: Duration);

    /// Waits until Azure sees the agent online, or not.
    async fn is_online(&self, run: &RunId, expected: bool);

    /// How often an agent of this name was registered.
    fn registrations(&self, run: &RunId) -> usize;

    /// The listener is told to update itself.
    async fn update(&self, run: &RunId);

    /// The `.agent` file of a run that lives; none: there is no such file.
    fn agent_file(&self, _spec: &RunSpec) -> Option<String> {
        None
    }

    /// Where a run that lives announces its jobs.
    fn socket(&self, spec: &RunSpec) -> Option<SocketAddr> {
        let file = self.agent_file(spec)?;
        let agent: serde_json::Value =
            serde_json::from_str(file.trim_start_matches('\u{feff}')).unwrap();
        let address = agent["notificationSocketAddress"].as_str();
        Some(address.unwrap_or_else(|| panic!("no address: {file}")).parse().unwrap())
    }
}

/// A bench with an engine and images.
pub(crate) trait EngineBench: Bench {
    /// The same with an image that this host does not have and cannot get.
    fn missing(&self, spec: RunSpec) -> RunSpec;

    /// Calls to the engine so far.
    fn calls(&self) -> u64;

    /// A runtime whose engine is not there.
    fn without_engine(&self) -> Arc<dyn Runtime>;
}

/// A spec that differs between benches in the template, the names and the places only.
pub(crate) fn spec(
    host: &str,
    number: u16,
    azure: AzureTarget,
    mut template: Template,
    mode: Mode,
    slots: &Path,
) -> RunSpec {
    template.mode = mode;
    let agent = format!("{host}-{number:02}");
    RunSpec {
        run: RunId { agent: agent.parse().unwrap(), attempt: 1 },
        pool: "nightly".parse().unwrap(),
        group: "default".parse().unwrap(),
        slot: number,
        host: host.parse().unwrap(),
        azure,
        template: Arc::new(template),
        slot_dir: slots.join(&agent),
        labels: [("rack".parse().unwrap(), "r12".to_owned())].into(),
        start: StartWith::Token(String::from(crate::azure::TOKEN).into()),
        owner: format!("fleet/{host}/{number}"),
    }
}

/// A host name that no other test has, on the same engine at the same time.
pub(crate) fn unique_host() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("fleet-test-{}-{number}", std::process::id())
}

/// A template without an image.
pub(crate) fn bare_template(runtime: RuntimeKind) -> Template {
    let mut template = Template::docker("none".parse().unwrap(), Mode::Once);
    (template.runtime, template.image) = (runtime, None);
    template
}

/// The next run of the same agent, with what it has.
pub(crate) fn next(spec: &RunSpec, start: StartWith) -> RunSpec {
    let run = RunId { agent: spec.run.agent.clone(), attempt: spec.run.attempt + 1 };
    RunSpec { run, start, ..spec.clone() }
}

/// The error that a verb must end with.
pub(crate) fn error<T>(result: Result<T, RuntimeError>) -> RuntimeError {
    match result {
        Ok(_) => panic!("it should have been refused"),
        Err(error) => error,
    }
}
