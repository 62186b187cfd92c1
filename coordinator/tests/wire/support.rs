//! A coordinator on a directory of its own, and an operator.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use coordinator::{
    config::Config,
    init::{NewFleet, init},
    run::Running,
};
use fleet_proto::{
    tls::{self, Identity},
    v1::{self, fleet_service_client::FleetServiceClient, watch_response::Change},
};
use serde::Deserialize;
use tonic::{Streaming, transport::Channel};

/// Far longer than anything here takes; only a failing test waits that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Nobody listens there: Azure cannot be reached, at once.
pub(crate) const NO_AZURE: &str = "http://127.0.0.1:1/fabrikam";

/// The file that agentctl reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) endpoint: String,
    pub(crate) server_name: String,
    pub(crate) fleet: String,
    pub(crate) operator: String,
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Credential {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a credential");
        toml::from_str(&text).expect("the credential's format")
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.certificate.clone(), self.key.clone().into())
    }
}

/// A coordinator and its operator.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    running: Option<Running>,
    pub(crate) config: Config,
    pub(crate) credential: Credential,
    pub(crate) operator: FleetServiceClient<Channel>,
    pub(crate) pin: String,
}

pub(crate) fn new_fleet(dir: &Path) -> NewFleet {
    NewFleet {
        data: dir.join("data"),
        name: "lab".into(),
        sans: vec!["127.0.0.1".into(), "localhost".into()],
        endpoint: None,
        operator: "ann".into(),
        operator_out: dir.join("operator.toml"),
    }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Short times, so that tests do not wait for nothing.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let new = new_fleet(dir.path());
        let pin = init(&new).await.expect("a new fleet");
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut config = Config {
            data: new.data.clone(),
            listen: any,
            enroll_listen: any,
            http_listen: any,
            heartbeat: Duration::from_millis(200),
            azure_interval: Duration::from_millis(100),
            azure_timeout: Duration::from_secs(2),
            azure_stale: Duration::from_millis(300),
            adopt_window: Duration::from_millis(500),
            ..Config::default()
        };
        change(&mut config);
        let credential = Credential::read(&new.operator_out);
        let running = Running::start(config.clone()).await.expect("it starts");
        let operator = operator_of(&running, &credential);
        Self { dir, running: Some(running), config, credential, operator, pin }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("the coordinator runs")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.config.data.clone()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) async fn begin(&mut self) {
        let running = Running::start(self.config.clone()).await.expect("it starts again");
        self.operator = operator_of(&running, &self.credential);
        self.running = Some(running);
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.begin().await;
    }

    /// A pool whose hosts are those of a lab. Azure is not there unless `url` says so.
    pub(crate) async fn create_pool(&mut self, name: &str, selector: &str, url: &str) -> v1::Pool {
        let request = pool_request(name, selector, url);
        let created = self.operator.create_pool(request).await.expect("created").into_inner();
        created.pool.expect("the pool")
    }

    pub(crate) async fn scale(
        &mut self,
        pool: &str,
        replicas: i64,
    ) -> Result<v1::ScaleResponse, tonic::Status> {
        let request = v1::ScaleRequest { pool: pool.into(), replicas, ..Default::default() };
        Ok(self.operator.scale(request).await?.into_inner())
    }

    pub(crate) async fn status(&mut self) -> v1::GetStatusResponse {
        self.operator.get_status(v1::GetStatusRequest {}).await.expect("a status").into_inner()
    }

    pub(crate) async fn invite(&mut self, host: &str, lab: &str) -> v1::InviteHostResponse {
        let request = v1::InviteHostRequest {
            host: host.into(),
            lab: lab.into(),
            ..v1::InviteHostRequest::default()
        };
        self.operator.invite_host(request).await.expect("invited").into_inner()
    }

    /// Waits until a watched object is as asked for; returns it.
    pub(crate) async fn wait<T>(
        &mut self,
        what: v1::WatchRequest,
        wanted: impl Fn(&Change) -> Option<T>,
    ) -> T {
        let mut watch = self.operator.watch(what).await.expect("a watch").into_inner();
        wait_in(&mut watch, wanted).await
    }

    pub(crate) async fn wait_host(
        &mut self,
        host: &str,
        wanted: impl Fn(&v1::Host) -> bool,
    ) -> v1::Host {
        let request =
            v1::WatchRequest { hosts: true, host: host.into(), ..v1::WatchRequest::default() };
        let found = |change: &Change| match change {
            Change::Host(host) if wanted(host) => Some(host.clone()),
            _ => None,
        };
        self.wait(request, found).await
    }

    pub(crate) async fn wait_pool(
        &mut self,
        pool: &str,
        wanted: impl Fn(&v1::Pool) -> bool,
    ) -> v1::Pool {
        let request =
            v1::WatchRequest { pools: true, pool: pool.into(), ..v1::WatchRequest::default() };
        let found = |change: &Change| match change {
            Change::Pool(pool) if wanted(pool) => Some(pool.clone()),
            _ => None,
        };
        self.wait(request, found).await
    }

    /// Kinds of events so far, oldest first.
    pub(crate) async fn history(&mut self) -> Vec<v1::Event> {
        let request = v1::ListEventsRequest { limit: 10_000, ..v1::ListEventsRequest::default() };
        let mut stream = self.operator.list_events(request).await.expect("a history").into_inner();
        let mut events = Vec::new();
        while let Some(response) = stream.message().await.expect("readable") {
            events.push(response.event.expect("an event"));
        }
        events
    }

    /// Waits for an event of that kind.
    pub(crate) async fn wait_event(&mut self, kind: &str) -> v1::Event {
        let request = v1::ListEventsRequest {
            limit: 10_000,
            follow: true,
            ..v1::ListEventsRequest::default()
        };
        let mut stream = self.operator.list_events(request).await.expect("a history").into_inner();
        let found = async {
            loop {
                let response = stream.message().await.expect("readable").expect("goes on");
                let event = response.event.expect("an event");
                if event.kind == kind {
                    return event;
                }
            }
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no event {kind}"))
    }
}

