//! The loop in virtual time, on a store that counts and can fail.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use fleet_model::{
    HostFacts, HostName, HostState, Order, PoolSpec,
    numbers::{AZURE_STALE, LEFTOVER_AGE, TIDY_EVERY},
};
use fleet_proto::{convert::Hello, seal::SealKey};

use super::*;
use crate::{
    book::Changes,
    records::{HOST, META, META_ID, Meta, POOL},
    store::{Batch, Committed, EventQuery, MemoryStore, Object, StoredEvent},
};

/// A store in memory that counts commits, and refuses them while told to.
#[derive(Default)]
struct Fickle {
    inner: MemoryStore,
    commits: AtomicUsize,
    broken: AtomicBool,
}

#[async_trait]
impl Store for Fickle {
    async fn load_all(&self) -> Result<Vec<Object>, StoreError> {
        self.inner.load_all().await
    }
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Io { what: "write", source: "no space left".into() });
        }
        self.inner.commit(batch).await
    }
    async fn events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        self.inner.events(query).await
    }
    async fn prune_events(&self, before: At) -> Result<u64, StoreError> {
        self.inner.prune_events(before).await
    }
    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.inner.backup(to).await
    }
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Fleet {
    store: Arc<Fickle>,
    handle: FleetHandle,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

const KEY: &str = "the key of h1";

/// A loop with one joined host and one pool.
async fn fleet() -> Fleet {
    let store = Arc::new(Fickle::default());
    let mut changes = Changes::default();
    let meta = Meta {
        fleet: "lab".into(),
        names: Vec::new(),
        order: Order::new(1, 0),
        ahead: None,
        adopt: false,
    };
    changes.put(META, META_ID, &meta);
    let spec: PoolSpec = serde_json::from_value(serde_json::json!({
        "name": "nightly", "azure": {"url": "http://azure/x", "pool": "nightly"},
        "prefix": "nightly", "replicas": 0, "settle": {"secs": 20, "nanos": 0},
        "credential": "nightly", "deleted": false,
        "groups": [{"name": "default", "selector": "", "weight": 1, "max_per_host": null,
            "template": {"runtime": "docker", "image": "i:1", "mode": "once", "entry": "own",
                "env": {}, "limits": {"cpu_millis": null, "memory_bytes": null, "pids": null},
                "caches": [], "mtu": null, "proxy": {"http": null, "https": null, "no_proxy": null},
                "docker_socket": false}}],
    }))
    .expect("a pool");
    changes.put(POOL, &spec.name, &spec);
    let host = coordinator_plan::HostRecord {
        name: host(),
        labels: Default::default(),
        restraint: None,
        invited: At(0),
        joined: Some(At(0)),
        keys: vec![KEY.into()],
        certificate_expires: None,
    };
    changes.put(HOST, &host.name, &host);
    store.commit(changes.into_first_batch()).await.expect("stored");
    run(store).await
}

async fn run(store: Arc<Fickle>) -> Fleet {
    let dir = tempfile::tempdir().expect("a directory");
    let key = SealKey::load_or_create(&dir.path().join("key")).expect("a key");
    let stop = CancellationToken::new();
    let parts = LoopParts {
        store: Arc::clone(&store) as Arc<dyn Store>,
        vault: Arc::new(Vault::new(key)),
        clock: Clock::start(),
        settings: LoopSettings {
            heartbeat: Duration::from_secs(5),
            max_sessions: 10,
            adopt_window: Duration::from_secs(60),
            leftover_age: LEFTOVER_AGE,
            tidy_every: TIDY_EVERY,
            azure_stale: AZURE_STALE,
        },
        metrics: Arc::new(Metrics::default()),
        stop: stop.clone(),
    };
    let (fleet_loop, ends) = FleetLoop::load(parts).await.expect("loaded");
    tokio::spawn(fleet_loop.run());
    Fleet { store, handle: ends.handle, stop, _dir: dir }
}

/// Returns when the session is told to end.
async fn ended(grant: &Grant) {
    while grant.outbox.take().end.is_none() {
        let changed = tokio::time::timeout(Duration::from_secs(60), grant.outbox.changed());
        changed.await.expect("the session is told");
    }
}

fn host() -> HostName {
    "h1".parse().expect("a name")
}

impl Fleet {
    async fn scale(&self, replicas: i64) -> Result<u32, Denied> {
        let scaled = self.handle.ask(|reply| Request::Scale {
            pool: "nightly".into(),
            replicas,
            insist: Insist::default(),
            by: "ann".into(),
            reply,
        });
        Ok(scaled.await?.pool.counts.expect("counts").desired)
    }

    async fn open(&self, instance: &str) -> Result<Grant, Denied> {
        let hello = Box::new(Hello {
            host: host(),
            instance_id: instance.into(),
            highest: Order::default(),
            facts: HostFacts {
                runtimes: [fleet_model::RuntimeKind::Docker].into(),
                ..HostFacts::default()
            },
        });
        self.handle.open(|reply| SessionEvent::Open { hello, key: KEY.into(), reply }).await
    }

    async fn events(&self) -> Vec<String> {
        let query = EventQuery { limit: 1000, ..EventQuery::default() };
        let events = self.store.events(query).await.expect("readable");
        events.into_iter().map(|event| event.kind).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_costs_a_handful_of_commits() {
    let fleet = fleet().await;
    fleet.handle.summary().await.expect("it runs");
    let before = fleet.store.commits.load(Ordering::SeqCst);
    let burst = (1..=500).map(|replicas| fleet.scale(replicas));
    let outcomes = futures_util::future::join_all(burst).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let commits = fleet.store.commits.load(Ordering::SeqCst) - before;
    // Not exactly one: the runtime lets the loop take its turn before all have asked.
    assert!(commits <= 20, "{commits} commits for 500 changes");
    fleet.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_did_not_happen() {
    let fleet = fleet().await;
    fleet.scale(3).await.expect("scaled");
    let grant = fleet.open("one").await.expect("a session");
    fleet.store.broken.store(true, Ordering::SeqCst);
    let refused = fleet.scale(5).await.expect_err("no space").to_string();
    assert!(refused.contains("no space left"), "{refused}");
    let summary = fleet.handle.summary().await.expect("it goes on");
    let pool: fleet_model::PoolName = "nightly".parse().expect("a pool");
    assert_eq!(summary.pools[&pool].desired, 3);
    assert!(summary.store_trouble.is_some_and(|trouble| trouble.contains("no space left")));
    // Sessions come again, to a state that agrees with the store.
    ended(&grant).await;
    fleet.store.broken.store(false, Ordering::SeqCst);
    assert_eq!(fleet.scale(5).await.expect("and then it works"), 5);
    assert!(fleet.handle.summary().await.expect("well").store_trouble.is_none());
    fleet.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_disconnected_at_once_and_down_after_its_lease() {
    let fleet = fleet().await;
    let grant = fleet.open("one").await.expect("a session");
    let closed = SessionEvent::Closed { host: host(), session: grant.session, why: "test".into() };
    fleet.handle.tell(closed).await.expect("told");
    let state = async || {
        let summary = fleet.handle.summary().await.expect("it runs");
        summary.hosts.into_iter().find(|(_, count)| *count == 1).map(|(state, _)| state)
    };
    assert_eq!(state().await, Some(HostState::Disconnected));
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(state().await, Some(HostState::Disconnected));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state().await, Some(HostState::Down));
    let events = fleet.events().await;
    for kind in ["host.ready", "host.disconnected", "host.down"] {
        assert_eq!(events.iter().filter(|k| *k == kind).count(), 1, "{kind} in {events:?}");
    }
    fleet.open("two").await.expect("it comes back");
    assert_eq!(state().await, Some(HostState::Ready));
    fleet.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_silent_past_gives_way_after_one_and_a_half_heartbeats() {
    let fleet = fleet().await;
    fleet.open("one").await.expect("a session");
    let started = tokio::time::Instant::now();
    fleet.open("two").await.expect("the place");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(7500) && waited < Duration::from_secs(9), "{waited:?}");
    fleet.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_living_past_keeps_its_place() {
    let fleet = fleet().await;
    let grant = fleet.open("one").await.expect("a session");
    let beats = async {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let (host, session) = (host(), grant.session);
            let heard = SessionEvent::Heard { host, session, applied: Order::default() };
            fleet.handle.tell(heard).await.expect("told");
        }
    };
    let second = tokio::select! {
        second = fleet.open("two") => second,
        () = beats => unreachable!("it beats for ever"),
    };
    assert!(matches!(second, Err(Denied::SecondInstance(_))));
    assert!(fleet.events().await.contains(&"host.second-instance".to_owned()));
    fleet.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_when_told_and_says_so() {
    let fleet = fleet().await;
    let grant = fleet.open("one").await.expect("a session");
    fleet.stop.cancel();
    ended(&grant).await;
    assert!(matches!(fleet.handle.summary().await, Err(Denied::Away(_))));
}
