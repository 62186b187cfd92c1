//! What everybody needs who touches files.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Files of an agent's own log that say why it failed: a listener's and a worker's, twice.
pub(crate) const DIAG_FILES: usize = 4;
/// Bytes of each of them.
pub(crate) const DIAG_MAX: u64 = 256 * 1024;

/// Something that is gone already needs no removal.
pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Files are touched on threads that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?
}

/// The last `max` bytes of a file that somebody else may have put there: only a regular file, and
/// nothing that a link leads to, is read. None: there is none, or it is no such file.
fn end_of(path: &Path, max: u64) -> Option<String> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let mut file: File =
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.seek(SeekFrom::Start(meta.len().saturating_sub(max))).ok()?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The ends of the newest files in a directory that somebody else may have filled, the newest last.
pub(crate) fn newest_in(dir: &Path, files: usize, max: u64) -> String {
    let Ok(entries) = std::fs::read_dir(dir) else { return String::new() };
    let mut all: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    let newest = all.iter().rev().take(files).rev();
    let texts = newest.filter_map(|(_, path)| Some((path.file_name()?, end_of(path, max)?)));
    texts.map(|(name, text)| format!("== {}\n{text}\n", name.to_string_lossy())).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_the_end_of_a_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) =
            (dir.path().join("file"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&file, "0123456789").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(end_of(&file, 4).as_deref(), Some("6789"));
        assert_eq!(end_of(&file, 40).as_deref(), Some("0123456789"));
        for other in [&link, &pipe, dir.path(), &dir.path().join("none")] as [&Path; 4] {
            assert_eq!(end_of(other, 4), None, "{}", other.display());
        }
        assert_eq!(newest_in(dir.path(), 5, 4), "== file\n6789\n");
        assert_eq!(newest_in(&dir.path().join("none"), 5, 4), "");
    }
}
