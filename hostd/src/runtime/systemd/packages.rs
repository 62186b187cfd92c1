//! Agent packages of this host: each version unpacked once, beside the homes of the agents, so that
//! an agent's programs can be hard links to it.
//!
//! ```text
//!   <homes>/.fleet-packages/      0711, root
//!     <sha256>/                   bin/ externals/ config.sh …, root's and read-only
//!     <sha256>.tar.gz  <sha256>.new/     under way
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use flate2::read::GzDecoder;
use fleet_model::Package;
use fleet_proto::logging::Report;
use tokio::sync::Mutex;

use crate::{disk::blocking, execute::ProxyForAzure, runtime::package};

/// No byte for this long: the server, or the way to it, is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// An agent that is made of a package is linked to it, or was given up, by then.
const LINKED_BY: Duration = Duration::from_secs(60 * 60);

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackageError {
    #[error("the agent package {package} cannot be fetched: {why}")]
    Fetch { package: String, why: String },
    #[error(
        "the agent package {package} has the SHA-256 {found}, not {wanted}: it is not the one \
         that was meant; check both"
    )]
    Hash { package: String, found: String, wanted: String },
    #[error("the agent package {package} cannot be unpacked: {why}")]
    Unpack { package: String, why: String },
}

pub(super) struct Packages {
    store: PathBuf,
    proxy: ProxyForAzure,
    /// One fetch at a time: fifty agents want the same one.
    pub(super) turn: Mutex<()>,
    /// When each was last asked for: an agent may be about to be linked to it.
    asked: std::sync::Mutex<BTreeMap<String, Instant>>,
}

impl Packages {
    pub(super) fn new(homes: &Path, proxy: ProxyForAzure) -> Self {
        Self {
            store: homes.join(".fleet-packages"),
            proxy,
            turn: Mutex::default(),
            asked: Default::default(),
        }
    }

    /// Where they are.
    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        // A map of times is whole at every moment, whoever panicked.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent was to be made of it a while ago, and may not have been linked to it yet.
    pub(super) fn asked_lately(&self, sha256: &str) -> bool {
        self.asked().get(sha256).is_some_and(|at| at.elapsed() < LINKED_BY)
    }

    /// The unpacked package, fetched when it is not here yet.
    pub(super) async fn ensure(&self, wanted: &Package) -> Result<PathBuf, PackageError> {
        let digest = wanted.sha256.to_ascii_lowercase();
        let place = self.store.join(&digest);
        let _turn = self.turn.lock().await;
        self.asked().insert(digest.clone(), Instant::now());
        if package::is_package(&place) {
            return Ok(place);
        }
        let name = || wanted.source.clone();
        let fetch =
            |error: io::Error| PackageError::Fetch { package: name(), why: error.to_string() };
        crate::agent_run::record::passage(&self.store).map_err(fetch)?;
        let tarball = self.store.join(format!("{digest}.tar.gz"));
        let found = match wanted.source.starts_with('/') {
            true => copy(PathBuf::from(&wanted.source), tarball.clone()).await.map_err(fetch)?,
            false => self.download(&wanted.source, &tarball).await.map_err(fetch)?,
        };
        let unpacked = if found == digest {
            let (from, to) = (tarball.clone(), place.clone());
            blocking(move || unpack(&from, &to))
                .await
                .map_err(|error| PackageError::Unpack { package: name(), why: error.to_string() })
        } else {
            Err(PackageError::Hash { package: name(), found, wanted: digest })
        };
        let _ = fs::remove_file(&tarball);
        unpacked.map(|()| place)
    }

    async fn download(&self, url: &str, to: &Path) -> io::Result<String> {
        let mut client = reqwest::Client::builder().connect_timeout(SILENCE).read_timeout(SILENCE);
        if let Some(proxy) = &self.proxy.0 {
            let except = proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            let all = reqwest::Proxy::all(&proxy.url).map_err(told)?;
            client = client.proxy(all.no_proxy(except));
        }
        let answer = client.build().map_err(told)?.get(url).send().await;
        let mut answer = answer.and_then(reqwest::Response::error_for_status).map_err(told)?;
        let mut file = File::create(to)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            hash.update(&chunk);
            file.write_all(&chunk)?;
        }
        Ok(hex(hash.finish().as_ref()))
    }
}

