//! Room on disks.

use fleet_model::{CacheSize, Disk, Room};

use super::{WireError, session::runtimes};
use crate::v1;

impl From<Disk> for v1::Disk {
    fn from(disk: Disk) -> Self {
        Self {
            place: disk.place,
            bytes_total: disk.bytes.total,
            bytes_free: disk.bytes.free,
            inodes_total: disk.inodes.total,
            inodes_free: disk.inodes.free,
            runtimes: disk.runtimes.into_iter().map(|k| v1::RuntimeKind::from(k).into()).collect(),
        }
    }
}

impl TryFrom<v1::Disk> for Disk {
    type Error = WireError;
    fn try_from(wire: v1::Disk) -> Result<Self, WireError> {
        Ok(Self {
            place: wire.place,
            bytes: Room { total: wire.bytes_total, free: wire.bytes_free },
            inodes: Room { total: wire.inodes_total, free: wire.inodes_free },
            runtimes: runtimes(&wire.runtimes)?,
        })
    }
}

impl From<CacheSize> for v1::CacheSize {
    fn from(cache: CacheSize) -> Self {
        Self { what: cache.what, bytes: cache.bytes }
    }
}

impl From<v1::CacheSize> for CacheSize {
    fn from(wire: v1::CacheSize) -> Self {
        Self { what: wire.what, bytes: wire.bytes }
    }
}
