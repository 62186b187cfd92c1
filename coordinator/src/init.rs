//! `coordinator init`: a new fleet. Everything is made beside its place first and put there last, the
//! store at the very end; a failure leaves the directory as it was.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use fleet_model::{At, Order};
use fleet_proto::{
    files::{self, FileError},
    pki::{Ca, Life, PkiError},
    seal::{SealError, SealKey},
    tls::Identity,
};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    book::Changes,
    clock::Clock,
    data_dir::{CA_CERTIFICATE, CA_KEY, DataDir, DataError, SEAL_KEY, STORE},
    places::endpoint,
    records::{META, META_ID, Meta},
    store::{NewEvent, SqliteStore, Store as _, StoreError},
};

/// Life of an operator's certificate. Made anew with `coordinator operator`.
const OPERATOR_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The port that is assumed when none is given.
const PORT: u16 = 7443;

/// What to make.
#[derive(Debug, Clone)]
pub struct NewFleet {
    /// Directory of the coordinator.
    pub data: PathBuf,
    /// The fleet's name.
    pub name: String,
    /// Names and addresses that hosts and operators dial; the first is what they check.
    pub sans: Vec<String>,
    /// HOST:PORT for the operator's credential; by default the first name and 7443.
    pub endpoint: Option<String>,
    /// The first operator.
    pub operator: String,
    /// Where the operator's credential goes.
    pub operator_out: PathBuf,
}

/// Why no fleet was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error(
        "{} already holds {found}; a fleet is never overwritten. Use another directory, or move the old one away if it is really not needed",
        path.display()
    )]
    Exists {
        /// The directory.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// The credential file is there already.
    #[error("{} exists already; name another file for the operator's credential", .0.display())]
    CredentialExists(PathBuf),
    /// No name to dial.
    #[error("give at least one name or address that hosts and operators dial: --san NAME")]
    NoName,
    /// A name is not one.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The seal key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The credential cannot be written down.
    #[error("cannot write the credential")]
    Format(#[from] toml::ser::Error),
}

/// The file that agentctl reads.
#[derive(Serialize)]
struct Credential<'a> {
    endpoint: &'a str,
    server_name: &'a str,
    fleet: &'a str,
    operator: &'a str,
    ca: &'a str,
    certificate: &'a str,
    key: &'a str,
}

/// Makes a fleet; returns the CA's pin.
///
/// # Errors
/// When there is one already, a name is not one, or the disk refuses. Nothing is left behind.
pub async fn init(new: &NewFleet) -> Result<String, InitError> {
    let server_name = new.sans.first().ok_or(InitError::NoName)?;
    let ca = Ca::create(&new.name)?;
    // Not kept: made at each start. Made here to find a wrong name before anything is written.
    ca.server_certificate(&new.sans, Life::of(Duration::from_secs(60)))?;
    let operator = ca.operator(&new.operator, Life::of(OPERATOR_LIFE))?;
    let dialled = new.endpoint.clone().unwrap_or_else(|| endpoint(server_name, PORT));
    let credential = credential(&ca, &operator, &new.operator, &dialled, server_name)?;

    make_private(&new.data)?;
    let _lock = DataDir::lock(&new.data)?;
    refuse_existing(&new.data)?;
    if new.operator_out.exists() {
        return Err(InitError::CredentialExists(new.operator_out.clone()));
    }
    let staging = new.data.join(".init");
    // Left by a start that was cut off: nothing in it was ever used.
    let _ = fs::remove_dir_all(&staging);
    make_private(&staging)?;
    let made = stage(&staging, &ca, new).await;
    let put = match made {
        Ok(()) => put_in_place(&staging, new, credential.as_bytes()),
        Err(error) => Err(error),
    };
    let _ = fs::remove_dir_all(&staging);
    put?;
    Ok(ca.fingerprint()?)
}