/// With its causes, and without the URL, which may hold a password.
fn told(error: reqwest::Error) -> io::Error {
    io::Error::other(Report(&error.without_url()).to_string())
}

async fn copy(from: PathBuf, to: PathBuf) -> io::Result<String> {
    blocking(move || {
        let (mut from, mut to) = (File::open(from)?, File::create(to)?);
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut bytes)?;
            if count == 0 {
                return Ok(hex(hash.finish().as_ref()));
            }
            hash.update(&bytes[..count]);
            to.write_all(&bytes[..count])?;
        }
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whole or not at all: it counts under its name only.
fn unpack(tarball: &Path, place: &Path) -> io::Result<()> {
    let half = place.with_extension("new");
    for old in [&half, &place.to_owned()] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(tarball)?));
    archive.set_preserve_permissions(true);
    archive.unpack(&half)?;
    if !package::is_package(&half) {
        fs::remove_dir_all(&half)?;
        return Err(io::Error::other("it holds no bin/Agent.Listener and config.sh"));
    }
    make_read_only(&half)?;
    fs::rename(half, place)
}

/// Every agent shares these files, so none may change them.
fn make_read_only(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return Ok(());
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            make_read_only(&entry?.path())?;
        }
        return fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    }
    let runs = meta.permissions().mode() & 0o111 != 0;
    fs::set_permissions(path, fs::Permissions::from_mode(if runs { 0o555 } else { 0o444 }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tarball(dir: &Path, files: &[(&str, u32)]) -> Package {
        let path = dir.join("package.tar.gz");
        let gzip = flate2::write::GzEncoder::new(File::create(&path).unwrap(), Default::default());
        let mut archive = tar::Builder::new(gzip);
        for (name, mode) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(*mode);
            archive.append_data(&mut header, name, b"text".as_slice()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        let hash = digest::digest(&digest::SHA256, &fs::read(&path).unwrap());
        Package { source: path.display().to_string(), sha256: hex(hash.as_ref()) }
    }

    const GOOD: [(&str, u32); 3] =
        [("bin/Agent.Listener", 0o775), ("config.sh", 0o777), ("externals/a", 0o666)];

    fn packages(dir: &Path) -> Packages {
        Packages::new(&dir.join("homes"), ProxyForAzure(None))
    }

    #[tokio::test]
    async fn a_package_is_unpacked_once_and_nobody_may_change_it() {
        let dir = tempfile::tempdir().unwrap();
        let (packages, wanted) = (packages(dir.path()), tarball(dir.path(), &GOOD));
        let place = packages.ensure(&wanted).await.unwrap();
        let mode =
            |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(GOOD.map(|(name, _)| mode(name)), [0o555, 0o555, 0o444]);
        fs::remove_file(&wanted.source).unwrap();
        let upper = Package { sha256: wanted.sha256.to_ascii_uppercase(), ..wanted };
        assert_eq!(packages.ensure(&upper).await.unwrap(), place, "it is here already");
        let left: Vec<_> = fs::read_dir(place.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[tokio::test]
    async fn another_package_than_the_one_meant_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = tarball(dir.path(), &GOOD);
        let wrong = Package { sha256: "0".repeat(64), ..wanted.clone() };
        let error = packages(dir.path()).ensure(&wrong).await.unwrap_err().to_string();
        assert!(error.contains(&wanted.sha256) && error.contains("not the one"), "{error}");
        let store = dir.path().join("homes/.fleet-packages");
        assert_eq!(fs::read_dir(store).unwrap().count(), 0, "nothing of it stays");
    }

    #[tokio::test]
    async fn what_is_no_package_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = tarball(dir.path(), &GOOD[1..]);
        let error = packages(dir.path()).ensure(&wanted).await.unwrap_err().to_string();
        assert!(error.contains("Agent.Listener"), "{error}");
        let nowhere = Package { source: "/nowhere/x.tar.gz".into(), ..wanted };
        let error = packages(dir.path()).ensure(&nowhere).await.unwrap_err().to_string();
        assert!(error.contains("cannot be fetched"), "{error}");
    }
}
