//! One host without a network: the real loop, executor, ledger and stores around a fake runtime and
//! a fake Azure, in virtual time.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use fleet_model::{
    AgentName, Assignment, At, AzureTarget, ConditionKind, CredentialRef, GroupAssignment,
    HostName, ImageRef, Mode, Order, Phase, PoolAssignment, PoolName, RuntimeKind, Template,
    Wanted,
};
use fleet_proto::seal::{SealKey, fingerprint};
use hostd::{
    clock::{Clock, Clocks},
    daemon::kept,
    evidence::EvidenceStore,
    execute::{Executor, Means},
    guardian::Cleaner,
    host_loop::{HostLoop, Input, Parts},
    ledger_file::LedgerFile,
    runtime::{RunId, RunState, Runtime, fake::FakeRuntime},
    secrets::Secrets,
    slots::SlotStore,
    view::{Happened, View},
    watch,
};
use hostd_plan::Known;
use tokio::{
    sync::{broadcast, mpsc, watch as watched},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{azure::FakeAzure, noted::Noted};

pub(crate) const TOKEN: &[u8] = b"a-token";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SETTLE: Duration = Duration::from_secs(20);

/// What was asked of runtime and Azure, in order, with virtual times.
#[derive(Clone)]
pub(crate) struct Journal {
    zero: Instant,
    lines: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Journal {
    pub(crate) fn note(&self, line: String) {
        self.lines.lock().expect("whole").push((self.zero.elapsed(), line));
    }

    /// Lines about one of these words, in order.
    pub(crate) fn about(&self, words: &[&str]) -> Vec<(Duration, String)> {
        let lines = self.lines.lock().expect("whole");
        let about = |line: &str| line.split(' ').any(|word| words.contains(&word));
        lines.iter().filter(|(_, line)| about(line)).cloned().collect()
    }

    pub(crate) fn count(&self, verb: &str) -> usize {
        self.about(&[verb]).len()
    }
}

/// The machine's clocks: its wall clock can be set.
pub(crate) struct SetClocks {
    zero: Instant,
    set_by_ms: AtomicI64,
}

impl SetClocks {
    pub(crate) fn set_by(&self, time: i64) {
        self.set_by_ms.fetch_add(time, Ordering::SeqCst);
    }
}

impl Clocks for SetClocks {
    fn wall(&self) -> At {
        let steady = At(1_700_000_000_000) + self.zero.elapsed();
        steady.moved(self.set_by_ms.load(Ordering::SeqCst))
    }

    fn up(&self) -> Duration {
        self.zero.elapsed()
    }

    fn boot(&self) -> String {
        "one boot".into()
    }
}

/// What outlives hostd: the disk, the engine, Azure, the machine's clocks.
pub(crate) struct World {
    pub(crate) clocks: Arc<SetClocks>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fake: FakeRuntime,
    pub(crate) azure: FakeAzure,
    pub(crate) journal: Journal,
    pub(crate) twins: Arc<AtomicBool>,
    pub(crate) half_made: Arc<AtomicU32>,
}

impl World {
    pub(crate) fn new() -> Self {
        let journal = Journal { zero: Instant::now(), lines: Arc::default() };
        let clocks = SetClocks { zero: journal.zero, set_by_ms: AtomicI64::new(0) };
        Self {
            clocks: Arc::new(clocks),
            dir: tempfile::tempdir().expect("a directory"),
            fake: FakeRuntime::new(),
            azure: FakeAzure::new(journal.clone()),
            journal,
            twins: Arc::default(),
            half_made: Arc::default(),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }

    /// hostd starts.
    pub(crate) fn start(&self) -> Host {
        Host::start(self)
    }

    /// Agents and attempts of runs that run.
    pub(crate) async fn running(&self) -> Vec<RunId> {
        let all = self.fake.list().await.expect("the engine answers");
        all.into_iter().filter(|r| r.state == RunState::Running).map(|r| r.run).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(!self.twins.load(Ordering::SeqCst), "two runs of one agent at the same time");
        }
    }
}

/// One life of hostd, without session.
pub(crate) struct Host {
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) view: watched::Receiver<Arc<View>>,
    pub(crate) history: broadcast::Receiver<Happened>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) in_session: watched::Sender<bool>,
    stop: CancellationToken,
    turning: JoinHandle<()>,
    watching: JoinHandle<()>,
}

