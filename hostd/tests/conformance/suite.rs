//! The cases. Each is a sentence about any runtime; `conformance!` makes tests of them for one.

use std::{collections::BTreeMap, time::Duration};

use fleet_model::Mode;
use hostd::runtime::{
    Exhibit, RunId, RunState, RuntimeError, RuntimeEvent, Sign, StartWith, WorkerCheck,
};

use crate::{
    bench::{Bench, EngineBench, error, next},
    watching::{LIMIT, Watching},
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_millis(300);

/// Hands the names of all cases to a macro, after what that is given itself.
macro_rules! all_cases {
    ($($with:ident)::+ => $($given:tt)*) => {
        $($with)::+! {
            $($given)*;
            a_run_says_in_order_what_it_does
            started_twice_is_one
            the_registration_comes_back_and_is_used_again
            once_mode_ends_with_zero_after_its_job
            long_lived_mode_listens_on_after_its_job
            a_job_shows_as_a_worker
            an_interrupted_idle_listener_ends_with_zero_and_is_offline
            removed_twice_is_gone
            only_what_ended_is_removed
            what_is_left_of_a_run_goes_while_the_next_one_lives
            a_running_run_is_ended_whole
            an_update_goes_on_in_the_same_place
            an_ended_run_is_not_started_again
            a_second_watch_hears_what_runs_do_now
            what_ended_leaves_evidence_and_goes_as_ever
            a_forgotten_slot_leaves_nothing
            a_log_is_told_and_narrowed
            a_followed_log_goes_on_with_the_next_run
            a_log_that_nobody_reads_is_left
            a_job_is_announced_whatever_the_run_began_with
        }
    };
}
pub(crate) use crate::suite_logs::{
    a_followed_log_goes_on_with_the_next_run, a_log_is_told_and_narrowed,
    a_log_that_nobody_reads_is_left,
};
pub(crate) use all_cases;

/// A test of each case.
macro_rules! tests {
    ($bench:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let bench = $bench.await;
                crate::suite::$case(&bench).await;
            }
        )*
    };
}
pub(crate) use tests;

/// The cases by name, for whoever runs them by itself.
macro_rules! table {
    ($kind:ty; $($case:ident)*) => {
        &[$((stringify!($case), |bench: &$kind| Box::pin(crate::suite::$case(bench)))),*]
    };
}
pub(crate) use table;

macro_rules! conformance {
    ($bench:expr) => {
        crate::suite::all_cases!(crate::suite::tests => $bench);
    };
}
pub(crate) use conformance;

/// What is asked of runtimes with an engine and images.
macro_rules! engine_conformance {
    ($bench:expr) => {
        crate::suite::tests! {
            $bench;
            what_is_missing_is_said_at_once
            without_engine_it_says_so_in_time
        }
    };
}
pub(crate) use engine_conformance;

pub(crate) async fn what_ended_leaves_evidence_and_goes_as_ever(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.give_job(&spec.run, SHORT).await;
    watching.ended(&spec.run).await;
    // Twice: whoever asked may have been killed before it wrote the answer down.
    let evidence = runtime.evidence(&spec.run).await.unwrap();
    let names: Vec<&str> = evidence.iter().map(|exhibit| exhibit.name).collect();
    let again = runtime.evidence(&spec.run).await.unwrap();
    assert_eq!(again.iter().map(|exhibit| exhibit.name).collect::<Vec<_>>(), names);
    let said = |exhibit: &Exhibit| {
        ["Job", spec.run.agent.as_str()].iter().any(|word| exhibit.text.contains(word))
    };
    assert!(evidence.iter().any(said), "{names:?}: {evidence:?}");
    assert!(matches!(runtime.list().await.unwrap()[0].state, RunState::Ended(_)));
    runtime.ensure_removed(&spec.run).await.unwrap();
    assert!(runtime.list().await.unwrap().is_empty());
}

pub(crate) async fn a_run_says_in_order_what_it_does(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.is_online(&spec.run, true).await;
    bench.give_job(&spec.run, SHORT).await;
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    let ended_as = runtime.list().await.unwrap();
    assert_eq!(ended_as[0].state, RunState::Ended(Some(0)));
    runtime.ensure_removed(&spec.run).await.unwrap();
    watching.gone(&spec.run).await;

    let words = watching.seen(&spec.run).into_iter().map(word);
    // What is announced comes by another way than what is written.
    let words: Vec<&str> = words.filter(|word| !word.starts_with("announced")).collect();
    let expected = [
        "started",
        "registering",
        "registered",
        "listening",
        "job started",
        "job finished",
        "ended",
        "gone",
    ];
    assert_eq!(words, expected);
    assert!(runtime.list().await.unwrap().is_empty());
}

