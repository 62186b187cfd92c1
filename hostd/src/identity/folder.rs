//! The directory of an identity: written beside, then exchanged.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use fleet_proto::files::{self, FileError};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use secrecy::ExposeSecret;

use super::{Identity, IdentityError};

const DIR: &str = "identity";
/// What is being written; after an exchange, what was there before.
const BESIDE: &str = "identity.new";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const CA: &str = "ca.pem";
const PLACE: &str = "endpoint.toml";

/// Where the identity of a state directory is.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join(DIR)
}

pub(super) fn read(data: &Path) -> Result<Identity, IdentityError> {
    let dir = path(data);
    if !dir.join(KEY).exists() {
        return Err(IdentityError::Absent { path: dir });
    }
    let place_path = dir.join(PLACE);
    let place = toml::from_str(&text(&place_path)?)
        .map_err(|source| IdentityError::Place { path: place_path, source })?;
    let key = files::read_private(&dir.join(KEY))?;
    Ok(Identity {
        place,
        certificate_pem: text(&dir.join(CERTIFICATE))?,
        // Not text: then it is no PEM either, which is said when it is used.
        key_pem: String::from_utf8_lossy(&key).into_owned().into(),
        ca_pem: text(&dir.join(CA))?,
    })
}

/// Writes all of it beside, and exchanges it with what is there. On failure nothing is left.
pub(super) fn write(data: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let beside = data.join(BESIDE);
    clear(&beside)?;
    let written = fill(&beside, identity).and_then(|()| Ok(exchange(&beside, &path(data))?));
    // After an exchange the old ones are here, else what was half written.
    clear(&beside)?;
    written
}

fn fill(dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let place = toml::to_string(&identity.place)?;
    files::write_private(&dir.join(KEY), identity.key_pem.expose_secret().as_bytes())?;
    files::write_public(&dir.join(CERTIFICATE), identity.certificate_pem.as_bytes())?;
    files::write_public(&dir.join(CA), identity.ca_pem.as_bytes())?;
    Ok(files::write_public(&dir.join(PLACE), place.as_bytes())?)
}

fn exchange(beside: &Path, place: &Path) -> Result<(), FileError> {
    let fail = |source| FileError::Io { doing: "put in place", path: place.to_owned(), source };
    match fs::rename(beside, place) {
        // Something is there: the two change places in one step.
        Err(error) if is_occupied(&error) => {
            renameat2(AT_FDCWD, beside, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE)
                .map_err(|errno| fail(errno.into()))?;
        }
        other => other.map_err(fail)?,
    }
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(fail)
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

fn clear(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io { doing: "remove", path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}
