//! Keeps the disks of this host from running full: measures them, and removes what nothing uses. What
//! follows from it for agents, and when to clean, is planned (`hostd/plan/src/disk.rs`).
//!
//! ```text
//!   statvfs, every half minute ──► Event::Disks ──► plan ──► Action::Clean ──► what nothing uses
//!   walks, every quarter hour  ──► sizes, shown                 (by the stored ledger alone)
//! ```
//! Nothing here stops anything, and in doubt a thing stays.

mod clean;
mod keep;
mod room;
mod sizes;
mod thing;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use fleet_model::{
    Disk, RuntimeKind,
    numbers::{DISK_MEASURE, DISK_SIZES_EVERY, DISK_STALE},
};
use hostd_plan::Event;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::{clean::Cleaner, keep::Keep, sizes::Sizes, thing::Thing};
pub(crate) use self::{
    clean::{aside_of, is_aside},
    room::same_disk,
    thing::short,
    walk::{Budget, Seen, quietly, size_of},
};
use crate::{
    clock::jittered, host_loop::Input, ledger_file::LedgerFile, runtime::Runtime, slots::SlotStore,
};

/// A file system that does not answer for so long is not known.
const LIMIT: Duration = Duration::from_secs(10);
/// The first walk waits until agents have come up.
const FIRST_SIZES: Duration = Duration::from_secs(40);

/// What measures.
pub struct Guardian {
    /// hostd's state: without room there, nothing of it can be stored.
    pub data: PathBuf,
    /// What is served.
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    /// Where the ledger is.
    pub ledger: LedgerFile,
    /// The slots' directories.
    pub slots: SlotStore,
}

type Places = Vec<(PathBuf, BTreeSet<RuntimeKind>)>;

impl Guardian {
    /// Measures, and tells the loop, until `stop`.
    pub async fn watch(self, inbox: mpsc::Sender<Input>, stop: CancellationToken) {
        let work = async {
            tokio::join!(self.measure(&inbox), self.weigh(&inbox));
        };
        stop.run_until_cancelled(work).await;
    }

    async fn measure(&self, inbox: &mpsc::Sender<Input>) {
        let mut own = BTreeMap::new();
        let (mut places, mut asked) = (self.places(&mut own).await, Instant::now());
        // A measurement that hangs is waited for, and no second one is begun beside it.
        let mut under_way: Option<JoinHandle<Vec<Disk>>> = None;
        loop {
            // An engine that did not answer does now, or lives elsewhere.
            let all_said = own.len() == self.runtimes.len();
            if asked.elapsed() > if all_said { DISK_SIZES_EVERY } else { DISK_STALE } {
                (places, asked) = (self.places(&mut own).await, Instant::now());
            }
            let these = places.clone();
            let mut one = under_way
                .take()
                .unwrap_or_else(|| tokio::task::spawn_blocking(move || room::measure(&these)));
            let disks = match timeout(LIMIT, &mut one).await {
                Ok(disks) => disks.unwrap_or_default(),
                Err(_) => {
                    tracing::warn!("a file system does not say how full it is");
                    under_way = Some(one);
                    Vec::new()
                }
            };
            if inbox.send(Input::Seen(Event::Disks(disks))).await.is_err() {
                return;
            }
            tokio::time::sleep(jittered(DISK_MEASURE)).await;
        }
    }

    /// What agents live on, by runtime. All of them need hostd's own state. An engine that does not
    /// answer lives where it said last.
    async fn places(&self, said: &mut BTreeMap<RuntimeKind, Vec<PathBuf>>) -> Places {
        let mut places = vec![(self.data.clone(), self.runtimes.keys().copied().collect())];
        for (kind, runtime) in &self.runtimes {
            let own = timeout(LIMIT, runtime.places()).await.unwrap_or_default();
            if !own.is_empty() {
                said.insert(*kind, own);
            }
            let own = said.get(kind).into_iter().flatten().cloned();
            places.extend(own.map(|place| (place, BTreeSet::from([*kind]))));
        }
        places
    }

    async fn weigh(&self, inbox: &mpsc::Sender<Input>) {
        tokio::time::sleep(jittered(FIRST_SIZES)).await;
        loop {
            if let Some(sizes) = self.sizes().await
                && inbox.send(Input::Sizes(sizes)).await.is_err()
            {
                return;
            }
            tokio::time::sleep(jittered(DISK_SIZES_EVERY)).await;
        }
    }

    async fn sizes(&self) -> Option<Sizes> {
        let keep = Keep::stored(&self.ledger).await.ok()?;
        let mut sizes = Sizes::default();
        for runtime in self.runtimes.values() {
            match runtime.sizes(&keep).await {
                Ok(own) => sizes.add(own),
                Err(error) => tracing::debug!(%error, "sizes are not known"),
            }
        }
        let dirs = keep.agents.keys().map(|agent| (agent.clone(), self.slots.dir(agent)));
        let (dirs, evidence) = (dirs.collect::<Vec<_>>(), self.data.join("evidence"));
        sizes.add(quietly(move || sizes::of_dirs(&dirs, &evidence)).await?);
        Some(sizes)
    }
}
