//! What a directory takes.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// No walk takes longer: a size is not worth more.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Nor counts more.
const MOST: u64 = 5_000_000;
/// Lowest priority there is.
const NICE: i32 = 19;

/// Files with several names that were counted already: (device, inode).
pub(crate) type Seen = HashSet<(u64, u64)>;

/// What is left of the time and of the files that a walk may look at.
#[derive(Debug)]
pub(crate) struct Budget {
    until: Instant,
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { until: Instant::now() + LONGEST, left: MOST }
    }
}

impl Budget {
    fn pay(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        // The clock is read now and then only.
        self.left > 0 && (!self.left.is_multiple_of(1024) || Instant::now() < self.until)
    }
}

/// Bytes of everything in `root` that is not in `seen`, and adds to that what has several names. No
/// link is followed, and no other file system entered. None: there was too much of it. What goes
/// while it is looked at counts nothing.
pub(crate) fn size_of(root: &Path, seen: &mut Seen, budget: &mut Budget) -> Option<u64> {
    let Ok(meta) = fs::symlink_metadata(root) else { return Some(0) };
    let device = meta.dev();
    let mut open = vec![(root.to_owned(), meta)];
    let mut bytes = 0_u64;
    while let Some((path, meta)) = open.pop() {
        if !budget.pay() {
            return None;
        }
        let named_twice = !meta.is_dir() && meta.nlink() > 1;
        if meta.dev() != device || (named_twice && !seen.insert((meta.dev(), meta.ino()))) {
            continue;
        }
        bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let with_meta = |entry: fs::DirEntry| {
                Some((entry.path(), fs::symlink_metadata(entry.path()).ok()?))
            };
            open.extend(entries.filter_map(with_meta));
        }
    }
    Some(bytes)
}

/// Does it on a thread of its own, of the lowest priority. None: it broke off.
pub(crate) async fn quietly<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let thread = move || {
        // Of this thread alone; nobody can raise it again, so the thread ends with the walk.
        let _ = rustix::process::nice(NICE);
        // Whoever waited may have gone.
        let _ = done.send(act());
    };
    let spawned: io::Result<_> = std::thread::Builder::new().name("sizes".into()).spawn(thread);
    spawned.ok()?;
    result.await.ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn links_are_not_followed_and_what_is_shared_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["package", "home/deep", "elsewhere"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let large = vec![1; 1 << 20];
        fs::write(at("package/program"), &large).unwrap();
        fs::hard_link(at("package/program"), at("home/program")).unwrap();
        fs::write(at("home/deep/own"), &large).unwrap();
        fs::write(at("elsewhere/large"), &large).unwrap();
        symlink(at("elsewhere"), at("home/deep/link")).unwrap();
        symlink("..", at("home/deep/round")).unwrap();
        let (package, home) = (at("package"), at("home"));
        let (package, home, again) = quietly(move || {
            let (mut seen, mut budget) = (Seen::new(), Budget::default());
            let package = size_of(&package, &mut seen, &mut budget);
            (
                package,
                size_of(&home, &mut seen, &mut budget),
                size_of(&home, &mut seen, &mut budget),
            )
        })
        .await
        .unwrap();
        let mib = |bytes: Option<u64>| bytes.unwrap() >> 20;
        assert_eq!((mib(package), mib(home), mib(again)), (1, 1, 1));
        assert_eq!(size_of(&at("none"), &mut Seen::new(), &mut Budget::default()), Some(0));
        let mut spent = Budget { left: 2, ..Budget::default() };
        assert_eq!(size_of(&at("home"), &mut Seen::new(), &mut spent), None);
    }
}