pub(crate) fn run_of(event: &RuntimeEvent) -> Option<&RunId> {
    match event {
        RuntimeEvent::Started(run)
        | RuntimeEvent::Ended(run, _)
        | RuntimeEvent::Gone(run)
        | RuntimeEvent::Sign(run, _) => Some(run),
        _ => None,
    }
}

fn word(event: &RuntimeEvent) -> &'static str {
    match event {
        RuntimeEvent::Started(_) => "started",
        RuntimeEvent::Ended(..) => "ended",
        RuntimeEvent::Gone(_) => "gone",
        RuntimeEvent::Sign(_, Sign::Registering) => "registering",
        RuntimeEvent::Sign(_, Sign::Registered(_)) => "registered",
        RuntimeEvent::Sign(_, Sign::Listening) => "listening",
        RuntimeEvent::Sign(_, Sign::JobStarted(_)) => "job started",
        RuntimeEvent::Sign(_, Sign::JobFinished { .. }) => "job finished",
        RuntimeEvent::Sign(_, Sign::JobAnnounced) => "announced",
        RuntimeEvent::Sign(_, Sign::JobAnnouncedOver) => "announced over",
        _ => "something else",
    }
}

pub(crate) async fn started_twice_is_one(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    runtime.ensure_started(&spec).await.unwrap();
    let list = runtime.list().await.unwrap();
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!((&list[0].run, list[0].state), (&spec.run, RunState::Running));
    assert_eq!((&list[0].pool, &list[0].group, list[0].slot), (&spec.pool, &spec.group, 1));
    assert_eq!(bench.registrations(&spec.run), 1);
    let starts = watching.seen(&spec.run).into_iter().filter(|e| word(e) == "started").count();
    assert_eq!(starts, 1);
}

/// Starts a run with a token and returns the registration that it made.
pub(crate) async fn registered(
    bench: &dyn Bench,
    watching: &mut Watching,
    spec: &hostd::runtime::RunSpec,
) -> BTreeMap<String, Vec<u8>> {
    bench.runtime().ensure_started(spec).await.unwrap();
    let is_registered = |sign: &Sign| matches!(sign, Sign::Registered(_));
    match watching.sign(&spec.run, "Registered", is_registered).await {
        Sign::Registered(files) => files,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn the_registration_comes_back_and_is_used_again(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let first = bench.spec(1, Mode::Once);
    let files = registered(bench, &mut watching, &first).await;
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, [".agent", ".credentials", ".credentials_rsaparams"]);
    assert!(files[".agent"].starts_with(b"\xEF\xBB\xBF"), "as it was, byte order mark and all");
    watching.listening(&first.run).await;
    runtime.interrupt(&first.run).await.unwrap();
    watching.ended(&first.run).await;
    runtime.ensure_removed(&first.run).await.unwrap();

    let second = next(&first, StartWith::Registration(files));
    runtime.ensure_started(&second).await.unwrap();
    watching.listening(&second.run).await;
    bench.is_online(&second.run, true).await;
    assert_eq!(bench.registrations(&second.run), 1, "it did not register again");
    assert!(!watching.seen(&second.run).into_iter().any(|e| word(e) == "registering"));
}

pub(crate) async fn a_job_is_announced_whatever_the_run_began_with(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let first = bench.spec(1, Mode::Once);
    let files = registered(bench, &mut watching, &first).await;
    let kept = String::from_utf8_lossy(&files[".agent"]).into_owned();
    assert!(!kept.contains("SocketAddress"), "the next run has another port: {kept}");
    let second = next(&first, StartWith::Registration(files));
    for spec in [&first, &second] {
        runtime.ensure_started(spec).await.unwrap();
        watching.once_listening(&spec.run).await;
        let socket = bench.socket(spec);
        bench.give_job(&spec.run, SHORT).await;
        assert_eq!(watching.ended(&spec.run).await, Some(0));
        // In once mode the run may be over before the rest is heard.
        let announced =
            |event: &RuntimeEvent| run_of(event) == Some(&spec.run) && word(event) == "announced";
        watching.once(&format!("announced of {}", spec.run), announced).await;
        if let Some(socket) = socket {
            let open = async { while tokio::net::TcpStream::connect(socket).await.is_ok() {} };
            let closed = tokio::time::timeout(LIMIT, open).await;
            closed.expect("its port is closed with it");
        }
        runtime.ensure_removed(&spec.run).await.unwrap();
    }
}

pub(crate) async fn once_mode_ends_with_zero_after_its_job(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.give_job(&spec.run, SHORT).await;
    watching.busy(&spec.run).await;
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    assert_eq!(runtime.worker(&spec.run).await, WorkerCheck::None);
}

pub(crate) async fn long_lived_mode_listens_on_after_its_job(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::LongLived);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    for _ in 0..2 {
        bench.give_job(&spec.run, SHORT).await;
        let is_end = |sign: &Sign| matches!(sign, Sign::JobFinished { .. });
        watching.sign(&spec.run, "JobFinished", is_end).await;
    }
    assert_eq!(runtime.list().await.unwrap()[0].state, RunState::Running);
}

