//! Short jobs for agents in once mode: each of them ends one listener and brings the next.

use std::time::Duration;

use anyhow::{Context as _, bail};
use azdo::sim::Kind;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Args;
use crate::{fleet::Fleet, host};

/// For the jobs of one turn; about thirty times what they need.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at the simulator's journal. Nothing that is measured waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long jobs take, in turn: different, so that the agents' ends do not fall together, and long
/// enough that the agents do not spend all of their time between two jobs, which none in life does.
pub(super) const LENGTHS_MS: [u64; 5] = [200, 500, 300, 600, 400];

/// Jobs come to whoever listens without the service's usual lag, which would only lengthen the run.
pub(super) async fn at_once(fleet: &Fleet) -> anyhow::Result<()> {
    fleet.sim()?.post("settings", &json!({ "deliveryLagMs": [0, 0] })).await
}

/// Ours and the floor, in turn.
pub(super) async fn rounds(
    kind: &str,
    fleet: &Fleet,
    args: &Args,
    mut floor: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for round in 1..=args.rounds {
        let began = Instant::now();
        turn(fleet, args.jobs).await.context("ours")?;
        let ours = began.elapsed().as_secs_f64();
        floor().await.context("floor")?;
        let floor = began.elapsed().as_secs_f64() - ours;
        eprintln!("  {kind}, round {round}: ours {ours:.1} s, floor {floor:.1} s");
    }
    Ok(())
}

/// Queues `count` jobs and waits until they are done and the next listener of each is online.
pub(super) async fn turn(fleet: &Fleet, count: usize) -> anyhow::Result<()> {
    let sim = fleet.sim()?;
    let mut last = sim.journal(0).await?.last().map_or(0, |entry| entry.seq);
    for number in 0..count {
        let job = json!({ "durationMs": LENGTHS_MS[number % LENGTHS_MS.len()] });
        sim.post("jobs", &json!({ "pool": host::POOL, "count": 1, "job": job })).await?;
    }
    let (mut done, mut online) = (0, 0);
    let end = Instant::now() + LIMIT;
    while done < count || online < count {
        sleep(LOOK_EVERY).await;
        for entry in sim.journal(last).await? {
            last = entry.seq;
            done += usize::from(entry.kind == Kind::JobFinished);
            let of_pool = entry.about.pool.as_deref() == Some(host::POOL);
            online += usize::from(entry.kind == Kind::SessionCreated && of_pool);
        }
        if Instant::now() > end {
            bail!("{done} of {count} jobs done, {online} listeners online after {LIMIT:?}");
        }
    }
    Ok(())
}
