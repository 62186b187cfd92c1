//! Room on a host's disks.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::RuntimeKind;

/// A file system that agents of a host depend on, as it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Disk {
    /// Where it is mounted.
    pub place: String,
    /// Bytes.
    pub bytes: Room,
    /// Files that it can hold.
    pub inodes: Room,
    /// Agents of these runtimes live on it.
    pub runtimes: BTreeSet<RuntimeKind>,
}

/// How much there is of something, and how much of it is free, for users other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// All of it; 0: the file system does not count it.
    pub total: u64,
    /// What is left.
    pub free: u64,
}

impl Room {
    /// This many per cent of all of it.
    pub fn percent(self, percent: u8) -> u64 {
        let part = u128::from(self.total) * u128::from(percent) / 100;
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Thousandths of it that are free; none: it is not counted.
    pub fn permille(self) -> Option<u64> {
        let free = u128::from(self.free.min(self.total)) * 1000;
        u64::try_from(free.checked_div(u128::from(self.total))?).ok()
    }
}

/// The free part, as people read it: `3.1 %`.
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.permille() {
            Some(thousandths) => write!(f, "{}.{} %", thousandths / 10, thousandths % 10),
            None => f.write_str("an unknown part"),
        }
    }
}

/// Something of the fleet's own that takes room on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheSize {
    /// What: `package 1a2b3c4d5e6f`, `evidence`, `image nightly:1`.
    pub what: String,
    /// Bytes.
    pub bytes: u64,
}

/// Bytes as people read them: `1.2 GiB`.
pub fn readable(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, "KiB");
    for next in UNITS.into_iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_reads_well_and_never_overflows() {
        let room = |total, free| Room { total, free };
        for (room, text) in [
            (room(1000, 31), "3.1 %"),
            (room(0, 0), "an unknown part"),
            (room(3, 3), "100.0 %"),
            (room(u64::MAX, u64::MAX / 2), "49.9 %"),
            (room(10, 20), "100.0 %"),
        ] {
            assert_eq!(room.to_string(), text);
        }
        assert_eq!(room(u64::MAX, 0).percent(100), u64::MAX);
        assert_eq!(room(64, 0).percent(5), 3);
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_500_000, "1.4 MiB"),
            (2 << 30, "2.0 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }
}
