//! A host's session by itself: what the loop would show is shown by the test, and what the loop
//! would be told is read by it.

use std::{path::Path, sync::Arc};

use fleet_model::{AgentStatus, At, Intent, Phase, RuntimeKind};
use fleet_proto::seal::SealKey;
use hostd::{
    host_loop::Input,
    identity::{
        IdentityStore, Place,
        join::{self, Invitation, JoinError},
        renew,
    },
    logs::Logs,
    runtime::{Runtime, fake::FakeRuntime},
    secrets::Secrets,
    session::{self, Parts, Way},
    slots::SlotStore,
    view::{Happened, View},
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Coordinator, LIMIT};

pub(crate) const NAME: &str = "svcstr-server-2";

/// Joins with that token.
pub(crate) async fn join_with(
    coordinator: &Coordinator,
    data: &Path,
    token: &str,
    force: bool,
) -> Result<Place, JoinError> {
    let invitation = Invitation {
        coordinator: coordinator.enroll.to_string(),
        name: NAME.parse().expect("a name"),
        ca_pin: coordinator.pin(),
        token: token.to_owned().into(),
        data: data.to_owned(),
        force,
        proxy: None,
    };
    join::join(invitation).await
}

/// One life of a host's session.
pub(crate) struct Host {
    pub(crate) runtime: FakeRuntime,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) history: broadcast::Sender<Happened>,
    pub(crate) heard: mpsc::Receiver<Input>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) identity: Arc<IdentityStore>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Host {
    pub(crate) fn start(data: &Path) -> Self {
        let key = || SealKey::load_or_create(&data.join("seal.key")).expect("a key");
        let identity = Arc::new(IdentityStore::load(data).expect("joined"));
        let secrets = Arc::new(Secrets::load(data, Arc::new(key())));
        let (view, seen) = watch::channel(Arc::default());
        let (history, told) = broadcast::channel(64);
        let (inbox, heard) = mpsc::channel(64);
        let (channel, open) = watch::channel(None);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(renew::keep_fresh(Arc::clone(&identity), open, stop.clone()));
        let runtime = FakeRuntime::new();
        let served: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let logs = Arc::new(Logs {
            runtimes: [(RuntimeKind::Fake, Arc::clone(&served))].into(),
            slots: SlotStore::within(data, Arc::new(key())),
            secrets: Arc::clone(&secrets),
            view: seen.clone(),
        });
        let parts = Parts {
            identity: Arc::clone(&identity),
            way: Way::default(),
            labels: [("rack".parse().expect("a key"), "r1".to_owned())].into(),
            capacity: Some(7),
            runtimes: vec![served],
            boot_id: "boot".into(),
            instance_id: "instance".into(),
            view: seen,
            history: told,
            inbox,
            secrets: Arc::clone(&secrets),
            logs,
            in_session: watch::Sender::new(false),
            channel,
        };
        tasks.spawn(session::run(parts, stop.clone()));
        Self { runtime, view, history, heard, secrets, identity, stop, tasks }
    }

    pub(crate) async fn hear(&mut self) -> Input {
        timeout(LIMIT, self.heard.recv()).await.expect("in time").expect("the session lives")
    }

    pub(crate) fn show(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|view| change(Arc::make_mut(view)));
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, all).await.expect("everything ends when told to");
    }
}

pub(crate) fn status(number: u16, phase: Phase) -> AgentStatus {
    AgentStatus {
        agent: format!("nightly-{NAME}-{number:02}").parse().expect("a name"),
        pool: "nightly".parse().expect("a name"),
        group: "default".parse().expect("a name"),
        slot: number,
        runtime: RuntimeKind::Fake,
        attempt: 1,
        phase,
        since: At(1),
        intent: Intent::Keep,
        job: None,
        why: "as the test says".into(),
        agent_id: Some(i64::from(number)),
        placeholder: false,
        quarantine: None,
        disk_bytes: None,
    }
}
