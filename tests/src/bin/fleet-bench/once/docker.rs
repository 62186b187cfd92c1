//! Agents in containers: cycles of ours and of the bare engine in turn, on this machine's engine.

use anyhow::Context as _;
use bollard::Docker;

use super::{Args, Cycles, docker_floor::Floor, moments, work};
use crate::{
    engine::{
        FLOOR,
        events::{Events, What},
    },
    fleet::{Fleet, Programs},
    host,
};

/// hostd's label with the agent's name.
const AGENT_LABEL: &str = "fleet.agent";
/// The cache in which the listeners of one agent say their moments, where it is mounted, and their
/// file in there.
const CACHE: &str = "moments";
pub(super) const PLACE: &str = "/moments";
pub(super) const FILE: &str = "log";
/// The variable that names the file to the stub agent.
pub(super) const VARIABLE: &str = "STUB_MOMENTS";

/// Measures; the engine is clean before and after by whoever calls.
pub(super) async fn measure(
    programs: Programs,
    docker: &Docker,
    args: &Args,
) -> anyhow::Result<Cycles> {
    docker.inspect_image(&args.image).await?;
    let fleet = Fleet::start(programs, &[host::POOL, FLOOR]).await?;
    work::at_once(&fleet).await?;
    let hostd = host::start(&fleet).await?;
    let (cache, variable) = (format!("{CACHE}:{PLACE}"), format!("{VARIABLE}={PLACE}/{FILE}"));
    let agents = ["--image", &args.image, "--cache", &cache, "--env", &variable];
    host::create_pool_with(&fleet, &agents).await?;
    host::scale(&fleet, args.agents).await?;
    let mut events = Events::open(docker);
    let mut floor = Floor::new(&fleet, docker, args)?;
    work::rounds("containers", &fleet, args, async || floor.turn().await).await?;
    let cycles = Cycles { floor: floor.gaps(), ..ours(&fleet, &mut events).await? };
    hostd.stop().await?;
    fleet.stop().await?;
    Ok(cycles)
}

/// What the listeners, the engine and the simulator said.
async fn ours(fleet: &Fleet, events: &mut Events) -> anyhow::Result<Cycles> {
    let sessions = moments::sessions(&fleet.sim()?.journal(0).await?, host::POOL);
    let events = events.all()?;
    let mut cycles = Cycles::default();
    for (agent, online) in sessions {
        let file = host::data(fleet).join("slots").join(&agent).join("caches").join(CACHE);
        let text = std::fs::read_to_string(file.join(FILE))
            .with_context(|| format!("the listeners of {agent} said nothing"))?;
        let gaps = moments::gaps(&text, "run", "run");
        let died = events.iter().filter(|seen| seen.what == What::Die);
        let died: Vec<_> =
            died.filter(|seen| seen.has(AGENT_LABEL, &agent)).map(|seen| seen.at).collect();
        cycles.add(&gaps, &online);
        let heard = moments::first_within(&gaps, &died, |gap| gap.began);
        let since = |(gap, at): (moments::Gap, _)| moments::milliseconds(at, gap.began);
        cycles.since_heard.extend(heard.into_iter().map(since));
    }
    Ok(cycles)
}
