//! What hostd costs while nothing happens: memory, a core's time, wake-ups.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    engine::{clean, events::engine},
    fleet::{Fleet, Programs},
    host,
    proc::{Usage, usage},
    results::{Goal, Row},
};

/// Before the looking: what a start leaves to do is done by then.
const QUIET: Duration = Duration::from_secs(20);

/// Rows of the section.
pub(crate) async fn measure(
    programs: Programs,
    image: &str,
    agents: usize,
    seconds: u64,
) -> anyhow::Result<Vec<Row>> {
    let docker = engine().await?;
    clean(&docker).await?;
    let measured = look(programs, image, agents, Duration::from_secs(seconds)).await;
    let cleaned = clean(&docker).await;
    let rows = measured?;
    cleaned?;
    Ok(rows)
}

async fn look(
    programs: Programs,
    image: &str,
    agents: usize,
    length: Duration,
) -> anyhow::Result<Vec<Row>> {
    let fleet = Fleet::start(programs, &[host::POOL]).await?;
    let hostd = host::start(&fleet).await?;
    let empty = usage(hostd.pid()?)?;
    host::create_pool(&fleet, image).await?;
    eprintln!("  {agents} agents start");
    host::scale(&fleet, agents).await?;
    sleep(QUIET).await;
    eprintln!("  at rest for {length:?}");
    let (before, began) = (usage(hostd.pid()?)?, Instant::now());
    sleep(length).await;
    let (after, took) = (usage(hostd.pid()?)?, began.elapsed());
    hostd.stop().await?;
    fleet.stop().await?;
    Ok(rows(agents, length, (before, after), took.as_secs_f64(), empty))
}

fn rows(
    agents: usize,
    length: Duration,
    (before, after): (Usage, Usage),
    took: f64,
    empty: Usage,
) -> Vec<Row> {
    let what = format!("hostd, {agents} idle agents");
    let over = format!("over {} s", length.as_secs());
    let cpu = (after.cpu - before.cpu) / took * 100.0;
    // A thread that ended in between takes its count with it; the daemon's own thread does not end.
    let switches = after.switches.saturating_sub(before.switches) as f64 / took;
    vec![
        Row::new(format!("{what}: resident"), "MiB", vec![after.resident]).goal(Goal::AtMost(20.0)),
        Row::new(format!("{what}: of it, not pages of files"), "MiB", vec![after.own]),
        Row::new(format!("{what}: largest ever"), "MiB", vec![after.peak]),
        Row::new("hostd, no agent: resident", "MiB", vec![empty.resident]),
        Row::new(format!("{what}: of one core, {over}"), "%", vec![cpu]).goal(Goal::Below(0.5)),
        Row::new(format!("{what}: voluntary context switches, {over}"), "1/s", vec![switches])
            .goal(Goal::AtMost(5.0)),
    ]
}
