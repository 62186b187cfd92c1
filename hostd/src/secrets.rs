//! Credentials that the coordinator delivered. Sealed on disk, so that a host that restarts alone
//! can still register and remove its agents; in memory wiped when dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet_model::{CredentialName, CredentialRef};
use fleet_proto::{
    files::{self, FileError},
    logging::Report,
    seal::{SealError, SealKey, fingerprint},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

const SUFFIX: &str = ".sealed";

/// All credentials of this host.
pub struct Secrets {
    dir: PathBuf,
    key: Arc<SealKey>,
    held: Mutex<BTreeMap<CredentialName, Held>>,
    deliveries: AtomicU64,
}

struct Held {
    fingerprint: String,
    secret: SecretString,
    since: Instant,
    /// Also on disk.
    stored: bool,
}

/// A credential that is not taken or not kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Damaged on its way, or not the one that was announced.
    #[error("credential {0} does not have the announced fingerprint")]
    Fingerprint(CredentialName),
    /// No token looks like that.
    #[error("credential {0} is not text")]
    NotText(CredentialName),
    /// The disk. The credential is used all the same, until hostd ends.
    #[error("credential {name} cannot be stored")]
    File {
        /// Which.
        name: CredentialName,
        /// The cause.
        source: FileError,
    },
    /// The cipher. As above.
    #[error("credential {name} cannot be sealed")]
    Seal {
        /// Which.
        name: CredentialName,
        /// The cause.
        source: SealError,
    },
}

impl Secrets {
    /// Reads what was kept. A file that cannot be read is left out and told in the log: the
    /// coordinator delivers it again.
    pub fn load(data: &Path, key: Arc<SealKey>) -> Self {
        let secrets = Self {
            dir: data.join("credentials"),
            key,
            held: Mutex::default(),
            deliveries: AtomicU64::new(0),
        };
        for name in names(&secrets.dir) {
            match secrets.read(&name) {
                Ok(held) => {
                    secrets.held().insert(name, held);
                }
                Err(error) => tracing::error!(
                    credential = %name, error = %Report(&error),
                    "a stored credential cannot be read; the coordinator will deliver it again"
                ),
            }
        }
        secrets
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<CredentialName, Held>> {
        // The map is whole at every moment, whoever panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &CredentialName) -> PathBuf {
        self.dir.join(format!("{name}{SUFFIX}"))
    }

    fn read(&self, name: &CredentialName) -> Result<Held, SecretError> {
        let sealed = files::read_private(&self.path(name))
            .map_err(|source| SecretError::File { name: name.clone(), source })?;
        let plain = self.key.open(&context(name), &sealed).map_err(sealing(name))?;
        let secret = text(name, &plain)?;
        let fingerprint = fingerprint(&plain);
        Ok(Held { fingerprint, secret, since: Instant::now(), stored: true })
    }

    /// Takes a delivered credential. It is held from then on, even when it cannot be stored.
    ///
    /// # Errors
    /// When it is not the announced one (then it is not taken), or cannot be stored.
    pub fn put(&self, announced: &CredentialRef, secret: &[u8]) -> Result<(), SecretError> {
        let name = &announced.name;
        if fingerprint(secret) != announced.fingerprint {
            return Err(SecretError::Fingerprint(name.clone()));
        }
        let held = Held {
            fingerprint: announced.fingerprint.clone(),
            secret: text(name, secret)?,
            since: Instant::now(),
            stored: false,
        };
        self.held().insert(name.clone(), held);
        self.deliveries.fetch_add(1, Ordering::Release);
        self.store(name, secret)
    }

    fn store(&self, name: &CredentialName, secret: &[u8]) -> Result<(), SecretError> {
        let sealed = self.key.seal(&context(name), secret).map_err(sealing(name))?;
        files::write_private(&self.path(name), &sealed)
            .map_err(|source| SecretError::File { name: name.clone(), source })?;
        if let Some(held) = self.held().get_mut(name) {
            held.stored = true;
        }
        Ok(())
    }

    /// The secret of that name, with its fingerprint.
    pub fn get(&self, name: &CredentialName) -> Option<(SecretString, String)> {
        self.held().get(name).map(|held| (held.secret.clone(), held.fingerprint.clone()))
    }

    /// All secrets, for whoever has to keep them out of something.
    pub fn all(&self) -> Vec<SecretString> {
        self.held().values().map(|held| held.secret.clone()).collect()
    }

    /// Rises with each delivery: [`Secrets::all`] may have changed.
    pub fn delivery(&self) -> u64 {
        self.deliveries.load(Ordering::Acquire)
    }

    /// What is held, by name.
    pub fn refs(&self) -> Vec<CredentialRef> {
        let held = self.held();
        let each = held.iter();
        each.map(|(name, held)| CredentialRef {
            name: name.clone(),
            fingerprint: held.fingerprint.clone(),
        })
        .collect()
    }

    /// Stores what could not be stored before, and drops what no pool needs any more. `young`: a
    /// credential comes before the assignment that names it, so one held for less is kept.
    pub fn tidy(&self, needed: &BTreeSet<CredentialName>, young: Duration) {
        let (mut unstored, mut unneeded) = (Vec::new(), Vec::new());
        for (name, held) in self.held().iter() {
            if !needed.contains(name) && held.since.elapsed() >= young {
                unneeded.push(name.clone());
            } else if !held.stored {
                unstored.push((name.clone(), held.secret.clone()));
            }
        }
        for (name, secret) in unstored {
            if let Err(error) = self.store(&name, secret.expose_secret().as_bytes()) {
                tracing::error!(credential = %name, error = %Report(&error), "still not stored");
            }
        }
        for name in unneeded {
            self.held().remove(&name);
            match fs::remove_file(self.path(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(credential = %name, %error, "an unneeded credential stays on disk");
                }
                _ => tracing::info!(credential = %name, "dropped: no pool of this host needs it"),
            }
        }
    }
}

fn names(dir: &Path) -> Vec<CredentialName> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(SUFFIX)?.parse().ok()
    };
    entries.filter_map(name).collect()
}