pub(crate) async fn a_job_shows_as_a_worker(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let (idle, busy) = (bench.spec(1, Mode::Once), bench.spec(2, Mode::Once));
    for spec in [&idle, &busy] {
        runtime.ensure_started(spec).await.unwrap();
        watching.listening(&spec.run).await;
    }
    assert_eq!(runtime.worker(&busy.run).await, WorkerCheck::None);
    bench.give_job(&busy.run, LONG).await;
    watching.busy(&busy.run).await;
    // The listener says it when it begins to start the worker.
    let deadline = tokio::time::Instant::now() + LIMIT;
    while runtime.worker(&busy.run).await != WorkerCheck::Present {
        assert!(tokio::time::Instant::now() < deadline, "no worker is seen");
        tokio::task::yield_now().await;
    }
    assert_eq!(runtime.worker(&idle.run).await, WorkerCheck::None, "the neighbour is idle");
}

pub(crate) async fn an_interrupted_idle_listener_ends_with_zero_and_is_offline(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::LongLived);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.is_online(&spec.run, true).await;
    runtime.interrupt(&spec.run).await.unwrap();
    assert_eq!(watching.ended(&spec.run).await, Some(0));
    bench.is_online(&spec.run, false).await;
    runtime.interrupt(&spec.run).await.expect("ended already is done already");
}

pub(crate) async fn removed_twice_is_gone(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    runtime.ensure_ended(&spec.run).await.unwrap();
    runtime.ensure_removed(&spec.run).await.unwrap();
    runtime.ensure_removed(&spec.run).await.unwrap();
    runtime.ensure_ended(&spec.run).await.expect("gone is ended");
    watching.gone(&spec.run).await;
    let never_made = next(&spec, spec.start.clone());
    runtime.ensure_removed(&never_made.run).await.unwrap();
    assert!(runtime.list().await.unwrap().is_empty());
    assert_eq!(runtime.worker(&spec.run).await, WorkerCheck::None);
}

pub(crate) async fn only_what_ended_is_removed(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.give_job(&spec.run, SHORT).await;
    let refused = runtime.ensure_removed(&spec.run).await;
    assert!(
        matches!(&refused, Err(RuntimeError::StillRuns(run)) if *run == spec.run),
        "{refused:?}"
    );
    assert_eq!(watching.ended(&spec.run).await, Some(0), "its job went on");
    runtime.ensure_removed(&spec.run).await.unwrap();
    watching.gone(&spec.run).await;
}

pub(crate) async fn what_is_left_of_a_run_goes_while_the_next_one_lives(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let first = bench.spec(1, Mode::Once);
    let files = registered(bench, &mut watching, &first).await;
    watching.listening(&first.run).await;
    bench.give_job(&first.run, SHORT).await;
    assert_eq!(watching.ended(&first.run).await, Some(0));
    let second = next(&first, StartWith::Registration(files));
    runtime.ensure_started(&second).await.unwrap();
    // At once, as it is done between two jobs: the next run may not have read anything yet.
    runtime.ensure_removed(&first.run).await.unwrap();
    watching.listening(&second.run).await;
    bench.give_job(&second.run, SHORT).await;
    assert_eq!(watching.ended(&second.run).await, Some(0), "{:?}", watching.seen(&second.run));
}

pub(crate) async fn a_running_run_is_ended_whole(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.give_job(&spec.run, LONG).await;
    watching.busy(&spec.run).await;
    runtime.ensure_ended(&spec.run).await.unwrap();
    runtime.ensure_removed(&spec.run).await.unwrap();
    watching.gone(&spec.run).await;
    let words: Vec<&str> = watching.seen(&spec.run).into_iter().map(word).collect();
    assert_eq!(words[words.len() - 2..], ["ended", "gone"]);
    assert!(runtime.list().await.unwrap().is_empty());
}

pub(crate) async fn an_update_goes_on_in_the_same_place(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.update(&spec.run).await;
    assert_eq!(watching.ended(&spec.run).await, Some(4));
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    bench.is_online(&spec.run, true).await;
    assert_eq!(bench.registrations(&spec.run), 1, "it is the same agent in the same place");
    let list = runtime.list().await.unwrap();
    assert_eq!((list.len(), list[0].state), (1, RunState::Running));
    let words: Vec<&str> = watching.seen(&spec.run).into_iter().map(word).collect();
    assert_eq!(words[words.len() - 3..], ["ended", "started", "listening"], "{words:?}");
}

