//! Removes what nothing uses from one disk.
//!
//! Every look goes over all that there is, so that the book of unused things is whole; removed is only
//! what lies on the disk that is to be cleaned. Each removal asks the stored ledger once more.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use fleet_model::{AgentName, At, RuntimeKind, readable};
use fleet_proto::{files, logging::Report};
use hostd_plan::{UnusedBook, is_due, look};
use tokio::sync::RwLock;

use super::{Budget, Keep, Seen, Thing, same_disk, size_of};
use crate::{
    disk::{absent_is_fine, blocking},
    ledger_file::LedgerFile,
    runtime::{Runtime, RuntimeError},
};

/// Under this name things wait for their removal; no agent is called so.
const GONE: &str = ".gone-";

/// What cleans.
pub struct Cleaner {
    data: PathBuf,
    ledger: LedgerFile,
    /// As far as it is not on disk: that may be full.
    book: Mutex<UnusedBook>,
    /// Held for reading by each start, and for writing while something of an agent is taken away.
    pub(crate) gate: RwLock<()>,
}

/// A thing without use, and whose it is.
struct Found {
    thing: Thing,
    path: PathBuf,
    owner: Option<Arc<dyn Runtime>>,
}

type Runtimes = BTreeMap<RuntimeKind, Arc<dyn Runtime>>;

