//! Images with a start script of their own, by Microsoft's container contract.

use std::{fs, sync::Arc};

use fleet_model::{Entry, Mode};
use hostd::runtime::{RunState, Runtime, WorkerCheck};

use crate::{
    azure::TOKEN,
    bench::Bench,
    docker::{bench, docker},
    watching::Watching,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_its_listener_although_its_script_goes_on() {
    let mut bench = bench().await;
    bench.template.entry = Entry::Image;
    let spec = bench.spec(1, Mode::LongLived);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.is_online(&spec.run, true).await;
    assert_eq!(bench.runtime.worker(&spec.run).await, WorkerCheck::None);
    let token = bench.settings.runs_dir.join(spec.run.to_string()).join("fleet/token");
    assert!(!token.exists(), "no job can find the token");
    assert!(!docker(&["inspect", &spec.run.to_string()]).contains(TOKEN));

    bench.runtime.interrupt(&spec.run).await.unwrap();
    watching.ended(&spec.run).await;
    bench.is_online(&spec.run, false).await;
    // The script has no token left to remove the registration with, and tries again and again.
    let state = docker(&["inspect", "-f", "{{.State.Running}}", &spec.run.to_string()]);
    assert_eq!(state.trim(), "true");
    assert_eq!(bench.runtime.list().await.unwrap()[0].state, RunState::Ended(None));
    assert_eq!(bench.runtime.worker(&spec.run).await, WorkerCheck::None);

    // A hostd that comes later finds that out by itself.
    let again = bench.again();
    let mut watching = Watching::begin(again.clone()).await;
    watching.ended(&spec.run).await;
    again.ensure_removed(&spec.run).await.unwrap();
    watching.gone(&spec.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_one_shows_its_worker_to_a_hostd_that_comes_later() {
    let mut bench = bench().await;
    bench.template.entry = Entry::Image;
    let spec = bench.spec(1, Mode::LongLived);
    let mut watching = Watching::begin(bench.runtime()).await;
    bench.runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.give_job(&spec.run, std::time::Duration::from_secs(300)).await;
    watching.busy(&spec.run).await;
    drop(watching);
    let again: Arc<dyn Runtime> = bench.again();
    let mut watching = Watching::begin(again.clone()).await;
    watching.busy(&spec.run).await;
    assert_eq!(again.worker(&spec.run).await, WorkerCheck::Present);
    assert!(fs::metadata(&bench.settings.runs_dir).is_ok());
}
