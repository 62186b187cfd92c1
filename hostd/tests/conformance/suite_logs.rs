//! Cases about logs.

use std::time::Duration;

use fleet_model::{Mode, Phase};
use fleet_proto::v1::{self, log_line::What};
use hostd::runtime::{StartWith, log::LogQuery};
use jiff::Timestamp;

use crate::{
    bench::{Bench, next},
    reading::Shelf,
    suite::registered,
    watching::Watching,
};

const SHORT: Duration = Duration::from_millis(300);

fn at(line: &v1::LogLine) -> Timestamp {
    let at = line.at.expect("a time");
    Timestamp::new(at.seconds, at.nanos).unwrap()
}

pub(crate) async fn a_log_is_told_and_narrowed(bench: &dyn Bench) {
    let began = Timestamp::now();
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let (shelf, spec) = (Shelf::of(runtime.clone()), bench.spec(1, Mode::LongLived));
    runtime.ensure_started(&spec).await.unwrap();
    shelf.shows(&spec, Phase::Starting);
    // Followed from before the first line on.
    let mut followed = shelf.follow(&spec);
    watching.listening(&spec.run).await;
    let (listening, before) = followed.line("Listening for Jobs").await;
    let second = Duration::from_secs(1);
    let first = before.first().filter(|line| line.at.is_some()).unwrap_or(&listening);
    assert!(at(first) >= began - second, "{first:?}");
    assert!(at(&listening) <= Timestamp::now() + second, "{listening:?}");
    bench.give_job(&spec.run, SHORT).await;
    let (running, _) = followed.line("Running job: ").await;
    assert!(at(&running) >= at(&listening));
    followed.line("completed with result: Succeeded").await;
    followed.leave().await;
    // All of it, at once, in order.
    let all = shelf.read(&spec, LogQuery::default()).rest().await;
    let times: Vec<Timestamp> = all.iter().filter(|line| line.at.is_some()).map(at).collect();
    assert!(times.is_sorted(), "{all:?}");
    assert!(all.contains(&listening) && all.contains(&running), "{all:?}");
    let newest = LogQuery { tail: Some(1), ..LogQuery::default() };
    let newest = shelf.read(&spec, newest).rest().await;
    assert_eq!(newest, all[all.len() - 1..]);
    let since = |since| LogQuery { since: Some(since), ..LogQuery::default() };
    let recent = shelf.read(&spec, since(at(&running))).rest().await;
    let expected: Vec<_> = all.iter().filter(|line| at(line) >= at(&running)).cloned().collect();
    assert_eq!(recent, expected);
    let none = shelf.read(&spec, since(Timestamp::now() + second * 3600)).rest().await;
    assert_eq!(none, []);
    // With a token it began; whoever wrote it, nobody reads it here.
    let token = |line: &v1::LogLine| format!("{line:?}").contains(crate::azure::TOKEN);
    assert!(!all.iter().any(token), "{all:?}");
}

pub(crate) async fn a_followed_log_goes_on_with_the_next_run(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let (shelf, first) = (Shelf::of(runtime.clone()), bench.spec(1, Mode::Once));
    let files = registered(bench, &mut watching, &first).await;
    shelf.shows(&first, Phase::Starting);
    let mut followed = shelf.follow(&first);
    watching.listening(&first.run).await;
    shelf.shows(&first, Phase::Idle);
    bench.give_job(&first.run, SHORT).await;
    followed.line("completed with result: Succeeded").await;
    assert_eq!(watching.ended(&first.run).await, Some(0));
    shelf.shows(&first, Phase::Pending);
    let second = next(&first, StartWith::Registration(files));
    runtime.ensure_started(&second).await.unwrap();
    shelf.shows(&second, Phase::Starting);
    runtime.ensure_removed(&first.run).await.unwrap();
    watching.listening(&second.run).await;
    shelf.shows(&second, Phase::Idle);
    let (_, before) = followed.line("Listening for Jobs").await;
    let marks: Vec<u32> = before
        .iter()
        .filter_map(|line| match line.what {
            Some(What::Run(run)) => Some(run),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [2], "where the next run begins is said, once: {before:?}");
    runtime.ensure_ended(&second.run).await.unwrap();
    watching.ended(&second.run).await;
    shelf.forgets(&second);
    let rest = followed.rest().await;
    let jobs = |line: &v1::LogLine| format!("{line:?}").contains("Running job");
    assert!(!rest.iter().any(jobs), "nothing is told twice: {rest:?}");
}

pub(crate) async fn a_log_that_nobody_reads_is_left(bench: &dyn Bench) {
    let runtime = bench.runtime();
    let mut watching = Watching::begin(runtime.clone()).await;
    let (shelf, spec) = (Shelf::of(runtime.clone()), bench.spec(1, Mode::LongLived));
    runtime.ensure_started(&spec).await.unwrap();
    shelf.shows(&spec, Phase::Starting);
    watching.listening(&spec.run).await;
    let mut followed = shelf.follow(&spec);
    followed.line("Listening for Jobs").await;
    // Nothing is written any more; that nobody reads is noticed all the same.
    followed.leave().await;
    runtime.ensure_ended(&spec.run).await.unwrap();
    runtime.ensure_removed(&spec.run).await.unwrap();
    let gone = runtime.logs(&spec.run, &LogQuery::default()).await;
    if let Err(error) = gone {
        let none = matches!(&error, hostd::runtime::RuntimeError::NoRun(run) if *run == spec.run);
        assert!(none, "{error}");
    }
}
