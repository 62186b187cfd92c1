//! One host.

use std::collections::BTreeMap;

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::{Condition, Order, Restraint, some};
use crate::{when, words};

/// One host as `get hosts -o json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) lab: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) state: String,
    pub(crate) since: Option<Timestamp>,
    pub(crate) availability: String,
    /// Who holds it back, why and how long; null: nobody.
    pub(crate) restraint: Option<Restraint>,
    /// Most agents it takes; null: no limit of its own.
    pub(crate) capacity: Option<u32>,
    pub(crate) agents: u32,
    pub(crate) busy: u32,
    pub(crate) version: Option<String>,
    pub(crate) engine: Option<String>,
    /// Highest order the host has taken.
    pub(crate) applied: Option<Order>,
    /// Newest order meant for it.
    pub(crate) ordered: Option<Order>,
    pub(crate) certificate_expires: Option<Timestamp>,
    pub(crate) conditions: Vec<Condition>,
    /// File systems that its agents depend on.
    pub(crate) disks: Vec<Disk>,
    /// What takes room on it beside the agents.
    pub(crate) caches: Vec<CacheSize>,
}

/// A file system of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disk {
    pub(crate) place: String,
    pub(crate) bytes_total: u64,
    pub(crate) bytes_free: u64,
    /// 0: it does not count them.
    pub(crate) inodes_total: u64,
    pub(crate) inodes_free: u64,
    /// Agents of these runtimes live on it.
    pub(crate) runtimes: Vec<String>,
}

/// Something of the fleet's own that takes room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheSize {
    pub(crate) what: String,
    pub(crate) bytes: u64,
}

impl From<v1::Disk> for Disk {
    fn from(wire: v1::Disk) -> Self {
        Self {
            place: wire.place,
            bytes_total: wire.bytes_total,
            bytes_free: wire.bytes_free,
            inodes_total: wire.inodes_total,
            inodes_free: wire.inodes_free,
            runtimes: wire.runtimes.into_iter().map(words::runtime).collect(),
        }
    }
}

impl From<v1::CacheSize> for CacheSize {
    fn from(wire: v1::CacheSize) -> Self {
        Self { what: wire.what, bytes: wire.bytes }
    }
}

impl From<v1::Host> for Host {
    fn from(wire: v1::Host) -> Self {
        let condition = |c| Condition::new(&wire.name, "", c);
        Self {
            conditions: wire.conditions.into_iter().map(condition).collect(),
            name: wire.name,
            lab: wire.lab,
            labels: wire.labels,
            state: words::host_state(wire.state),
            since: when::at(wire.since.as_ref()),
            availability: words::availability(wire.availability),
            restraint: wire.restraint.map(Restraint::from),
            capacity: wire.capacity,
            agents: wire.agents,
            busy: wire.busy,
            version: some(wire.version),
            engine: some(wire.engine),
            applied: wire.applied.map(Order::from),
            ordered: wire.ordered.map(Order::from),
            certificate_expires: when::at(wire.certificate_expires.as_ref()),
            disks: wire.disks.into_iter().map(Disk::from).collect(),
            caches: wire.caches.into_iter().map(CacheSize::from).collect(),
        }
    }
}