impl Host {
    fn start(world: &World) -> Self {
        let key = SealKey::load_or_create(&world.data().join("seal.key")).expect("a key");
        let key = Arc::new(key);
        let slots = SlotStore::within(world.data(), Arc::clone(&key));
        let secrets = Arc::new(Secrets::load(world.data(), key));
        // A directory of its own, so that a test can take it away.
        let ledger = LedgerFile::within(&world.data().join("ledger"));
        let clock = Clock::of(world.clocks.clone());
        let found = kept::ledger(&ledger, &slots, &clock.moment()).expect("usable");
        let runtime: Arc<dyn Runtime> = Arc::new(Noted {
            fake: world.fake.clone(),
            journal: world.journal.clone(),
            twins: Arc::clone(&world.twins),
            half_made: Arc::clone(&world.half_made),
        });
        let runtimes = BTreeMap::from([(RuntimeKind::Docker, Arc::clone(&runtime))]);
        let executor = Executor::new(Means {
            host: host(),
            fleet: "f".into(),
            runtimes: runtimes.clone(),
            slots: slots.clone(),
            evidence: EvidenceStore::within(world.data()),
            secrets: Arc::clone(&secrets),
            azure: Arc::new(world.azure.clone()),
            labels: fleet_model::Labels::default(),
            starts_at_once: 8,
            cleaner: Cleaner::within(world.data(), ledger.clone()),
        });
        let (to_loop, inbox) = mpsc::channel(1024);
        let (view, seen) = watched::channel(Arc::default());
        let (history, told) = broadcast::channel(4096);
        // As with a coordinator; what a host does alone is a test of its own.
        let (in_session, session) = watched::channel(false);
        in_session.send_replace(true);
        let stop = CancellationToken::new();
        let watching = watch::watch(runtime, slots.clone(), to_loop.clone(), stop.clone());
        let parts = Parts {
            known: Known::new(host(), [RuntimeKind::Docker].into(), found.ledger),
            clock,
            ledger,
            ledger_was: found.warning,
            executor: Arc::new(executor),
            runtimes,
            slots,
            secrets: Arc::clone(&secrets),
            inbox: (to_loop.clone(), inbox),
            in_session: session,
            view,
            history,
            alive: Box::new(|| ()),
        };
        Self {
            inbox: to_loop,
            in_session,
            view: seen,
            history: told,
            secrets,
            turning: tokio::spawn(HostLoop::new(parts).run(stop.clone())),
            watching: tokio::spawn(watching),
            stop,
        }
    }

    pub(crate) async fn tell(&self, input: Input) {
        self.inbox.send(input).await.expect("the loop turns");
    }

    pub(crate) async fn give_credential(&self) {
        self.secrets.put(&credential(), TOKEN).expect("taken");
        self.tell(Input::CredentialsChanged).await;
    }

    /// The credential, then `count` agents wanted.
    pub(crate) async fn want(&self, generation: u64, count: u32) {
        self.give_credential().await;
        self.tell(Input::Assignment(assignment(generation, count))).await;
    }

    /// Waits, at most `limit` of virtual time, until the view is as wanted.
    pub(crate) async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&View) -> bool,
    ) {
        let reached = timeout(limit, self.view.wait_for(|view| wanted(view))).await;
        let reached = reached.map(|seen| seen.map(drop));
        if !matches!(reached, Ok(Ok(()))) {
            panic!("not within {limit:?}: {what}; there is {:#?}", self.view.borrow());
        }
    }

    pub(crate) async fn until_idle(&mut self, count: usize) {
        let what = format!("{count} idle agents");
        self.until(Duration::from_secs(120), &what, |view| {
            view.agents.len() == count && phases(view, Phase::Idle) == count
        })
        .await;
    }

    pub(crate) fn agents(&self) -> Vec<AgentName> {
        self.view.borrow().agents.keys().cloned().collect()
    }

    /// The row of an agent.
    pub(crate) fn row(&self, agent: &AgentName) -> i64 {
        self.view.borrow().agents[agent].agent_id.expect("registered")
    }

    /// The agent's newest run.
    pub(crate) fn run(&self, agent: &AgentName) -> RunId {
        RunId { agent: agent.clone(), attempt: self.view.borrow().agents[agent].attempt }
    }

    /// `kill -9`.
    pub(crate) async fn kill(self) {
        self.turning.abort();
        self.watching.abort();
        let _ = (self.turning.await, self.watching.await);
    }

    /// SIGTERM.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.turning.await.expect("it ends");
        self.watching.await.expect("it ends");
    }
}

pub(crate) fn host() -> HostName {
    "h1".parse().expect("a name")
}

pub(crate) fn pool() -> PoolName {
    "nightly".parse().expect("a name")
}

pub(crate) fn image() -> ImageRef {
    "agent:1".parse().expect("an image")
}

pub(crate) fn credential() -> CredentialRef {
    CredentialRef { name: "pat".parse().expect("a name"), fingerprint: fingerprint(TOKEN) }
}

pub(crate) fn assignment(generation: u64, replicas: u32) -> Assignment {
    let template = Template::docker(image(), Mode::Once);
    let group = GroupAssignment { template: template.into(), replicas, placeholder: false };
    let part = PoolAssignment {
        azure: AzureTarget { url: "https://azure.example/o".into(), pool: "nightly".into() },
        prefix: "nightly".parse().expect("a prefix"),
        settle: SETTLE,
        credential: credential(),
        wanted: Wanted::Groups([("default".parse().expect("a name"), group)].into()),
        gone_groups: Default::default(),
        forced: None,
        paused: None,
    };
    Assignment {
        order: Order::new(1, generation),
        pools: [(pool(), part)].into(),
        ..Default::default()
    }
}

pub(crate) fn phases(view: &View, phase: Phase) -> usize {
    view.agents.values().filter(|agent| agent.phase == phase).count()
}

/// The message of a condition of that kind, if it holds.
pub(crate) fn condition(view: &View, kind: ConditionKind) -> Option<String> {
    let found = view.conditions.iter().find(|condition| condition.kind == kind);
    found.map(|condition| condition.message.clone())
}
