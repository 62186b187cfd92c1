//! Who this host is in its fleet: key, certificate, the fleet's CA, and where the coordinator is.
//!
//! ```text
//!   <data>/identity/     0700, replaced as a whole
//!     key.pem            0600
//!     cert.pem  ca.pem
//!     endpoint.toml      host, fleet, where to call
//! ```
//! A new certificate comes with a new key, so the four files are one thing: they are written beside
//! and exchanged with the old ones in one step.

mod folder;
pub mod join;
pub mod renew;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use fleet_model::HostName;
use fleet_proto::{
    files::FileError,
    pki::{self, PkiError},
    tls::{self, TlsError},
};
use rustls::ClientConfig;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where to call whom; what `endpoint.toml` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// This host's name in the fleet.
    pub host: HostName,
    /// The fleet's name.
    pub fleet: String,
    /// HOST:PORT of the mutually authenticated port.
    pub endpoint: String,
    /// The name in its certificate.
    pub server_name: String,
    /// HOST:PORT of the enrolment port, for a host whose certificate expired.
    pub enroll_endpoint: String,
}

/// All of an identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who and where.
    pub place: Place,
    /// The host's certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: SecretString,
    /// The fleet's CA (one or more, while it is exchanged), PEM.
    pub ca_pem: String,
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The host never joined.
    #[error(
        "this host has no identity ({} is not there): it has not joined a fleet; run on an \
         operator's machine `agentctl host invite NAME --lab LAB`, and here the line it prints",
        path.display()
    )]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// It would be overwritten.
    #[error(
        "this host is {host} of fleet {fleet} already ({}); to join anew, say --force",
        path.display()
    )]
    Present {
        /// Who it is.
        host: HostName,
        /// In which fleet.
        fleet: String,
        /// Where that is kept.
        path: PathBuf,
    },
    /// A file of it.
    #[error("a file of this host's identity is not usable")]
    File(#[from] FileError),
    /// The place.
    #[error("{} is not usable; join anew with --force", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: toml::de::Error,
    },
    /// The place cannot be written down.
    #[error("where the coordinator is cannot be written down")]
    Write(#[from] toml::ser::Error),
    /// Certificate or key.
    #[error("this host's certificate or key is not usable; join anew with --force")]
    Pki(#[from] PkiError),
    /// They do not make a connection.
    #[error("this host's certificate, key and CA make no connection; join anew with --force")]
    Tls(#[from] TlsError),
}

impl Identity {
    /// What a connection of this host shows and trusts.
    ///
    /// # Errors
    /// When certificate, key and CA do not fit.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let own = tls::Identity::new(self.certificate_pem.clone(), self.key_pem.clone());
        tls::client_config(&own, &self.ca_pem)
    }

    /// From when to when its certificate is good.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn life(&self) -> Result<(SystemTime, SystemTime), PkiError> {
        let facts = pki::facts(&self.certificate_pem)?;
        Ok((facts.not_before, facts.not_after))
    }
}

/// The identity in use, on disk and in memory.
pub struct IdentityStore {
    data: PathBuf,
    current: ArcSwap<Identity>,
    tls: Arc<ArcSwap<ClientConfig>>,
}

impl IdentityStore {
    /// Reads it from a state directory.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn load(data: &Path) -> Result<Self, IdentityError> {
        let identity = folder::read(data)?;
        let tls = Arc::new(ArcSwap::new(identity.client_config()?));
        Ok(Self { data: data.to_owned(), current: ArcSwap::from_pointee(identity), tls })
    }

    /// The newest.
    pub fn current(&self) -> Arc<Identity> {
        self.current.load_full()
    }

    /// What connections show: they take the newest each time they are made.
    pub fn tls(&self) -> Arc<ArcSwap<ClientConfig>> {
        Arc::clone(&self.tls)
    }

    /// Takes a new certificate with its key into use. Open connections go on.
    ///
    /// # Errors
    /// When it cannot be used or stored; the old one then stays.
    pub fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        let config = identity.client_config()?;
        folder::write(&self.data, &identity)?;
        self.current.store(Arc::new(identity));
        self.tls.store(config);
        Ok(())
    }
}