pub(crate) async fn wait_in<T>(
    watch: &mut Streaming<v1::WatchResponse>,
    wanted: impl Fn(&Change) -> Option<T>,
) -> T {
    let mut last = None;
    let found = async {
        loop {
            let response = watch.message().await.expect("a live watch").expect("goes on");
            let change = response.change.expect("a change");
            if let Some(found) = wanted(&change) {
                return found;
            }
            last = Some(change);
        }
    };
    match tokio::time::timeout(LIMIT, found).await {
        Ok(found) => found,
        Err(_) => panic!("it did not happen; the last change was {last:?}"),
    }
}

pub(crate) fn channel(running: &Running, identity: &Identity, ca: &str) -> Channel {
    let config = tls::client_config(identity, ca).expect("a client");
    let endpoint = running.addresses.listen.to_string();
    tls::channel(&endpoint, "127.0.0.1", Arc::new(ArcSwap::new(config)), None).expect("a channel")
}

pub(crate) fn operator_of(
    running: &Running,
    credential: &Credential,
) -> FleetServiceClient<Channel> {
    FleetServiceClient::new(channel(running, &credential.identity(), &credential.ca))
}

pub(crate) fn pool_request(name: &str, selector: &str, url: &str) -> v1::CreatePoolRequest {
    let template = fleet_model::Template::docker(
        "fleet-agent:demo".parse().expect("an image"),
        fleet_model::Mode::Once,
    );
    let mut spec = fleet_model::PoolSpec::single(
        name.parse().expect("a pool"),
        fleet_model::AzureTarget { url: url.into(), pool: name.into() },
        name.parse().expect("a credential"),
        selector.parse().expect("a selector"),
        template,
    )
    .expect("a prefix");
    spec.settle = Duration::from_secs(1);
    v1::CreatePoolRequest {
        spec: Some(spec.into()),
        secret: format!("pat-of-{name}\n").into_bytes(),
        secret_expires: None,
    }
}
