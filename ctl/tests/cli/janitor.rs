//! What is left over at Azure, as operators see it.

use std::time::Duration;

use fleet_proto::v1::{self, LeftoverKind, LeftoverVerdict};

use crate::{
    samples::{ago, fleet},
    world::{World, shown},
};

/// A look at two Azure pools, one of which does not answer.
pub(crate) fn tidied() -> Vec<v1::TidyPool> {
    let leftover =
        |agent: &str, row, host: &str, verdict: LeftoverVerdict, why: &str| v1::Leftover {
            kind: LeftoverKind::Row.into(),
            agent: agent.into(),
            agent_id: row,
            host: host.into(),
            since: ago(Duration::from_secs(3 * 86_400)),
            verdict: verdict.into(),
            until: None,
            why: why.into(),
        };
    let mut waits = leftover(
        "nightly-tk5-04",
        93,
        "tk5-1",
        LeftoverVerdict::Wait,
        "host tk5-1 has no such agent",
    );
    // Far enough away that it is shown alike for as long as the test runs.
    waits.until = Some(prost_types::Timestamp { seconds: 4_102_444_800, nanos: 0 });
    let mut gone =
        leftover("nightly-svc-02", 71, "svc-1", LeftoverVerdict::Replace, "its row is gone");
    (gone.kind, gone.since) = (LeftoverKind::Agent.into(), None);
    let away = "host bjw-2 is Down: only it knows its agents";
    vec![v1::TidyPool {
        pools: vec!["nightly".into(), "nightly-svc".into()],
        in_use: 12,
        foreign: 3,
        leftovers: vec![
            leftover(
                "nightly-str-09",
                88,
                "str-1",
                LeftoverVerdict::Delete,
                "host str-1 was removed",
            ),
            leftover("nightly-bjw-01", 90, "bjw-2", LeftoverVerdict::Keep, away),
            waits,
            gone,
        ],
        trouble: String::new(),
    }]
}

/// The time of a test in 2100 is shown in days, which are other ones each day.
fn steady(text: &str) -> String {
    let days = |word: &str| {
        word.len() > 4 && word.ends_with('d') && word[..5].bytes().all(|b| b.is_ascii_digit())
    };
    text.split(' ')
        .map(|word| if days(word) { "NNNNNd" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn what_goes_and_what_stays_is_said_with_the_reason() {
    let world = World::start(fleet()).await;
    world.state().tidied = tidied();
    let dry = world.run(&["janitor", "--dry-run"]).await;
    let done = world.run(&["janitor", "nightly-svc", "--no-headers"]).await;
    let names = world.run(&["janitor", "--dry-run", "-o", "name"]).await;
    let log = world.state().log.join("\n");
    shown!(format!("{}{}{names}{log}\n", steady(&dry), steady(&done)));
}

#[tokio::test]
async fn a_pool_whose_azure_is_away_is_an_error_beside_what_was_found() {
    let world = World::start(fleet()).await;
    let trouble = "Azure: HTTP 503".to_owned();
    let pools = vec!["nightly".to_owned()];
    let away = v1::TidyPool { pools, trouble, ..v1::TidyPool::default() };
    let there = v1::TidyPool { pools: vec!["nightly-svc".into()], ..v1::TidyPool::default() };
    world.state().tidied = vec![away, there];
    let shown = world.run(&["janitor"]).await;
    let unknown = world.run(&["janitor", "nigthly", "--dry-run"]).await;
    shown!(format!("{shown}{unknown}"));
}
