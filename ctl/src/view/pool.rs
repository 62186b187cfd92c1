//! One pool: what is wanted, how it stands, how its agents are built.

use std::collections::BTreeMap;

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::{Condition, Restraint, some};
use crate::{when, words};

/// One pool as `get pools -o json` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) azure_url: String,
    pub(crate) azure_pool: String,
    pub(crate) prefix: String,
    pub(crate) desired: u32,
    /// Wanted agents that are online: idle or busy.
    pub(crate) ready: u32,
    pub(crate) idle: u32,
    pub(crate) busy: u32,
    pub(crate) starting: u32,
    pub(crate) failed: u32,
    pub(crate) leaving: u32,
    /// Kept, and without jobs for a while.
    pub(crate) paused: u32,
    /// Kept aside; others have their places.
    pub(crate) quarantined: u32,
    /// Wanted agents that no host can take.
    pub(crate) unplaced: u32,
    /// Agents that start when others have left.
    pub(crate) waiting: u32,
    pub(crate) unplaced_reasons: Vec<String>,
    pub(crate) placement: Vec<Placed>,
    pub(crate) troubles: Vec<Condition>,
    pub(crate) credential: Credential,
    /// The last good look at Azure.
    pub(crate) azure_seen: Option<Timestamp>,
    pub(crate) settle_seconds: f64,
    /// Being deleted: its agents are on their way out.
    pub(crate) deleted: bool,
    pub(crate) groups: Vec<Group>,
    /// The leave to remove idle agents without Azure's word, as it was given last.
    pub(crate) forced: Option<Forced>,
    /// `Active`, `Cordoned`, `Paused` or `Draining`.
    pub(crate) availability: String,
    /// Who holds it back, why and how long; null: nobody.
    pub(crate) restraint: Option<Restraint>,
}

/// Who forced the removal of agents, why and when. It stands for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forced {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at: Option<Timestamp>,
}

/// How many agents a host is to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Placed {
    pub(crate) host: String,
    pub(crate) group: String,
    pub(crate) replicas: u32,
}

/// A credential; never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credential {
    pub(crate) name: String,
    /// First 12 hex digits of the secret's SHA-256.
    pub(crate) fingerprint: Option<String>,
    pub(crate) loaded: Option<Timestamp>,
    /// Null: unknown, Azure does not tell.
    pub(crate) expires: Option<Timestamp>,
}

/// Part of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) selector: String,
    pub(crate) weight: u32,
    pub(crate) max_per_host: Option<u32>,
    pub(crate) runtime: String,
    pub(crate) image: Option<String>,
    pub(crate) mode: String,
    pub(crate) entry: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids: Option<u32>,
    pub(crate) caches: BTreeMap<String, String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) http_proxy: Option<String>,
    pub(crate) https_proxy: Option<String>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) docker_socket: bool,
    /// The agent's package: where it comes from. Null: as the host is set, or none.
    pub(crate) package: Option<String>,
    pub(crate) package_sha256: Option<String>,
    pub(crate) docker_group: bool,
}

impl From<v1::Pool> for Pool {
    fn from(wire: v1::Pool) -> Self {
        let spec = wire.spec.unwrap_or_default();
        let counts = wire.counts.unwrap_or_default();
        let azure = spec.azure.unwrap_or_default();
        let trouble = |t: v1::PoolTrouble| {
            Condition::new(&t.host, &spec.name, t.condition.unwrap_or_default())
        };
        Self {
            troubles: wire.troubles.into_iter().map(trouble).collect(),
            credential: Credential::new(&spec.credential, wire.credential),
            name: spec.name,
            azure_url: azure.url,
            azure_pool: azure.pool,
            prefix: spec.prefix,
            desired: counts.desired,
            ready: counts.ready,
            idle: counts.idle,
            busy: counts.busy,
            starting: counts.starting,
            failed: counts.failed,
            leaving: counts.leaving,
            paused: counts.paused,
            quarantined: counts.quarantined,
            unplaced: wire.unplaced,
            waiting: wire.waiting,
            unplaced_reasons: wire.unplaced_reasons,
            placement: wire.placement.into_iter().map(Placed::from).collect(),
            azure_seen: when::at(wire.azure_seen.as_ref()),
            settle_seconds: spec
                .settle
                .map_or(0.0, |d| d.seconds as f64 + f64::from(d.nanos) / 1e9),
            deleted: spec.deleted,
            groups: spec.groups.into_iter().map(Group::from).collect(),
            forced: spec.forced.map(Forced::from),
            availability: words::availability_of(spec.restraint.as_ref()),
            restraint: spec.restraint.map(Restraint::from),
        }
    }
}

impl From<v1::Forced> for Forced {
    fn from(wire: v1::Forced) -> Self {
        Self { by: wire.by, reason: wire.reason, at: when::at(wire.at.as_ref()) }
    }
}

impl From<v1::PlacedCount> for Placed {
    fn from(wire: v1::PlacedCount) -> Self {
        Self { host: wire.host, group: wire.group, replicas: wire.replicas }
    }
}

impl Credential {
    fn new(name: &str, status: Option<v1::CredentialStatus>) -> Self {
        let Some(status) = status else {
            return Self { name: name.to_owned(), ..Self::default() };
        };
        Self {
            name: name.to_owned(),
            fingerprint: status.credential.and_then(|c| some(c.fingerprint)),
            loaded: when::at(status.loaded.as_ref()),
            expires: when::at(status.expires.as_ref()),
        }
    }
}

impl From<v1::GroupSpec> for Group {
    fn from(wire: v1::GroupSpec) -> Self {
        let template = wire.template.unwrap_or_default();
        let limits = template.limits.unwrap_or_default();
        let proxy = template.proxy.unwrap_or_default();
        let (package, package_sha256) = match template.package {
            Some(package) => (some(package.source), some(package.sha256)),
            None => (None, None),
        };
        Self {
            name: wire.name,
            selector: wire.selector,
            weight: wire.weight,
            max_per_host: wire.max_per_host,
            runtime: words::runtime(template.runtime),
            image: some(template.image),
            mode: words::mode(template.mode),
            entry: words::entry(template.entry),
            env: template.env,
            cpu_millis: limits.cpu_millis,
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            caches: template.caches.into_iter().map(|c| (c.name, c.path)).collect(),
            mtu: template.mtu,
            http_proxy: proxy.http,
            https_proxy: proxy.https,
            no_proxy: proxy.no_proxy,
            docker_socket: template.docker_socket,
            package,
            package_sha256,
            docker_group: template.docker_group,
        }
    }
}
