//! The runtime in memory.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_model::{AzureTarget, Mode, Template};
use hostd::runtime::{RunId, RunSpec, Runtime, fake::FakeRuntime};

use crate::bench::{self, Bench, EngineBench};

struct Fake {
    runtime: FakeRuntime,
    host: String,
}

async fn bench() -> Fake {
    Fake { runtime: FakeRuntime::new(), host: bench::unique_host() }
}

#[async_trait]
impl Bench for Fake {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    fn again(&self) -> Arc<dyn Runtime> {
        self.runtime()
    }

    fn spec(&self, number: u16, mode: Mode) -> RunSpec {
        let azure = AzureTarget { url: "http://127.0.0.1/x".into(), pool: "nightly".into() };
        let template = Template::docker("here:1".parse().unwrap(), mode);
        bench::spec(&self.host, number, azure, template, mode, Path::new("/nonexistent"))
    }

    async fn give_job(&self, run: &RunId, length: Duration) {
        self.runtime.job_starts(run, "build");
        let (runtime, run) = (self.runtime.clone(), run.clone());
        tokio::spawn(async move {
            tokio::time::sleep(length).await;
            runtime.job_ends(&run, "Succeeded");
        });
    }

    async fn is_online(&self, _: &RunId, _: bool) {}

    fn registrations(&self, _: &RunId) -> usize {
        // Those of all agents: the cases that ask have one.
        self.runtime.calls().registrations.try_into().unwrap()
    }

    async fn update(&self, run: &RunId) {
        self.runtime.exit(run, 4);
    }
}

impl EngineBench for Fake {
    fn missing(&self, mut spec: RunSpec) -> RunSpec {
        let image = "nowhere:1".parse().unwrap();
        Arc::make_mut(&mut spec.template).image = Some(image);
        let image = spec.template.image.clone().unwrap();
        self.runtime.script(|script| {
            script.missing_images.insert(image);
        });
        spec
    }

    fn calls(&self) -> u64 {
        let calls = self.runtime.calls();
        calls.looks + calls.pulls + calls.creates + calls.starts
    }

    fn without_engine(&self) -> Arc<dyn Runtime> {
        let runtime = FakeRuntime::new();
        runtime.script(|script| script.engine_down = Some("it is off".into()));
        Arc::new(runtime)
    }
}

crate::suite::conformance!(bench());
crate::suite::engine_conformance!(bench());
