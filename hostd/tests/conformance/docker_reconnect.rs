//! An engine that goes away and comes back, played by a relay before the real one: what it cuts is
//! every connection at once, as a restart does.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use fleet_model::Mode;
use hostd::runtime::{
    Runtime, RuntimeError, RuntimeEvent, Sign, StartWith, WorkerCheck,
    docker::{DockerRuntime, DockerSettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    bench::{Bench, error},
    docker::{bench, docker, runtime},
    watching::Watching,
};

/// Relays a socket until it is dropped.
struct Relay {
    path: PathBuf,
    _tasks: JoinSet<()>,
}

impl Relay {
    fn start(path: PathBuf) -> Self {
        Self::with(path, |near, far| async move {
            let (mut near, mut far) = (near, far);
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        })
    }

    /// Logs come only after a container's end was announced, as on a busy engine they may.
    fn with_late_logs(path: PathBuf) -> Self {
        let died = Arc::new(watch::Sender::new(false));
        Self::with(path, move |near, far| late_logs(near, far, died.clone()))
    }

    fn with<F>(path: PathBuf, carry: impl Fn(UnixStream, UnixStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::bind(&path).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Dropped with this task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = UnixStream::connect("/var/run/docker.sock").await else { return };
                connections.spawn(carry(near, far));
            }
        });
        Self { path, _tasks: tasks }
    }
}

async fn late_logs(mut near: UnixStream, mut far: UnixStream, died: Arc<watch::Sender<bool>>) {
    let mut bytes = vec![0; 64 * 1024];
    let Ok(length) = near.read(&mut bytes).await else { return };
    let head = String::from_utf8_lossy(&bytes[..length]).into_owned();
    if far.write_all(&bytes[..length]).await.is_err() {
        return;
    }
    if head.contains("/logs?") && died.subscribe().wait_for(|died| *died).await.is_err() {
        return;
    }
    if !head.contains("/events?") {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        return;
    }
    while let Ok(length @ 1..) = far.read(&mut bytes).await {
        if near.write_all(&bytes[..length]).await.is_err() {
            return;
        }
        if String::from_utf8_lossy(&bytes[..length]).contains("\"Action\":\"die\"") {
            died.send_replace(true);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_comes_back_is_listed_anew_and_no_sign_is_repeated() {
    let bench = bench().await;
    let socket = bench.dir.path().join("engine.sock");
    let relay = Relay::start(socket.clone());
    let runtime: Arc<dyn Runtime> =
        Arc::new(runtime(&DockerSettings { socket: socket.clone(), ..bench.settings.clone() }));
    let (idle, over) = (bench.spec(1, Mode::LongLived), bench.spec(2, Mode::LongLived));
    let removed = bench.spec(3, Mode::LongLived);
    let mut watching = Watching::begin(runtime.clone()).await;
    for spec in [&idle, &over, &removed] {
        runtime.ensure_started(spec).await.unwrap();
        watching.listening(&spec.run).await;
    }

    drop(relay);
    let down = |event: &RuntimeEvent| matches!(event, RuntimeEvent::EngineDown(_));
    watching.until("EngineDown", down).await;
    assert!(matches!(runtime.worker(&idle.run).await, WorkerCheck::Unknown(_)));
    let silent = error(runtime.list().await);
    assert!(matches!(silent, RuntimeError::EngineDown { .. }), "{silent}");
    // Meanwhile, behind our back.
    docker(&["kill", &over.run.to_string()]);
    docker(&["rm", "-f", &removed.run.to_string()]);

    let _relay = Relay::start(socket);
    watching.until("EngineUp", |event| *event == RuntimeEvent::EngineUp).await;
    for event in
        [RuntimeEvent::Ended(over.run.clone(), Some(137)), RuntimeEvent::Gone(removed.run.clone())]
    {
        watching.once(&format!("{event:?}"), |seen| *seen == event).await;
    }
    // A job makes the idle one speak again; what it said before is not said again.
    bench.give_job(&idle.run, Duration::from_millis(200)).await;
    watching.busy(&idle.run).await;
    let listened = watching
        .seen(&idle.run)
        .into_iter()
        .filter(|event| format!("{event:?}").contains("Listening"))
        .count();
    assert_eq!(listened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_waits_for_a_log_that_comes_late() {
    let bench = bench().await;
    let socket = bench.dir.path().join("engine.sock");
    let _relay = Relay::with_late_logs(socket.clone());
    let runtime: Arc<dyn Runtime> =
        Arc::new(runtime(&DockerSettings { socket, ..bench.settings.clone() }));
    let mut watching = Watching::begin(runtime.clone()).await;
    let mut spec = bench.spec(1, Mode::Once);
    spec.start = StartWith::Token(String::from("wrong").into());
    runtime.ensure_started(&spec).await.unwrap();
    assert_eq!(watching.ended(&spec.run).await, Some(70));
    let why = |event: &&RuntimeEvent| matches!(event, RuntimeEvent::Sign(_, Sign::Complaint(_)));
    assert!(watching.seen(&spec.run).iter().any(why), "{:?}", watching.seen(&spec.run));
}

/// An engine that accepts connections and never answers.
#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_a_bounded_wait() {
    let dir = tempfile::TempDir::with_prefix("fleet-test-").unwrap();
    let socket = dir.path().join("engine.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let settings = DockerSettings {
        socket,
        runs_dir: dir.path().join("runs"),
        ..DockerSettings::new("h".parse().unwrap())
    };
    let runtime = DockerRuntime::new(settings);
    let began = tokio::time::Instant::now();
    let silent = error(runtime.list().await);
    assert!(matches!(silent, RuntimeError::EngineDown { .. }), "{silent}");
    assert!(began.elapsed() <= Duration::from_secs(60), "{:?}", began.elapsed());
}