fn text(name: &CredentialName, secret: &[u8]) -> Result<SecretString, SecretError> {
    let text = std::str::from_utf8(secret).map_err(|_| SecretError::NotText(name.clone()))?;
    Ok(text.to_owned().into())
}

fn sealing(name: &CredentialName) -> impl Fn(SealError) -> SecretError + '_ {
    move |source| SecretError::Seal { name: name.clone(), source }
}

fn context(name: &CredentialName) -> String {
    format!("credential {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(dir: &Path) -> Arc<SealKey> {
        Arc::new(SealKey::load_or_create(&dir.join("seal.key")).expect("a key"))
    }

    fn named(name: &str, secret: &str) -> CredentialRef {
        let name = name.parse().expect("a name");
        CredentialRef { name, fingerprint: fingerprint(secret.as_bytes()) }
    }

    #[test]
    fn a_credential_survives_a_restart_and_lies_sealed() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::load(dir.path(), key(dir.path()));
        let pat = named("pat", "token-1");
        secrets.put(&pat, b"token-1").expect("taken");
        let raw = fs::read(secrets.path(&pat.name)).expect("stored");
        assert!(!raw.windows(5).any(|part| part == b"token"));
        let again = Secrets::load(dir.path(), key(dir.path()));
        assert_eq!(again.refs(), std::slice::from_ref(&pat));
        let (secret, print) = again.get(&pat.name).expect("held");
        assert_eq!((secret.expose_secret(), print), ("token-1", pat.fingerprint));
    }

    #[test]
    fn one_that_is_not_the_announced_one_is_refused_and_the_old_one_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::load(dir.path(), key(dir.path()));
        let pat = named("pat", "token-1");
        secrets.put(&pat, b"token-1").expect("taken");
        let error = secrets.put(&pat, b"token-2").expect_err("another one");
        assert!(matches!(error, SecretError::Fingerprint(_)));
        assert_eq!(secrets.refs(), [pat]);
    }

    #[test]
    fn without_a_disk_it_is_held_and_stored_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::load(dir.path(), key(dir.path()));
        fs::write(dir.path().join("credentials"), "in the way").expect("written");
        let pat = named("pat", "token-1");
        secrets.put(&pat, b"token-1").expect_err("no directory");
        assert!(secrets.get(&pat.name).is_some());
        fs::remove_file(dir.path().join("credentials")).expect("out of the way");
        secrets.tidy(&BTreeSet::from([pat.name.clone()]), Duration::ZERO);
        assert_eq!(Secrets::load(dir.path(), key(dir.path())).refs(), [pat]);
    }

    #[test]
    fn what_no_pool_needs_is_dropped_once_it_is_old_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::load(dir.path(), key(dir.path()));
        let pat = named("pat", "token-1");
        secrets.put(&pat, b"token-1").expect("taken");
        secrets.tidy(&BTreeSet::new(), Duration::from_secs(60));
        assert_eq!(secrets.refs(), [pat]);
        secrets.tidy(&BTreeSet::new(), Duration::ZERO);
        assert!(secrets.refs().is_empty());
        assert!(Secrets::load(dir.path(), key(dir.path())).refs().is_empty());
    }
}
