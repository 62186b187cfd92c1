//! An agent's own directory, made of a package that all agents of the host share.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

/// The package's program; where it is, is the package.
const LISTENER: &str = "bin/Agent.Listener";
/// Directories whose files are only ever read, or replaced as a whole.
const SHARED: [&str; 2] = ["bin", "externals"];

/// Is there an agent package?
pub(super) fn is_package(dir: &Path) -> bool {
    dir.join(LISTENER).exists() && dir.join("config.sh").exists()
}

/// Makes `root` a copy of `package`. No link to a directory: the listener takes the real path of
/// its program for its root, and two agents must not share one. Programs are hard links, because
/// they are large; the few files beside them are copied, because an update writes into them.
///
/// # Errors
/// Files that cannot be read or written.
pub(super) fn unfold(package: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    for entry in fs::read_dir(package)? {
        let name = entry?.file_name();
        let shared = SHARED.iter().any(|dir| name == *dir);
        // Somebody may have tried the package where it lies: that is not ours.
        let is_own = name.to_string_lossy().starts_with('.') || name == "_work" || name == "_diag";
        if !is_own {
            copy(&package.join(&name), &root.join(&name), shared)?;
        }
    }
    Ok(())
}

/// Gives a root, with what was copied into it, to its user: an update writes there. What is linked
/// stays root's.
///
/// # Errors
/// Owners or modes that cannot be changed.
pub(super) fn give(root: &Path, uid: u32) -> io::Result<()> {
    lchown(root, Some(uid), Some(uid))?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !SHARED.iter().any(|dir| entry.file_name() == *dir) {
            give_tree(&entry.path(), uid)?;
        }
    }
    Ok(())
}

fn give_tree(path: &Path, uid: u32) -> io::Result<()> {
    lchown(path, Some(uid), Some(uid))?;
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions();
    mode.set_mode(mode.mode() | 0o200);
    fs::set_permissions(path, mode)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give_tree(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, shared: bool) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        fs::create_dir_all(to)?;
        // Whatever hostd's umask says: the agent's user must be able to enter.
        fs::set_permissions(to, fs::metadata(from)?.permissions())?;
        for entry in fs::read_dir(from)? {
            let name: PathBuf = entry?.file_name().into();
            copy(&from.join(&name), &to.join(&name), shared)?;
        }
        return Ok(());
    }
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    // Another file system has no hard links with this one.
    if !shared || fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn package() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("bin/libs")).unwrap();
        fs::write(at(LISTENER), "program").unwrap();
        fs::set_permissions(at("bin/libs"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::write(at("bin/libs/a"), "a").unwrap();
        symlink("a", at("bin/libs/b")).unwrap();
        fs::write(at("config.sh"), "script").unwrap();
        fs::write(at(".agent"), "somebody's").unwrap();
        dir
    }

    #[test]
    fn programs_are_linked_scripts_are_copied_and_no_registration_comes_along() {
        let (package, place) = (package(), tempfile::tempdir().unwrap());
        let root = place.path().join("slot/root");
        assert!(is_package(package.path()));
        unfold(package.path(), &root).unwrap();
        assert!(is_package(&root));
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&root.join(LISTENER)), inode(&package.path().join(LISTENER)));
        assert_ne!(inode(&root.join("config.sh")), inode(&package.path().join("config.sh")));
        assert_eq!(fs::read_link(root.join("bin/libs/b")).unwrap(), Path::new("a"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&root.join("bin/libs")), mode(&package.path().join("bin/libs")));
        assert!(!root.join("bin").is_symlink());
        assert!(!root.join(".agent").exists());
    }
}
