//! One round: everybody's turn, in the same order each time.

use std::time::Duration;

use anyhow::Context as _;
use bollard::{
    Docker,
    query_parameters::{KillContainerOptionsBuilder, ListContainersOptionsBuilder},
};
use fleet_model::numbers::AZURE_STALE;

use super::{
    Args, FLOOR, SWARM,
    agents::LABEL,
    events::{Events, Moment, Seen, What, now, seconds},
    floor, remove, swarm,
};
use crate::{fleet::Fleet, host};

/// For everything that is waited for here. A slow machine needs a minute for 30 containers.
const LIMIT: Duration = Duration::from_secs(300);
/// The service that is scaled, and the one that replaces without a wait.
const SERVICE: &str = "fleet-test-bench";
const SERVICE_AT_ONCE: &str = "fleet-test-bench-at-once";
/// Swarm's label on its containers.
const SERVICE_LABEL: &str = "com.docker.swarm.service.name";

/// What was measured, in seconds, one sample a round or a kill.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    pub(super) up: Vec<f64>,
    pub(super) online: Vec<f64>,
    pub(super) returned: Vec<f64>,
    pub(super) replaced: Vec<f64>,
    pub(super) down: Vec<f64>,
    pub(super) floor: Vec<f64>,
    pub(super) swarm_up: Vec<f64>,
    pub(super) swarm_replaced: Vec<f64>,
    pub(super) swarm_replaced_at_once: Vec<f64>,
    pub(super) swarm_down: Vec<f64>,
}