pub(crate) async fn an_ended_run_is_not_started_again(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    watching.listening(&spec.run).await;
    runtime.interrupt(&spec.run).await.unwrap();
    watching.ended(&spec.run).await;
    // Its work folder has a job's remains, so once mode must never see it again.
    let refusal = error(runtime.ensure_started(&spec).await);
    assert!(matches!(refusal, RuntimeError::Refused { .. }), "{refusal}");
    assert!(matches!(runtime.list().await.unwrap()[0].state, RunState::Ended(_)));
}

pub(crate) async fn what_is_missing_is_said_at_once(bench: &dyn EngineBench) {
    let spec = bench.missing(bench.spec(1, Mode::Once));
    let runtime = bench.runtime();
    let image = spec.template.image.clone().unwrap();
    runtime.describe().await.unwrap();
    let before = bench.calls();
    let looked = error(runtime.ensure_image(&image).await);
    assert!(matches!(&looked, RuntimeError::ImageMissing { image: i, .. } if *i == image));
    assert!(bench.calls() - before <= 2, "{} calls", bench.calls() - before);
    let started = error(runtime.ensure_started(&spec).await);
    assert!(matches!(started, RuntimeError::ImageMissing { .. }), "{started}");
    assert!(runtime.list().await.unwrap().is_empty(), "nothing is left behind");
}

pub(crate) async fn a_second_watch_hears_what_runs_do_now(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let (idle, busy) = (bench.spec(1, Mode::Once), bench.spec(2, Mode::Once));
    let over = bench.spec(3, Mode::Once);
    for spec in [&idle, &busy, &over] {
        runtime.ensure_started(spec).await.unwrap();
        watching.listening(&spec.run).await;
    }
    bench.give_job(&busy.run, LONG).await;
    watching.busy(&busy.run).await;
    runtime.interrupt(&over.run).await.unwrap();
    watching.ended(&over.run).await;
    drop(watching);

    let runtime = bench.again();
    let mut watching = Watching::begin(runtime.clone()).await;
    for (spec, last) in [(&idle, "listening"), (&busy, "job started"), (&over, "ended")] {
        let name = format!("{last} of {}", spec.run);
        watching.once(&name, |event| run_of(event) == Some(&spec.run) && word(event) == last).await;
    }
    let words = |spec: &hostd::runtime::RunSpec| {
        watching.seen(&spec.run).into_iter().map(word).collect::<Vec<_>>()
    };
    // Files that the hostd before may not have stored any more, and the newest state: no history.
    assert_eq!(words(&idle), ["registered", "listening"]);
    assert_eq!(words(&busy), ["registered", "job started"]);
    assert_eq!(words(&over), ["registered", "listening", "ended"]);
    assert_eq!(runtime.list().await.unwrap().len(), 3);
    // What is adopted can be stopped.
    runtime.interrupt(&idle.run).await.unwrap();
    assert_eq!(watching.ended(&idle.run).await, Some(0));
}

pub(crate) async fn without_engine_it_says_so_in_time(bench: &dyn EngineBench) {
    let runtime = bench.without_engine();
    let spec = bench.spec(1, Mode::Once);
    let is_down = |error: RuntimeError| {
        assert!(matches!(error, RuntimeError::EngineDown { .. }), "{error:?}");
    };
    let all = async {
        is_down(error(runtime.describe().await));
        is_down(error(runtime.list().await));
        is_down(error(runtime.ensure_started(&spec).await));
        is_down(error(runtime.interrupt(&spec.run).await));
        is_down(error(runtime.ensure_ended(&spec.run).await));
        is_down(error(runtime.ensure_removed(&spec.run).await));
        // Nothing is known, so there may be a worker.
        assert!(matches!(runtime.worker(&spec.run).await, WorkerCheck::Unknown(_)));
        let mut watching = Watching::begin_with_any_engine(runtime.clone());
        let down = |event: &RuntimeEvent| matches!(event, RuntimeEvent::EngineDown(_));
        watching.until("EngineDown", down).await;
    };
    tokio::time::timeout(LIMIT, all).await.expect("every verb has a limit");
}

pub(crate) async fn a_forgotten_slot_leaves_nothing(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let spec = bench.spec(1, Mode::Once);
    runtime.ensure_started(&spec).await.unwrap();
    runtime.ensure_ended(&spec.run).await.unwrap();
    runtime.ensure_removed(&spec.run).await.unwrap();
    runtime.forget_slot(&spec.run.agent, &spec.slot_dir).await.unwrap();
    runtime.forget_slot(&spec.run.agent, &spec.slot_dir).await.unwrap();
    assert!(!spec.slot_dir.exists());
}
