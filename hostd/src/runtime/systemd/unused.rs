//! What homes and packages take, and what of them nothing uses.
//!
//! A package is used when a template or this host's settings name it, when an agent was to be made of
//! it lately, or when any of its files has a name elsewhere: the home of an agent is linked to it.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use fleet_model::{AgentName, CacheSize};

use super::{SystemdRuntime, proc};
use crate::{
    agent_run::clean,
    disk::{absent_is_fine, blocking},
    guardian::{Budget, Keep, Seen, Sizes, Thing, aside_of, is_aside, quietly, size_of},
};

/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

impl SystemdRuntime {
    pub(super) async fn weighed(&self, keep: &Keep) -> io::Result<Sizes> {
        let store = self.packages.store().to_owned();
        let users = self.users.all()?.into_iter();
        let homes: Vec<_> = users
            .filter(|(agent, _)| keep.agents.contains_key(agent))
            .map(|(agent, user)| (agent, user.home))
            .collect();
        let weighed = quietly(move || weigh(&store, &homes)).await;
        weighed.ok_or_else(|| io::Error::other("it broke off"))
    }

    pub(super) async fn unused_things(&self, keep: &Keep) -> io::Result<Vec<(Thing, PathBuf)>> {
        let mut all = Vec::new();
        let names = entries(self.packages.store());
        for (name, path) in names.iter().filter(|(name, _)| is_sum(name)) {
            let (dir, sha256) = (path.clone(), name.clone());
            if !self.is_wanted(name, keep) && !blocking(move || Ok(is_linked(&dir))).await? {
                all.push((Thing::Package(sha256), path.clone()));
            }
        }
        // Half a package is nobody's while nobody fetches one.
        if self.packages.turn.try_lock().is_ok() {
            let half = names.into_iter().filter(|(name, _)| is_half(name) || is_aside(name));
            all.extend(half.map(|(name, path)| (Thing::Scrap(name), path)));
        }
        let homes = entries(&self.settings.homes).into_iter();
        let ours = homes.filter(|(name, _)| is_aside(name) && name.contains("az-"));
        all.extend(ours.map(|(name, path)| (Thing::Scrap(name), path)));
        for (agent, user) in self.users.all()? {
            if !keep.agents.contains_key(&agent) && !proc::has_processes(user.uid)? {
                all.push((Thing::User(agent), user.home));
            }
        }
        Ok(all)
    }

    /// A template or the settings name it, or an agent is being made of it.
    fn is_wanted(&self, sha256: &str, keep: &Keep) -> bool {
        let own = self.settings.package.as_ref();
        keep.packages.contains(sha256)
            || own.is_some_and(|package| package.sha256.eq_ignore_ascii_case(sha256))
            || self.packages.asked_lately(sha256)
    }

    pub(super) async fn remove_thing(&self, thing: &Thing, keep: &Keep) -> io::Result<Option<u64>> {
        match thing {
            Thing::Package(sha256) => {
                let Ok(turn) = self.packages.turn.try_lock() else { return Ok(None) };
                let dir = self.packages.store().join(sha256);
                let look = dir.clone();
                if self.is_wanted(sha256, keep) || blocking(move || Ok(is_linked(&look))).await? {
                    return Ok(None);
                }
                let Some(aside) = aside_of(&dir) else { return Ok(None) };
                absent_is_fine(fs::rename(dir, &aside))?;
                drop(turn);
                removed(aside).await
            }
            Thing::Scrap(name) => {
                let place = match name.contains("az-") {
                    true => &self.settings.homes,
                    false => self.packages.store(),
                };
                let Ok(_turn) = self.packages.turn.try_lock() else { return Ok(None) };
                removed(place.join(name)).await
            }
            Thing::User(agent) => self.remove_user(agent).await,
            _ => Ok(None),
        }
    }

    /// Its home is put aside, and goes with the next scrap.
    async fn remove_user(&self, agent: &AgentName) -> io::Result<Option<u64>> {
        let Some(user) = self.users.find(agent)? else { return Ok(None) };
        let Some(aside) = aside_of(&user.home) else { return Ok(None) };
        if proc::has_processes(user.uid)? {
            return Ok(None);
        }
        absent_is_fine(fs::rename(&user.home, &aside))?;
        // The system refuses to remove a user of whom something runs.
        self.users.remove(agent).await?;
        blocking(move || clean::clean_common(user.uid)).await?;
        Ok(Some(0))
    }
}

async fn removed(path: PathBuf) -> io::Result<Option<u64>> {
    blocking(move || {
        let bytes = size_of(&path, &mut Seen::new(), &mut Budget::default());
        clean::remove(&path)?;
        Ok(Some(bytes.unwrap_or_default()))
    })
    .await
}

/// Packages first: their files do not count again where agents are linked to them.
fn weigh(store: &Path, homes: &[(AgentName, PathBuf)]) -> Sizes {
    let (mut seen, mut budget, mut sizes) = (Seen::new(), Budget::default(), Sizes::default());
    for (name, path) in entries(store) {
        if let Some(bytes) = size_of(&path, &mut seen, &mut budget) {
            let what = format!("package {}", crate::guardian::short(&name));
            sizes.caches.push(CacheSize { what, bytes });
        }
    }
    for (agent, home) in homes {
        if let Some(bytes) = size_of(home, &mut seen, &mut budget) {
            sizes.agents.insert(agent.clone(), bytes);
        }
    }
    sizes
}

fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    all.sort();
    all
}

fn is_sum(name: &str) -> bool {
    name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `<sha256>.tar.gz` or `<sha256>.new`.
fn is_half(name: &str) -> bool {
    let stem = name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".new"));
    stem.is_some_and(is_sum)
}

/// Any of its files has a name outside of it too, or that cannot be told. Names inside it do not count:
/// a package may have one file under several.
fn is_linked(dir: &Path) -> bool {
    let mut names = BTreeMap::new();
    let counted = count_names(dir, &mut names);
    counted.is_err() || names.values().any(|(links, inside)| links > inside)
}

/// Of each file: how many names it has, and how many of them are in `dir`.
fn count_names(dir: &Path, names: &mut BTreeMap<u64, (u64, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            count_names(&path, names)?;
        } else {
            let (links, inside) = names.entry(meta.ino()).or_insert((meta.nlink(), 0));
            *links = meta.nlink().max(*links);
            *inside += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "unused_tests.rs"]
mod tests;