impl Cleaner {
    /// Of a state directory and the ledger that counts.
    pub fn within(data: &Path, ledger: LedgerFile) -> Self {
        let cleaner =
            Self { data: data.to_owned(), ledger, book: Mutex::default(), gate: RwLock::new(()) };
        match files::read_private(&cleaner.book_file()) {
            Ok(bytes) => cleaner.keep_book(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.is_not_found() => {}
            // Everything counts as seen for the first time.
            Err(error) => {
                tracing::warn!(error = %Report(&error), "the list of unused things is lost")
            }
        }
        cleaner
    }

    fn book_file(&self) -> PathBuf {
        self.data.join("unused.json")
    }

    fn keep_book(&self, book: UnusedBook) {
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = book;
    }

    /// Removes what is due on the disk at `place`; says what.
    ///
    /// # Errors
    /// In words, when it cannot be known what is in use: nothing was removed.
    pub(crate) async fn clean(
        &self,
        runtimes: &Runtimes,
        place: &str,
        urgent: bool,
    ) -> Result<Vec<String>, String> {
        let keep = Keep::stored(&self.ledger).await?;
        let (found, whole) = self.find(runtimes, &keep).await;
        let now = wall_clock();
        let names: Vec<String> = found.iter().map(|one| one.thing.to_string()).collect();
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = look(&book, names.iter().map(String::as_str), now);
        if !whole {
            // What could not be looked at is neither used nor unused.
            for (name, at) in book {
                seen.entry(name).or_insert(at);
            }
        }
        let book = seen;
        self.keep_book(book.clone());
        let bytes = serde_json::to_vec(&book).unwrap_or_default();
        if let Err(error) = files::write_private(&self.book_file(), &bytes) {
            tracing::warn!(error = %Report(&error), "the list of unused things is not stored");
        }
        let mut removed = Vec::new();
        for one in found {
            let name = one.thing.to_string();
            let due = is_due(&book, &name, one.thing.kind(), urgent, now);
            if !due || !same_disk(&one.path, place) {
                continue;
            }
            match self.remove(&one).await {
                Ok(Some(bytes)) => {
                    let size = readable(bytes);
                    let why = if urgent { "room is short" } else { "nothing has used it for long" };
                    let said = format!("{name} is removed from {place}, {size}: {why}");
                    tracing::info!("{said}");
                    removed.push(said);
                }
                Ok(None) => tracing::debug!("{name} is in use after all"),
                Err(error) => tracing::warn!(error = %Report(&error), "{name} stays"),
            }
        }
        Ok(removed)
    }

    /// Everything without use, and whether all could be looked at.
    async fn find(&self, runtimes: &Runtimes, keep: &Keep) -> (Vec<Found>, bool) {
        let (mut found, mut whole) = (Vec::new(), true);
        let mut run: Vec<AgentName> = Vec::new();
        for runtime in runtimes.values() {
            let looked = async {
                let runs = runtime.list().await?;
                Ok::<_, RuntimeError>((runs, runtime.unused(keep).await?))
            };
            match looked.await {
                Ok((runs, unused)) => {
                    run.extend(runs.into_iter().map(|seen| seen.run.agent));
                    let owned =
                        |(thing, path)| Found { thing, path, owner: Some(Arc::clone(runtime)) };
                    found.extend(unused.into_iter().map(owned));
                }
                Err(error) => {
                    tracing::debug!(error = %Report(&error), "not all can be looked at");
                    whole = false;
                }
            }
        }
        // While an engine does not say what runs, everything of an agent may be in use.
        let is_used =
            |agent: &AgentName| !whole || keep.agents.contains_key(agent) || run.contains(agent);
        found.retain(|one| !matches!(&one.thing, Thing::User(agent) if is_used(agent)));
        for agent in slot_dirs(&self.data).into_iter().filter(|agent| !is_used(agent)) {
            let path = self.data.join("slots").join(agent.as_str());
            found.push(Found { thing: Thing::SlotDir(agent), path, owner: None });
        }
        for (name, path) in evidence(&self.data, keep) {
            found.push(Found { thing: Thing::Evidence(name), path, owner: None });
        }
        (found, whole)
    }

    /// Bytes that it took; none: it is in use after all.
    async fn remove(&self, one: &Found) -> Result<Option<u64>, RuntimeError> {
        let failed = |source| RuntimeError::Io { doing: format!("removing {}", one.thing), source };
        let agent = match &one.thing {
            Thing::User(agent) | Thing::SlotDir(agent) => Some(agent),
            _ => None,
        };
        // A start in between would have its agent in the ledger; one under way comes first.
        let gate = match agent.map(|_| self.gate.try_write()).transpose() {
            Ok(gate) => gate,
            Err(_) => return Ok(None),
        };
        let Ok(keep) = Keep::stored(&self.ledger).await else { return Ok(None) };
        if agent.is_some_and(|agent| keep.agents.contains_key(agent)) {
            return Ok(None);
        }
        if let Some(owner) = &one.owner {
            return owner.remove_unused(&one.thing, &keep).await;
        }
        let Some(aside) = aside_of(&one.path) else { return Ok(None) };
        let path = one.path.clone();
        let to = aside.clone();
        blocking(move || absent_is_fine(fs::rename(path, to))).await.map_err(failed)?;
        drop(gate);
        let gone = move || {
            let bytes = size_of(&aside, &mut Seen::new(), &mut Budget::default());
            absent_is_fine(fs::remove_dir_all(&aside))?;
            Ok(bytes.unwrap_or_default())
        };
        blocking(gone).await.map(Some).map_err(failed)
    }
}

/// Where something waits for its removal: beside it, under a name of our own.
pub(crate) fn aside_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    Some(path.with_file_name(format!("{GONE}{}", name.trim_start_matches(GONE))))
}

/// Something waits there for its removal.
pub(crate) fn is_aside(name: &str) -> bool {
    name.starts_with(GONE)
}

/// By the wall: it is compared with what an earlier hostd wrote down.
fn wall_clock() -> At {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Slots' directories without a registration: with one there may still be a row at Azure, and then
/// somebody has to look at it.
fn slot_dirs(data: &Path) -> Vec<AgentName> {
    let entries = fs::read_dir(data.join("slots")).into_iter().flatten().flatten();
    let bare = entries.filter(|entry| !crate::slots::holds_registration(&entry.path()));
    bare.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is aside already is removed again under the agent's name.
        name.trim_start_matches(GONE).parse().ok()
    })
    .collect()
}

/// Evidence, but for that of agents that are aside.
fn evidence(data: &Path, keep: &Keep) -> Vec<(String, PathBuf)> {
    let named = |path: &Path| {
        let mut places = keep.agents.values().flatten();
        places.any(|place| Path::new(place) == path)
    };
    let entries = fs::read_dir(data.join("evidence")).into_iter().flatten().flatten();
    let free = entries.filter(|entry| !named(&entry.path()));
    free.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

#[cfg(test)]
#[path = "clean_tests.rs"]
mod tests;
