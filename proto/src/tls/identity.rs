//! A certificate with its key.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use super::TlsError;

/// What one side of a connection shows. Its `Debug` does not show the key.
#[derive(Debug, Clone)]
pub struct Identity {
    chain_pem: String,
    key_pem: SecretString,
}

impl Identity {
    /// Of PEM texts: the own certificate first, then those that lead to the CA; the key in PKCS #8.
    pub fn new(chain_pem: String, key_pem: SecretString) -> Self {
        Self { chain_pem, key_pem }
    }

    /// Certificates, PEM.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The key, PEM.
    pub fn key_pem(&self) -> &SecretString {
        &self.key_pem
    }

    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("the certificate", &self.chain_pem)
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.expose_secret().as_bytes())
            .map_err(|source| TlsError::Pem { what: "the private key", source })
    }
}

/// All certificates of a PEM text; at least one.
pub(super) fn certificates(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if all.is_empty() { Err(TlsError::NoCertificate(what)) } else { Ok(all) }
}
