//! After a run, and before one: nothing of the last job is left. Done as root, because a job may
//! leave files that its own user cannot remove.
//!
//! What makes removing hard, and what is done about it: files of root (we are root), links out of
//! the folder (never followed), immutable and append-only files (their marks are taken off), file
//! systems mounted inside (unmounted first), a full disk (nothing here needs room).

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStringExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{IFlags, OFlags, ioctl_getflags, ioctl_setflags},
    io::Errno,
    mount::{UnmountFlags, unmount},
};

/// Where every user may leave something.
const COMMON: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// What was put aside to be deleted at leisure.
const ASIDE: &str = ".fleet-old-";
/// Somebody may still be writing while we delete; after this many rounds it is said.
const ROUNDS: u32 = 4;

/// Is `root` a directory of the user `uid`, and no link to somebody else's? A job may have put one
/// there: the home around it is its user's.
pub(crate) fn is_own_root(root: &Path, uid: u32) -> bool {
    fs::symlink_metadata(root).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

/// Empties the work folder `root/_work` for the user `uid`: it is put aside and made anew, so that
/// the next listener need not wait until a large one is deleted. What was put aside is returned.
/// No process of that user may live.
///
/// # Errors
/// A root that is not the user's own, a folder that cannot be put aside or made.
pub(crate) fn renew_work_folder(root: &Path, uid: u32) -> io::Result<Vec<PathBuf>> {
    if !is_own_root(root, uid) {
        let why = format!("{} is not the agent's own directory any more", root.display());
        return Err(io::Error::other(why));
    }
    let work = root.join("_work");
    unmount_beneath(&work)?;
    if fs::symlink_metadata(&work).is_ok() {
        let aside = aside_of(root);
        unmark(&work)?;
        fs::rename(&work, &aside)?;
        // Nobody but root looks into it from here on, so nobody changes it while it is deleted.
        if fs::symlink_metadata(&aside)?.is_dir() {
            std::os::unix::fs::chown(&aside, Some(0), Some(0))?;
            fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
    }
    if fs::create_dir(&work).is_err() {
        // A full disk, perhaps full of what was just put aside: then that goes first.
        all_aside(root)?.iter().try_for_each(|old| remove(old))?;
        fs::create_dir(&work)?;
    }
    std::os::unix::fs::chown(&work, Some(uid), Some(uid))?;
    all_aside(root)
}

fn aside_of(root: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    root.join(format!("{ASIDE}{}", now.as_nanos()))
}

/// Everything that was put aside here, also by a life before this one that did not come to an end.
fn all_aside(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// Removes what the user left where everybody may write.
///
/// # Errors
/// The last thing that could not be removed; the others are gone.
pub(crate) fn clean_common(uid: u32) -> io::Result<()> {
    let mut last = Ok(());
    for place in COMMON {
        let Ok(entries) = fs::read_dir(place) else { continue };
        for entry in entries.flatten() {
            let theirs = entry.metadata().is_ok_and(|meta| meta.uid() == uid);
            if theirs && let Err(error) = remove(&entry.path()) {
                last = Err(error);
            }
        }
    }
    last
}

/// Removes a file, a link or a whole tree, whatever marks its files have. Links are not followed.
///
/// # Errors
/// What cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    unmount_beneath(path)?;
    let mut last = Ok(());
    for _ in 0..ROUNDS {
        last = try_remove(path);
        match &last {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unmark_all(path),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => unmount_beneath(path)?,
            // Something was put in while we were at it.
            Err(_) => {}
        }
    }
    last
}

fn try_remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Takes the marks off everything in a tree that stand in the way of its removal. Best effort: what
/// matters is whether the removal succeeds afterwards.
fn unmark_all(path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if meta.is_dir() || meta.is_file() {
        let _ = unmark(path);
    }
    if let Some(parent) = path.parent().filter(|_| !meta.is_dir()) {
        let _ = unmark(parent);
    }
    if meta.is_dir()
        && let Ok(entries) = fs::read_dir(path)
    {
        entries.flatten().for_each(|entry| unmark_all(&entry.path()));
    }
}

/// Takes the marks off one file or directory.
fn unmark(path: &Path) -> io::Result<()> {
    let marks = IFlags::IMMUTABLE | IFlags::APPEND;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let options = |path: &Path| -> io::Result<File> {
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    };
    let file = match options(path) {
        Ok(file) => file,
        // A link has no marks.
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Ok(()),
        Err(error) => return Err(error),
    };
    match ioctl_getflags(&file) {
        Ok(now) if now.intersects(marks) => Ok(ioctl_setflags(&file, now - marks)?),
        Ok(_) => Ok(()),
        // A file system that knows no marks has none.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unmounts every file system beneath `path`, the innermost first.
fn unmount_beneath(path: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    for place in mounts_beneath(&table, path).into_iter().rev() {
        unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Ok(())
}

/// Mount points at or beneath `path`, in the order in which they were mounted.
fn mounts_beneath(table: &str, path: &Path) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescaped)
        .filter(|place| place.starts_with(path))
        .collect()
}

/// Blanks and the like stand as `\040` in the table.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = outside.path().join("kept");
        fs::write(&kept, "").unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(outside.path(), tree.join("a/out")).unwrap();
        symlink(&kept, tree.join("a/b/file")).unwrap();
        symlink("/nowhere/at/all", tree.join("a/dangling")).unwrap();
        remove(&tree).unwrap();
        assert!(kept.exists() && !tree.exists());
        remove(&tree).expect("gone is removed");
    }

    #[test]
    fn a_work_folder_is_renewed_in_the_agents_own_root_only() {
        let place = tempfile::tempdir().unwrap();
        let uid = fs::metadata(place.path()).unwrap().uid();
        let (root, other) = (place.path().join("root"), place.path().join("other"));
        for dir in [&root, &other] {
            fs::create_dir_all(dir.join("_work/1")).unwrap();
        }
        let aside = renew_work_folder(&root, uid).unwrap();
        assert_eq!(fs::read_dir(root.join("_work")).unwrap().count(), 0);
        assert!(aside[0].join("1").exists() && aside.len() == 1);
        // A link to the neighbour's, as a job could leave it.
        fs::rename(&root, place.path().join("away")).unwrap();
        symlink(&other, &root).unwrap();
        renew_work_folder(&root, uid).unwrap_err();
        assert!(other.join("_work/1").exists(), "the neighbour's is left alone");
        renew_work_folder(&other, uid + 1).unwrap_err();
    }

    #[test]
    fn what_may_not_be_written_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        fs::write(tree.join("a/file"), "").unwrap();
        for (name, mode) in [("a/file", 0o400), ("a", 0o700)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(tree.join(name), mode).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn the_table_of_mounts_is_read_whatever_the_names() {
        let table = "1 0 0:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:2 / /w/x rw - tmpfs t rw\n\
            3 2 0:3 / /w/x/deep\\040one rw - tmpfs t rw\n\
            4 1 0:4 / /wide rw - tmpfs t rw\n";
        let places = mounts_beneath(table, Path::new("/w"));
        assert_eq!(places, [Path::new("/w/x"), Path::new("/w/x/deep one")]);
        assert_eq!(unescaped("a\\134b\\"), Path::new("a\\b\\"));
    }
}
