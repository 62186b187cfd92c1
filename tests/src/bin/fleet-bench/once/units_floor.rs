//! The floor of a unit's cycle: nothing but systemd. A unit of the same shape whose program does
//! nothing, from the call that makes it until that program runs.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{task::JoinSet, time::sleep};
use zbus::{Connection, OwnedVariant, Variant};
use zbus_systemd::systemd1::ManagerProxy;

use super::{Args, docker::VARIABLE, moments, work::LENGTHS_MS};
use crate::{
    engine::events::{Moment, now},
    fleet::Fleet,
};

/// The listener's program only says that it is there.
const VERB: &str = "--version";

/// The floor, in as many places as ours has agents.
pub(super) struct Floor {
    manager: ManagerProxy<'static>,
    places: Vec<Place>,
    /// Units of a place in each turn.
    units: usize,
}

/// What makes one unit after another.
#[derive(Clone)]
struct Place {
    number: usize,
    listener: String,
    file: PathBuf,
    /// When each unit was asked for.
    asked: Vec<Moment>,
}

impl Floor {
    pub(super) async fn new(fleet: &Fleet, listener: &str, args: &Args) -> anyhow::Result<Self> {
        let place = |number: usize| Place {
            number,
            listener: listener.to_owned(),
            file: fleet.dir().join(format!("floor-{number}")),
            asked: Vec::new(),
        };
        let connection = Connection::system().await.context("the system bus")?;
        Ok(Self {
            manager: ManagerProxy::new(&connection).await?,
            places: (0..args.agents).map(place).collect(),
            units: args.jobs.div_ceil(args.agents),
        })
    }

    /// So many units in each place, one after another, the places beside each other.
    pub(super) async fn turn(&mut self) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for place in std::mem::take(&mut self.places) {
            tasks.spawn(place.units(self.manager.clone(), self.units));
        }
        while let Some(place) = tasks.join_next().await {
            self.places.push(place??);
        }
        Ok(())
    }

    /// Milliseconds from each call to the program's first act.
    pub(super) fn took(self) -> anyhow::Result<Vec<f64>> {
        let mut all = Vec::new();
        for place in self.places {
            let text = std::fs::read_to_string(&place.file)?;
            let began = moments::beginnings(&text, VERB);
            ensure!(began.len() == place.asked.len(), "a unit of the floor did not run");
            let took = place.asked.iter().zip(began);
            all.extend(took.map(|(asked, began)| moments::milliseconds(*asked, began)));
        }
        Ok(all)
    }
}

impl Place {
    async fn units(mut self, manager: ManagerProxy<'static>, count: usize) -> anyhow::Result<Self> {
        for _ in 0..count {
            let properties = self.properties()?;
            let name = format!("fleet-bench-floor-{}-{}.service", self.number, self.asked.len());
            self.asked.push(now());
            let made = manager.start_transient_unit(name, "fail".into(), properties, Vec::new());
            made.await.context("the floor's unit")?;
            // As far apart as jobs are long; by then the unit has run and is gone.
            let length = LENGTHS_MS[(self.number + self.asked.len()) % LENGTHS_MS.len()];
            sleep(Duration::from_millis(length)).await;
        }
        Ok(self)
    }

    /// As hostd shapes an agent's unit, but for what it runs.
    fn properties(&self) -> anyhow::Result<Vec<(String, OwnedVariant)>> {
        let listener = self.listener.clone();
        let arguments = vec![listener.clone(), VERB.to_owned()];
        let environment = vec![format!("{VARIABLE}={}", self.file.display())];
        Ok(vec![
            property("Description", "floor of the benchmark")?,
            property("Type", "exec")?,
            property("ExecStart", vec![(listener, arguments, false)])?,
            property("Environment", environment)?,
            property("NotifyAccess", "main")?,
            property("Restart", "on-failure")?,
            property("RestartUSec", 1_000_000_u64)?,
            property("StartLimitIntervalUSec", 0_u64)?,
            property("KillMode", "process")?,
            property("TimeoutStopUSec", u64::MAX)?,
            property("OOMPolicy", "continue")?,
            property("CollectMode", "inactive-or-failed")?,
            property("CPUAccounting", true)?,
            property("MemoryAccounting", true)?,
            property("TasksAccounting", true)?,
        ])
    }
}

fn property<'a>(
    name: &str,
    value: impl Into<Variant<'a>>,
) -> anyhow::Result<(String, OwnedVariant)> {
    Ok((name.to_owned(), OwnedVariant::try_from(value.into())?))
}
