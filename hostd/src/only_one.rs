//! One hostd per state directory: two would fight over the same agents.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use fleet_proto::files::FileError;

/// Held while hostd lives; the kernel lets it go with the process, however that ends.
#[derive(Debug)]
pub struct OnlyOne(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Why it cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum OnlyOneError {
    /// Somebody else holds it.
    #[error(
        "another hostd works in {} already; two would fight over the same agents: stop it first \
         (systemctl stop hostd)",
        .0.display()
    )]
    Taken(PathBuf),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl OnlyOne {
    /// Of a state directory.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn within(data: &Path) -> Result<Self, OnlyOneError> {
        let path = place(data);
        let fail = |source| FileError::Io { doing: "lock", path: path.clone(), source };
        let file = File::create(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OnlyOneError::Taken(data.to_owned())),
            Err(TryLockError::Error(source)) => Err(fail(source).into()),
        }
    }

    /// The same, where a hostd has ever worked; elsewhere there is nothing to be alone with.
    ///
    /// # Errors
    /// As [`OnlyOne::within`].
    pub fn if_ever(data: &Path) -> Result<Option<Self>, OnlyOneError> {
        if place(data).exists() { Self::within(data).map(Some) } else { Ok(None) }
    }
}

fn place(data: &Path) -> PathBuf {
    data.join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(OnlyOne::if_ever(dir.path()).expect("nobody ever").is_none());
        let first = OnlyOne::within(dir.path()).expect("the first");
        assert!(matches!(OnlyOne::within(dir.path()), Err(OnlyOneError::Taken(_))));
        assert!(matches!(OnlyOne::if_ever(dir.path()), Err(OnlyOneError::Taken(_))));
        drop(first);
        assert!(OnlyOne::if_ever(dir.path()).expect("free again").is_some());
    }
}
