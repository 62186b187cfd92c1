//! The watcher of Azure: one list call per Azure pool and interval, whatever the number of agents.
//!
//! ```text
//!   loop ──Targets──► watcher ──one task per Azure pool──► rows or trouble ──► loop ──► hosts
//! ```
//!
//! A watcher never acts on agents: it looks. What it does to rows it does to those that no host keeps
//! an agent for ([`leftovers`]), and only to those that the loop has given up in the store before.

mod check;
mod leftovers;
mod pace;
mod poll;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use azdo::ProxyConfig;
use coordinator_plan::Fleet;
use fleet_model::{AzureTarget, CredentialRef, PoolName};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    book::Book, clock::Clock, credentials::Vault, fleet_loop::FleetHandle, metrics::Metrics,
    records::Orphan,
};
pub(crate) use check::{Check, check};
use poll::Poller;

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    pools: BTreeMap<PoolName, Target>,
    orphans: BTreeMap<String, Orphan>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    azure: AzureTarget,
    credential: CredentialRef,
    /// The pool is being deleted.
    leaving: bool,
    /// How often its rows' marks were wished for.
    marks: u64,
}

impl Targets {
    pub(crate) fn of(fleet: &Fleet, book: &Book, marks: &BTreeMap<PoolName, u64>) -> Self {
        let target = |name: &PoolName| {
            let spec = fleet.pool_view(name)?.spec;
            let fingerprint = fleet.credential(&spec.credential)?.to_owned();
            let target = Target {
                azure: spec.azure.clone(),
                credential: CredentialRef { name: spec.credential.clone(), fingerprint },
                leaving: spec.deleted,
                marks: marks.get(name).copied().unwrap_or_default(),
            };
            Some((name.clone(), target))
        };
        let pools = fleet.pool_names().filter_map(target).collect();
        Self { pools, orphans: book.orphans.clone() }
    }

    /// One entry per Azure pool and credential: two pools of the fleet that share both share a call.
    fn jobs(&self) -> BTreeMap<JobKey, Job> {
        let mut jobs: BTreeMap<JobKey, Job> = BTreeMap::new();
        for (name, target) in &self.pools {
            let key = JobKey {
                url: target.azure.url.clone(),
                pool: target.azure.pool.clone(),
                credential: target.credential.clone(),
            };
            let job = jobs.entry(key).or_default();
            job.leaving = target.leaving && (job.pools.is_empty() || job.leaving);
            job.marks = job.marks.max(target.marks);
            job.pools.push(name.clone());
        }
        for (key, job) in &mut jobs {
            let here = |o: &&Orphan| o.azure.url == key.url && o.azure.pool == key.pool;
            job.orphans = self.orphans.values().filter(here).cloned().collect();
        }
        jobs
    }
}

/// An Azure pool, seen with a credential. A new secret is a new job, which looks at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct JobKey {
    url: String,
    pool: String,
    credential: CredentialRef,
}

/// What a look at it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Job {
    pools: Vec<PoolName>,
    orphans: Vec<Orphan>,
    /// All of the pools are being deleted.
    leaving: bool,
    /// A list with the rows' marks is wished for, unless it was given for this number.
    marks: u64,
}

/// How to ask Azure.
#[derive(Debug, Clone)]
pub(crate) struct AzureSettings {
    /// Between two looks at a pool; spread by a fifth to both sides.
    pub interval: Duration,
    /// Limit of one call.
    pub timeout: Duration,
    /// How old its answers may be.
    pub stale: Duration,
    /// A proxy on the way to Azure.
    pub proxy: Option<ProxySettings>,
}

/// A proxy and what is reached without it.
#[derive(Debug, Clone)]
pub(crate) struct ProxySettings {
    /// `http://[USER:PASSWORD@]HOST:PORT`.
    pub url: secrecy::SecretString,
    /// As `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl AzureSettings {
    fn proxy(&self) -> Option<ProxyConfig> {
        use secrecy::ExposeSecret as _;
        self.proxy.as_ref().map(|proxy| ProxyConfig {
            url: proxy.url.expose_secret().to_owned(),
            no_proxy: proxy.no_proxy.clone(),
        })
    }
}

/// What all looks share.
#[derive(Clone)]
struct Shared {
    handle: FleetHandle,
    vault: Arc<Vault>,
    metrics: Arc<Metrics>,
    settings: AzureSettings,
    clock: Clock,
}

/// Looks at everything in `targets` until it is stopped.
pub(crate) async fn watch_azure(
    handle: FleetHandle,
    mut targets: watch::Receiver<Targets>,
    vault: Arc<Vault>,
    metrics: Arc<Metrics>,
    settings: AzureSettings,
    clock: Clock,
    stop: CancellationToken,
) {
    let shared = Shared { handle, vault, metrics, settings, clock };
    let tasks = TaskTracker::new();
    let mut running: BTreeMap<JobKey, (CancellationToken, watch::Sender<Job>)> = BTreeMap::new();
    loop {
        let jobs = targets.borrow_and_update().jobs();
        running.retain(|key, (cancel, _)| {
            let wanted = jobs.contains_key(key);
            if !wanted {
                cancel.cancel();
            }
            wanted
        });
        for (key, job) in jobs {
            if let Some((_, told)) = running.get(&key) {
                told.send_if_modified(|old| {
                    let changed = *old != job;
                    *old = job;
                    changed
                });
                continue;
            }
            let (told, work) = watch::channel(job);
            let cancel = stop.child_token();
            let poller = Poller::new(shared.clone(), key.clone(), work);
            let cancelled = cancel.clone();
            tasks.spawn(async move { cancelled.run_until_cancelled(poller.run()).await });
            running.insert(key, (cancel, told));
        }
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { break },
            () = stop.cancelled() => break,
        }
    }
    // An end of the loop above ends all looks too, whichever end it was.
    running.into_values().for_each(|(cancel, _)| cancel.cancel());
    tasks.close();
    tasks.wait().await;
}
