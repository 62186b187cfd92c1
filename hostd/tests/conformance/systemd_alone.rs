//! Without hostd, and without agent-run: agents go on, and no job is lost.

use std::time::Duration;

use azdo::sim::JobForm;
use fleet_model::Mode;
use hostd::runtime::{RunSeen, RunState, Runtime, WorkerCheck};

use crate::{
    azure::NEW_VERSION,
    bench::{Bench, error, next},
    systemd::{Case, Units},
    systemd_clean::{finished, give_script, registered, shell},
    watching::{LIMIT, Watching},
};

pub(crate) const CASES: &[Case] = &[
    ("once_mode_goes_on_while_hostd_is_away", |b| Box::pin(hostd_away(b))),
    ("an_update_is_finished_while_hostd_is_away", |b| Box::pin(update_alone(b))),
    ("a_listener_that_hangs_makes_room_while_hostd_is_away", |b| Box::pin(hang_alone(b))),
    ("a_job_outlives_the_process_above_its_listener", |b| Box::pin(agent_run_killed(b))),
    ("a_listener_that_was_not_written_down_is_taken_over_too", |b| Box::pin(unwritten(b))),
    ("a_worker_that_outlives_its_listener_ends_its_job_first", |b| Box::pin(orphan(b))),
    ("a_stop_by_hand_waits_for_the_job", |b| Box::pin(stopped_by_hand(b))),
    ("a_unit_that_is_gone_with_everything_in_it_has_ended", |b| Box::pin(all_killed(b))),
    ("what_makes_no_sense_of_one_run_hides_no_other", |b| Box::pin(garbled(b))),
    ("after_a_reboot_what_ran_has_ended", |b| Box::pin(rebooted(b))),
    ("without_a_system_bus_it_says_so", |b| Box::pin(no_bus(b))),
];

async fn hostd_away(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    drop(watching);
    // Three jobs one after another, each by a listener of its own in an empty work folder.
    for round in 0..3 {
        let job = give_script(bench, &spec, "echo x >left");
        let done = finished(bench, job).await;
        assert_eq!(done.result.as_deref(), Some("succeeded"), "job {round}");
        assert_eq!(done.record.unwrap().work_folder, [""; 0], "job {round}");
    }
    bench.is_online(&spec.run, false).await;
    bench.is_online(&spec.run, true).await;
    assert_eq!(bench.registrations(&spec.run), 1);

    // hostd is back: the run is adopted as it is, and the next end is hostd's again.
    let runtime = bench.again();
    let mut watching = Watching::begin(runtime.clone()).await;
    assert_eq!(runtime.list().await.unwrap()[0].state, RunState::Running);
    bench.give_job(&spec.run, Duration::from_millis(300)).await;
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    assert_eq!(runtime.list().await.unwrap()[0].state, RunState::Ended(Some(0)));
}

async fn update_alone(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    drop(watching);
    bench.update(&spec.run).await;
    // Exit code 4: no job was run, so it is no failure, and the same place goes on updated.
    bench.is_online(&spec.run, false).await;
    bench.is_online(&spec.run, true).await;
    assert_eq!(bench.azure.version(&spec.run).as_deref(), Some(NEW_VERSION));
    let job = give_script(bench, &spec, "true");
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
}

async fn hang_alone(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    drop(watching);
    let demands = vec![format!("Agent.Name -equals {}", spec.run.agent)];
    let hangs = JobForm { demands, hang_after_job: true, duration_ms: 100, ..JobForm::default() };
    let job = bench.azure.sim.queue("nightly", hangs).unwrap();
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    // It said its goodbye, so its session is gone; a minute later its successor has one.
    bench.is_online(&spec.run, false).await;
    bench.is_online(&spec.run, true).await;
}

async fn agent_run_killed(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    let job = give_script(bench, &spec, "sleep 4");
    watching.busy(&spec.run).await;
    let unit = bench.unit_json(&spec)["unit"].as_str().unwrap().to_owned();
    let main = || shell(&format!("systemctl show -p MainPID --value {unit}"));
    let before = main();
    shell(&format!("kill -9 {before}"));
    assert_eq!(bench.runtime.worker(&spec.run).await, WorkerCheck::Present);
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    // Its exit code went to nobody.
    assert_eq!(watching.ended(&spec.run).await, None);
    assert_ne!(main(), before, "systemd started another one");
}

async fn unwritten(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    let job = give_script(bench, &spec, "sleep 4");
    watching.busy(&spec.run).await;
    // As it stands between a listener's start and the word of it.
    let state = bench.settings.runs_dir.join(spec.run.to_string()).join("state.json");
    let written = r#"{"running":{"listener":null,"had_job":false}}"#;
    let unit = bench.unit_json(&spec)["unit"].as_str().unwrap().to_owned();
    shell(&format!("kill -9 $(systemctl show -p MainPID --value {unit})"));
    std::fs::write(state, written).unwrap();
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    assert_eq!(watching.ended(&spec.run).await, None);
}

