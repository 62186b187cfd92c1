//! Files that survive a crash and show nothing to others: written beside their place, synced, then
//! renamed into it. A reader sees the old content or the new one, never a part.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::hex;

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Nothing that is kept this way is larger; a wrong path must not fill the memory.
const READ_MAX: u64 = 1 << 20;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret that others can read is none.
    #[error(
        "{} can be read by others (mode {mode:04o}); make it private with: chmod 600 {}",
        path.display(), path.display()
    )]
    NotPrivate {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// See [`read_private`].
    #[error("{} is not a regular file of at most {READ_MAX} bytes", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
}

impl FileError {
    /// The file was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    fn is_there_already(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Puts `bytes` at `path`, readable by the owner only (0600). A missing parent directory is made,
/// for the owner only (0700).
///
/// # Errors
/// What the system says; the old content is then still there.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, PRIVATE, Place::Replace)
}

/// The same for what everybody may read (0644), such as certificates.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, PUBLIC, Place::Replace)
}

/// As [`write_private`], but only where no file is yet; says whether it was written. Of two that
/// do this at once, one wins with its whole content.
///
/// # Errors
/// As [`write_private`].
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<bool, FileError> {
    match write(path, bytes, PRIVATE, Place::Create) {
        Ok(()) => Ok(true),
        Err(error) if error.is_there_already() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a secret. The bytes are wiped from memory when dropped.
///
/// # Errors
/// When the file cannot be read, is not a regular file, is larger than 1 MiB, or when its group or
/// others have any right on it.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(fail("open", path))?;
    // Asked of the open file: between a question by name and the opening it could be exchanged.
    let meta = file.metadata().map_err(fail("examine", path))?;
    if !meta.is_file() || meta.size() > READ_MAX {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::NotPrivate { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let room = usize::try_from(meta.size()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(READ_MAX).read_to_end(&mut bytes).map_err(fail("read", path))?;
    Ok(bytes)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Replace,
    Create,
}

fn write(path: &Path, bytes: &[u8], mode: u32, place: Place) -> Result<(), FileError> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("create", dir))?;
    let beside = beside(path)?;
    let done = fill(&beside, bytes, mode).and_then(|()| match place {
        Place::Replace => fs::rename(&beside, path).map_err(fail("replace", path)),
        Place::Create => fs::hard_link(&beside, path).map_err(fail("create", path)),
    });
    if done.is_err() || place == Place::Create {
        // Best effort: a left-over is private and in nobody's way.
        let _ = fs::remove_file(&beside);
    }
    done?;
    // Without this the rename itself may be lost with the power.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync", dir))
}

fn fill(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let create = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    create().map_err(fail("write", path))
}

/// A name of its own for each attempt: two writers never share a temporary file.
fn beside(path: &Path) -> Result<PathBuf, FileError> {
    let mut random = [0; 8];
    let drawn = aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"));
    drawn.map_err(fail("name a file beside", path))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", hex(&random)));
    Ok(path.with_file_name(name))
}

fn fail<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").mode() & 0o777
    }

    fn left_overs(dir: &Path) -> usize {
        let new = |e: &fs::DirEntry| e.file_name().to_string_lossy().ends_with(".new");
        fs::read_dir(dir).expect("a directory").filter_map(Result::ok).filter(new).count()
    }

    #[test]
    fn a_secret_is_private_from_its_directory_on_and_replaces_an_open_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b/key");
        write_private(&path, b"one").expect("written");
        assert_eq!((mode(&path), mode(path.parent().expect("b"))), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened up");
        write_private(&path, b"two").expect("replaced");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read_private(&path).expect("read").as_slice(), b"two");
        assert_eq!(left_overs(path.parent().expect("b")), 0);
    }

    #[test]
    fn what_others_can_read_is_not_taken_for_a_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        write_public(&path, b"one").expect("written");
        let error = read_private(&path).expect_err("group and others can read it").to_string();
        assert!(error.contains("0644") && error.contains("chmod 600"), "{error}");
        assert!(matches!(read_private(dir.path()), Err(FileError::NotAFile { .. })));
        assert!(read_private(&dir.path().join("none")).expect_err("no file").is_not_found());
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let occupied = dir.path().join("occupied");
        fs::create_dir(&occupied).expect("made");
        write_private(&occupied, b"x").expect_err("a directory is in the way");
        assert_eq!(left_overs(dir.path()), 0);
    }

    #[test]
    fn of_many_creators_one_wins() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let wins = thread::scope(|scope| {
            let path = &path;
            let create =
                move |n: u8| create_private(path, &[n; 64]).expect("won or lost").then_some(n);
            let all: Vec<_> = (0..8).map(|n| scope.spawn(move || create(n))).collect();
            all.into_iter().filter_map(|t| t.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(wins.len(), 1);
        assert_eq!(read_private(&path).expect("read").as_slice(), [wins[0]; 64]);
    }
}
