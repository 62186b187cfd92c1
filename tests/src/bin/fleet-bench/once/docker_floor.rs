//! The floor of a container's cycle: nothing but the engine. A container of the same shape ends by
//! itself, the engine says so, the next one is made and started at once.

use std::path::PathBuf;

use anyhow::Context as _;
use bollard::{
    Docker,
    models::{ContainerCreateBody, Mount, MountType},
    query_parameters::{
        CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, timeout_at},
};

use super::{
    Args,
    docker::{FILE, PLACE, VARIABLE},
    moments::{self, Gap},
    work::LENGTHS_MS,
};
use crate::{
    engine::{
        FLOOR, agents,
        events::{Events, Seen, What},
    },
    fleet::Fleet,
};

/// For one turn.
const LIMIT: Duration = Duration::from_secs(300);
/// Verbs of the listener's program that only say something: the first and the last act of a life.
const FIRST: &str = "--version";
/// See [`FIRST`].
const LAST: &str = "--commit";

/// The floor, in as many places as ours has agents.
pub(super) struct Floor {
    docker: Docker,
    events: Events,
    places: Vec<Place>,
    cycles: usize,
    gaps: Vec<f64>,
}

/// What runs one container after another.
#[derive(Clone)]
struct Place {
    number: usize,
    body: ContainerCreateBody,
    dir: PathBuf,
    /// Containers of this place so far.
    count: usize,
}

impl Floor {
    pub(super) fn new(fleet: &Fleet, docker: &Docker, args: &Args) -> anyhow::Result<Self> {
        let place = |number| Place::new(fleet, args, number);
        Ok(Self {
            docker: docker.clone(),
            events: Events::open(docker),
            places: (0..args.agents).map(place).collect::<anyhow::Result<_>>()?,
            cycles: args.jobs,
            gaps: Vec::new(),
        })
    }

    /// Until so many containers were followed by another one, and the last ones have ended.
    pub(super) async fn turn(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + LIMIT;
        let (mut left, mut alive) = (self.cycles, self.places.len());
        let mut tasks = JoinSet::new();
        for place in &mut self.places {
            tasks.spawn(next(self.docker.clone(), place.step(), None));
        }
        while alive > 0 || !tasks.is_empty() {
            let seen = tokio::select! {
                seen = timeout_at(end, self.events.next()) => seen.context("the floor is too slow")??,
                Some(done) = tasks.join_next() => {
                    done??;
                    continue;
                }
            };
            let docker = self.docker.clone();
            let Some(place) = self.ended(&seen) else { continue };
            let old = place.name();
            if left > 0 {
                left -= 1;
                tasks.spawn(next(docker, place.step(), Some(old)));
            } else {
                alive -= 1;
                tasks.spawn(async move { remove(&docker, &old).await });
            }
        }
        self.events.forget();
        self.collect()
    }

    /// The place whose newest container has ended.
    fn ended(&mut self, seen: &Seen) -> Option<&mut Place> {
        let mut places = self.places.iter_mut().filter(|_| seen.what == What::Die);
        places.find(|place| seen.has("name", &place.name()))
    }

    /// Between two turns nobody wants a next container, so each turn's gaps are taken by themselves.
    fn collect(&mut self) -> anyhow::Result<()> {
        for place in &self.places {
            let file = place.dir.join(FILE);
            let text = std::fs::read_to_string(&file).context("the floor's containers")?;
            std::fs::remove_file(file)?;
            self.gaps.extend(moments::gaps(&text, LAST, FIRST).into_iter().map(Gap::milliseconds));
        }
        Ok(())
    }

    /// Milliseconds from the last act in a container to the first one in the next.
    pub(super) fn gaps(self) -> Vec<f64> {
        self.gaps
    }
}

impl Place {
    fn new(fleet: &Fleet, args: &Args, number: usize) -> anyhow::Result<Self> {
        let dir = fleet.dir().join(format!("floor-{number}"));
        std::fs::create_dir(&dir)?;
        let name = format!("fleet-test-{FLOOR}-{number}");
        let mut body = agents::container(fleet.sim()?, &args.image, FLOOR, &name);
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(dir.display().to_string()),
            target: Some(PLACE.to_owned()),
            ..Mount::default()
        };
        if let Some(mounts) = body.host_config.as_mut().and_then(|config| config.mounts.as_mut()) {
            mounts.push(mount);
        }
        let env = body.env.get_or_insert_default();
        env.push(format!("{VARIABLE}={PLACE}/{FILE}"));
        Ok(Self { number, body, dir, count: 0 })
    }

    fn name(&self) -> String {
        format!("fleet-test-{FLOOR}-{}-{}", self.number, self.count)
    }

    /// The next container of this place: its name, and what it is. It lives about as long as a job.
    fn step(&mut self) -> (String, ContainerCreateBody) {
        self.count += 1;
        let length = LENGTHS_MS[(self.number + self.count) % LENGTHS_MS.len()] as f64 / 1e3;
        let script = format!(
            "cd /azp/agent && ./bin/Agent.Listener {FIRST} && sleep {length} && exec \
             ./bin/Agent.Listener {LAST}"
        );
        let entrypoint = ["/bin/sh".to_owned(), "-c".to_owned(), script];
        let body = ContainerCreateBody {
            entrypoint: Some(entrypoint.to_vec()),
            cmd: Some(Vec::new()),
            ..self.body.clone()
        };
        (self.name(), body)
    }
}

/// Makes and starts a container, then removes the one before it.
async fn next(
    docker: Docker,
    (name, body): (String, ContainerCreateBody),
    old: Option<String>,
) -> anyhow::Result<()> {
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), body).await?;
    docker.start_container(&name, None::<StartContainerOptions>).await?;
    match old {
        Some(old) => remove(&docker, &old).await,
        None => Ok(()),
    }
}

async fn remove(docker: &Docker, name: &str) -> anyhow::Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(name, Some(options)).await?;
    Ok(())
}
