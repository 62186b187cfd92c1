//! Is there a hostd that decides? It holds a lock for as long as it lives, so the kernel says when
//! it is gone, at once and however it ended; nobody has to ask again and again.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tokio::sync::oneshot;

/// The lock in a directory of runs.
#[derive(Debug, Clone)]
pub struct Attended(PathBuf);

/// Held: by hostd while it rules, or by an agent's process while it begins a run without hostd.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl Attended {
    /// Of this directory of runs.
    pub fn within(runs: &Path) -> Self {
        Self(runs.join(".attended"))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.0)
    }

    /// hostd rules from now on. Agents' processes hold the lock for moments only, so this waits for
    /// them. Blocks.
    ///
    /// # Errors
    /// A file that cannot be locked.
    pub fn rule(&self) -> io::Result<Held> {
        let file = self.open()?;
        file.lock()?;
        Ok(Held(file))
    }

    /// None while a hostd rules. While it is held, none begins to.
    ///
    /// # Errors
    /// A file that cannot be locked.
    pub fn alone(&self) -> io::Result<Option<Held>> {
        let file = self.open()?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Comes when no hostd rules (any more). A thread waits for it; it ends with the process.
    pub fn until_alone(&self) -> oneshot::Receiver<io::Result<()>> {
        let (told, waiting) = oneshot::channel();
        let place = self.clone();
        std::thread::spawn(move || {
            let locked = place.open().and_then(|file| file.lock_shared());
            // Nobody waits any more: that is fine.
            let _ = told.send(locked);
        });
        waiting
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test]
    async fn an_agent_is_alone_exactly_while_no_hostd_rules() {
        let dir = tempfile::tempdir().unwrap();
        let place = Attended::within(dir.path());
        assert!(place.alone().unwrap().is_some());
        let ruling = place.rule().unwrap();
        assert!(place.alone().unwrap().is_none());
        let mut waiting = place.until_alone();
        assert!(waiting.try_recv().is_err(), "it waits while hostd rules");
        drop(ruling);
        waiting.await.unwrap().unwrap();
        assert!(place.alone().unwrap().is_some());
    }

    #[test]
    fn two_agents_may_be_alone_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = Attended::within(dir.path());
        let one = place.alone().unwrap();
        assert!(one.is_some() && place.alone().unwrap().is_some());
    }
}