/// `coordinator operator`: another credential for an existing fleet.
///
/// # Errors
/// When the directory holds no fleet, or the file exists.
pub async fn operator(
    data: &Path,
    name: &str,
    out: &Path,
    dialled: Option<&str>,
) -> Result<(), InitError> {
    // Not locked: the CA's files never change, and the coordinator may go on running.
    let (ca, names) = read_fleet(data).await?;
    let server_name = names.first().ok_or(InitError::NoName)?;
    let identity = ca.operator(name, Life::of(OPERATOR_LIFE))?;
    let dialled = dialled.map_or_else(|| endpoint(server_name, PORT), str::to_owned);
    let text = credential(&ca, &identity, name, &dialled, server_name)?;
    write_credential(out, text.as_bytes())
}

async fn read_fleet(data: &Path) -> Result<(Ca, Vec<String>), InitError> {
    let store = SqliteStore::open(&data.join(STORE))?;
    let (book, _) = crate::book::Book::load(store.load_all().await?)?;
    Ok((DataDir::peek(data).ca()?, book.meta.names))
}

fn credential(
    ca: &Ca,
    identity: &Identity,
    operator: &str,
    endpoint: &str,
    server_name: &str,
) -> Result<Zeroizing<String>, InitError> {
    Ok(Zeroizing::new(toml::to_string(&Credential {
        endpoint,
        server_name,
        fleet: ca.fleet(),
        operator,
        ca: ca.certificate_pem(),
        certificate: identity.chain_pem(),
        key: identity.key_pem().expose_secret(),
    })?))
}

fn make_private(path: &Path) -> Result<(), InitError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| InitError::Io { doing: "create", path: path.to_owned(), source })
}

fn refuse_existing(data: &Path) -> Result<(), InitError> {
    let words = [
        (STORE, "a fleet"),
        (CA_KEY, "the key of a CA"),
        (CA_CERTIFICATE, "the certificate of a CA"),
        (SEAL_KEY, "a seal key"),
    ];
    match words.into_iter().find(|(file, _)| data.join(file).exists()) {
        Some((_, found)) => Err(InitError::Exists { path: data.to_owned(), found }),
        None => Ok(()),
    }
}

async fn stage(dir: &Path, ca: &Ca, new: &NewFleet) -> Result<(), InitError> {
    files::write_public(&dir.join(CA_CERTIFICATE), ca.certificate_pem().as_bytes())?;
    files::write_private(&dir.join(CA_KEY), ca.key_pem().expose_secret().as_bytes())?;
    SealKey::load_or_create(&dir.join(SEAL_KEY))?;
    let store = SqliteStore::create(&dir.join(STORE))?;
    let meta = Meta {
        fleet: new.name.clone(),
        names: new.sans.clone(),
        order: Order::new(1, 0),
        ahead: None,
        adopt: false,
    };
    let now: At = Clock::start().now();
    let mut changes = Changes::default();
    changes.put(META, META_ID, &meta);
    changes.event(
        NewEvent::new(now, "fleet.created", new.operator.clone())
            .says(format!("fleet {} with operator {}", new.name, new.operator)),
    );
    store.commit(changes.into_first_batch()).await?;
    // Folded back into the one file: only that one is moved.
    store.close().await?;
    Ok(())
}

/// The store comes last: with it the fleet exists.
fn put_in_place(staging: &Path, new: &NewFleet, credential: &[u8]) -> Result<(), InitError> {
    let mut placed: Vec<PathBuf> = Vec::new();
    let mut place = || -> Result<(), InitError> {
        write_credential(&new.operator_out, credential)?;
        placed.push(new.operator_out.clone());
        for file in [CA_CERTIFICATE, CA_KEY, SEAL_KEY, STORE] {
            let to = new.data.join(file);
            fs::rename(staging.join(file), &to).map_err(|source| InitError::Io {
                doing: "write",
                path: to.clone(),
                source,
            })?;
            placed.push(to);
        }
        let synced = fs::File::open(&new.data).and_then(|dir| dir.sync_all());
        synced.map_err(|source| InitError::Io { doing: "sync", path: new.data.clone(), source })
    };
    let done = place();
    if done.is_err() {
        for path in placed {
            let _ = fs::remove_file(path);
        }
    }
    done
}

fn write_credential(path: &Path, text: &[u8]) -> Result<(), InitError> {
    match files::create_private(path, text)? {
        true => Ok(()),
        false => Err(InitError::CredentialExists(path.to_owned())),
    }
}