/// The three, on one engine.
pub(super) struct Candidates<'a> {
    fleet: &'a Fleet,
    docker: &'a Docker,
    args: &'a Args,
    events: Events,
    samples: Samples,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(fleet: &'a Fleet, docker: &'a Docker, args: &'a Args) -> Self {
        let (events, samples) = (Events::open(docker), Samples::default());
        Self { fleet, docker, args, events, samples }
    }

    pub(super) fn samples(self) -> Samples {
        self.samples
    }

    /// Services without a task, and one agent each that is not counted: the first container of an
    /// engine's life pays for all others.
    pub(super) async fn prepare(&mut self) -> anyhow::Result<()> {
        eprintln!("  warming up");
        let sim = self.fleet.sim()?;
        host::scale(self.fleet, 1).await?;
        host::scale(self.fleet, 0).await?;
        floor::start(self.docker, sim, &self.args.image, 0, (1, 1)).await?;
        remove(self.docker, LABEL).await?;
        if !self.args.no_swarm {
            swarm::service(sim, &self.args.image, SERVICE, None).await?;
            swarm::service(sim, &self.args.image, SERVICE_AT_ONCE, Some("0s")).await?;
        }
        Ok(())
    }

    pub(super) async fn round(&mut self, round: usize) -> anyhow::Result<()> {
        self.events.forget();
        self.ours(round).await.context("ours")?;
        self.floor(round).await.context("floor")?;
        if !self.args.no_swarm {
            self.swarm(round).await.context("Swarm")?;
        }
        Ok(())
    }

    async fn ours(&mut self, round: usize) -> anyhow::Result<()> {
        let n = self.args.agents;
        let mine = |seen: &Seen| seen.has(host::POOL_LABEL, host::POOL);
        let began = now();
        host::scale(self.fleet, n).await?;
        let returned = now();
        let up = self.wait(began, n, What::Start, mine).await?;
        let online = self.fleet.sim()?.sessions(host::POOL, began, n, LIMIT).await?;
        say(round, "ours", &format!("0 → {n}"), seconds(began, up));
        self.samples.up.push(seconds(began, up));
        self.samples.online.push(seconds(began, online));
        self.samples.returned.push(seconds(began, returned));

        rest().await;
        for _ in 0..self.args.kills {
            let replaced = self.kill_one(host::POOL_LABEL, host::POOL, host::POOL).await?;
            say(round, "ours", "replacement", replaced);
            self.samples.replaced.push(replaced);
        }
        host::scale(self.fleet, n).await?;

        // Those that were killed registered anew.
        rest().await;
        let began = now();
        host::scale(self.fleet, 0).await?;
        let down = self.wait(began, n, What::Die, mine).await?;
        say(round, "ours", &format!("{n} → 0"), seconds(began, down));
        self.samples.down.push(seconds(began, down));
        Ok(())
    }

    async fn floor(&mut self, round: usize) -> anyhow::Result<()> {
        let n = self.args.agents;
        let many = (n, host::STARTS_AT_ONCE);
        let began = now();
        floor::start(self.docker, self.fleet.sim()?, &self.args.image, round, many).await?;
        let up = self.wait(began, n, What::Start, |seen| seen.has(LABEL, FLOOR)).await?;
        say(round, "floor", &format!("0 → {n}"), seconds(began, up));
        self.samples.floor.push(seconds(began, up));
        // The others' turn begins on the same quiet engine.
        self.fleet.sim()?.sessions(FLOOR, began, n, LIMIT).await?;
        remove(self.docker, LABEL).await
    }

    async fn swarm(&mut self, round: usize) -> anyhow::Result<()> {
        let n = self.args.agents;
        let mine = |seen: &Seen| seen.has(SERVICE_LABEL, SERVICE);
        let began = now();
        swarm::scale(SERVICE, n).await?;
        let up = self.wait(began, n, What::Start, mine).await?;
        say(round, "Swarm", &format!("0 → {n}"), seconds(began, up));
        self.samples.swarm_up.push(seconds(began, up));
        self.fleet.sim()?.sessions(SWARM, began, n, LIMIT).await?;

        for _ in 0..self.args.kills {
            let replaced = self.kill_one(SERVICE_LABEL, SERVICE, SWARM).await?;
            say(round, "Swarm", "replacement", replaced);
            self.samples.swarm_replaced.push(replaced);
        }
        let began = now();
        swarm::scale(SERVICE_AT_ONCE, 1).await?;
        let other = |seen: &Seen| seen.has(SERVICE_LABEL, SERVICE_AT_ONCE);
        self.wait(began, 1, What::Start, other).await?;
        self.fleet.sim()?.sessions(SWARM, began, 1, LIMIT).await?;
        let replaced = self.kill_one(SERVICE_LABEL, SERVICE_AT_ONCE, SWARM).await?;
        say(round, "Swarm", "replacement without a wait", replaced);
        self.samples.swarm_replaced_at_once.push(replaced);
        swarm::scale(SERVICE_AT_ONCE, 0).await?;

        let began = now();
        swarm::scale(SERVICE, 0).await?;
        let down = self.wait(began, n, What::Die, mine).await?;
        say(round, "Swarm", &format!("{n} → 0"), seconds(began, down));
        self.samples.swarm_down.push(seconds(began, down));
        Ok(())
    }

    /// Kills one running container with this label; seconds until another one started. Returns when
    /// its agent is online in the pool, so that the next one is killed in a fleet at rest.
    async fn kill_one(&mut self, label: &str, value: &str, pool: &str) -> anyhow::Result<f64> {
        let filters = [("label".to_owned(), vec![format!("{label}={value}")])].into();
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let running = self.docker.list_containers(Some(options)).await?;
        // The oldest: it has been idle for longest, and was not killed before.
        let oldest = running.iter().min_by_key(|container| container.created);
        let id = oldest.and_then(|c| c.id.as_deref()).context("no container to kill")?;
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let began = now();
        self.docker.kill_container(id, Some(options)).await?;
        let started = self.wait(began, 1, What::Start, |seen| seen.has(label, value)).await?;
        self.fleet.sim()?.sessions(pool, began, 1, LIMIT).await?;
        Ok(seconds(began, started))
    }

    async fn wait(
        &mut self,
        since: Moment,
        count: usize,
        what: What,
        whose: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<Moment> {
        self.events.wait(since, count, LIMIT, |seen| seen.what == what && whose(seen)).await
    }
}

/// A fleet at rest: of rows that are younger than answers may be old hostd believes no answer, and a
/// replacement or a removal would wait for that first.
async fn rest() {
    tokio::time::sleep(AZURE_STALE).await;
}

fn say(round: usize, who: &str, what: &str, took: f64) {
    eprintln!("  round {round}: {who}: {what}: {took:.2} s");
}
