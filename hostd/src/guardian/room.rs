//! How much room there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use fleet_model::{Disk, Room, RuntimeKind};
use nix::sys::statvfs::{Statvfs, statvfs};

/// Each file system once. What cannot be measured is left out. Blocks on it.
pub(super) fn measure(places: &[(PathBuf, BTreeSet<RuntimeKind>)]) -> Vec<Disk> {
    let mut found: BTreeMap<u64, Disk> = BTreeMap::new();
    for (path, runtimes) in places {
        let Ok((device, place)) = mount_of(path) else { continue };
        if let Some(disk) = found.get_mut(&device) {
            disk.runtimes.extend(runtimes);
            continue;
        }
        match statvfs(&place) {
            Ok(stat) => {
                let place = place.display().to_string();
                let (bytes, inodes) = rooms(&stat);
                found.insert(device, Disk { place, bytes, inodes, runtimes: runtimes.clone() });
            }
            Err(error) => tracing::debug!(place = %place.display(), %error, "not measured"),
        }
    }
    found.into_values().collect()
}

/// As users other than root see it: what is reserved for root is neither there nor free.
fn rooms(stat: &Statvfs) -> (Room, Room) {
    let room = |all: u64, free_for_root: u64, free: u64, unit: u64| Room {
        total: all.saturating_sub(free_for_root).saturating_add(free).saturating_mul(unit),
        free: free.saturating_mul(unit),
    };
    let bytes =
        room(stat.blocks(), stat.blocks_free(), stat.blocks_available(), stat.fragment_size());
    let inodes = match stat.files() {
        // Not counted, whatever else it says.
        0 => Room::default(),
        all => room(all, stat.files_free(), stat.files_available(), 1),
    };
    (bytes, inodes)
}

/// The file system of a path (of what there is of it), and where it is mounted.
fn mount_of(path: &Path) -> io::Result<(u64, PathBuf)> {
    let there = |path: &&Path| path.exists();
    let path = path.ancestors().find(there).unwrap_or(Path::new("/")).canonicalize()?;
    let device = fs::metadata(&path)?.dev();
    let same = |path: &&Path| fs::metadata(path).is_ok_and(|meta| meta.dev() == device);
    let top = path.ancestors().take_while(same).last().unwrap_or(&path).to_owned();
    Ok((device, top))
}

/// `path` is on the file system that is mounted at `place`, there or elsewhere too.
pub(crate) fn same_disk(path: &Path, place: &str) -> bool {
    let device = |path: &Path| mount_of(path).map(|(device, _)| device).ok();
    device(path).is_some_and(|own| device(Path::new(place)) == Some(own))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn one_file_system_is_measured_once_for_all_who_live_there() {
        let dir = tempfile::tempdir().unwrap();
        let of = |kind| BTreeSet::from([kind]);
        let missing = dir.path().join("not/yet/there");
        let disks = measure(&[
            (dir.path().to_owned(), of(RuntimeKind::Docker)),
            (missing, of(RuntimeKind::Systemd)),
            (PathBuf::from("/proc"), of(RuntimeKind::Fake)),
        ]);
        let own = disks.iter().find(|disk| disk.runtimes.contains(&RuntimeKind::Docker)).unwrap();
        assert!(own.runtimes.contains(&RuntimeKind::Systemd), "{own:?}");
        assert!(own.bytes.total > 0 && own.bytes.free <= own.bytes.total, "{own:?}");
        assert!(same_disk(dir.path(), &own.place) && !same_disk(Path::new("/proc"), &own.place));
        // It has no room to count.
        let proc = disks.iter().find(|disk| disk.place == "/proc").unwrap();
        assert_eq!(proc.bytes.permille(), None);
    }
}