async fn orphan(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let mut spec = bench.spec(1, Mode::Once);
    let template = std::sync::Arc::make_mut(&mut spec.template);
    template.env.insert("STUB_WORKER_OUTLIVES".into(), "true".into());
    registered(&mut watching, bench, &spec).await;
    give_script(bench, &spec, "echo x >~/begun; sleep 5; echo x >~/finished");
    watching.busy(&spec.run).await;
    let unit = bench.unit_json(&spec);
    let (user, home) = (unit["user"].as_str().unwrap(), unit["home"].as_str().unwrap());
    // A worker that lives may not have been handed its job yet, and then has none to finish.
    shell(&format!("until test -e {home}/begun; do sleep 0.1; done"));
    shell(&format!("pkill -9 -u {user} -f Agent.Listener"));
    watching.ended(&spec.run).await;
    assert!(std::path::Path::new(home).join("finished").exists(), "its job was cut off");
}

async fn stopped_by_hand(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::LongLived);
    registered(&mut watching, bench, &spec).await;
    let job = give_script(bench, &spec, "sleep 3");
    watching.busy(&spec.run).await;
    let unit = bench.unit_json(&spec)["unit"].as_str().unwrap().to_owned();
    shell(&format!("systemctl stop --no-block {unit}"));
    assert_eq!(finished(bench, job).await.result.as_deref(), Some("succeeded"));
    // In long-lived mode the listener waits for the next job: it is asked to end when it is idle.
    assert_eq!(watching.ended(&spec.run).await, Some(0));
}

async fn all_killed(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    let unit = bench.unit_json(&spec)["unit"].as_str().unwrap().to_owned();
    shell(&format!("systemctl kill --kill-whom=all -s KILL {unit}; systemctl stop {unit}"));
    watching.ended(&spec.run).await;
    assert!(matches!(bench.runtime.list().await.unwrap()[0].state, RunState::Ended(_)));
}

async fn garbled(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let (one, other) = (bench.spec(1, Mode::Once), bench.spec(2, Mode::Once));
    registered(&mut watching, bench, &one).await;
    registered(&mut watching, bench, &other).await;
    let dir = bench.settings.runs_dir.join(one.run.to_string());
    for file in ["state.json", "unit.json"] {
        std::fs::write(dir.join(file), "{}}").unwrap();
    }
    let states = |seen: Vec<RunSeen>| seen.into_iter().map(|run| run.state).collect::<Vec<_>>();
    assert_eq!(states(bench.runtime.list().await.unwrap()), [RunState::Running; 2]);
    // It is ended and removed like any other.
    bench.runtime.ensure_ended(&one.run).await.unwrap();
    assert!(matches!(states(bench.runtime.list().await.unwrap())[0], RunState::Ended(_)));
    bench.runtime.ensure_removed(&one.run).await.unwrap();
    assert_eq!(states(bench.runtime.list().await.unwrap()), [RunState::Running]);
}

async fn rebooted(bench: &Units) {
    let mut watching = Watching::begin(bench.runtime()).await;
    let spec = bench.spec(1, Mode::Once);
    registered(&mut watching, bench, &spec).await;
    drop(watching);
    let unit = bench.unit_json(&spec)["unit"].as_str().unwrap().to_owned();
    // What a reboot does: no process, no unit, nothing in /run.
    shell(&format!("systemctl kill --kill-whom=all -s KILL {unit}; systemctl stop {unit}"));
    shell(&format!("rm -rf {}", bench.settings.runs_dir.display()));
    let runtime = bench.again();
    let mut watching = Watching::begin(runtime.clone()).await;
    let seen = runtime.list().await.unwrap();
    // Its end is told, so that somebody looks whether Azure still holds its session.
    assert_eq!((&seen[0].run, seen[0].state), (&spec.run, RunState::Ended(None)));
    assert_eq!(runtime.worker(&spec.run).await, WorkerCheck::None);
    runtime.ensure_removed(&spec.run).await.unwrap();
    assert!(runtime.list().await.unwrap().is_empty());
    let again = next(&spec, spec.start.clone());
    runtime.ensure_started(&again).await.unwrap();
    // The old name is taken: what Azure says of that is hostd's to settle.
    assert_eq!(watching.ended(&again.run).await, Some(71));
}

async fn no_bus(bench: &Units) {
    let mut settings = bench.settings.clone();
    settings.bus = "unix:path=/nowhere/bus".into();
    let runtime = hostd::runtime::systemd::SystemdRuntime::new(settings);
    let spec = bench.spec(1, Mode::Once);
    let all = async {
        for said in [
            error(runtime.describe().await),
            error(runtime.list().await),
            error(runtime.ensure_started(&spec).await),
            error(runtime.interrupt(&spec.run).await),
            error(runtime.ensure_ended(&spec.run).await),
            error(runtime.ensure_removed(&spec.run).await),
        ] {
            assert!(said.to_string().contains("does not answer"), "{said}");
        }
        assert!(matches!(runtime.worker(&spec.run).await, WorkerCheck::Unknown(_)));
    };
    tokio::time::timeout(LIMIT, all).await.expect("every verb has a limit");
}
