//! Keys. All keys of the fleet are ECDSA on P-256: every TLS stack knows it, and one kind means one
//! way to check.

use fleet_model::HostName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use super::PkiError;

/// A fresh key for a host, and the request (PKCS #10, PEM) that carries its public half. The key
/// never leaves the host.
///
/// # Errors
/// When the system gives no random numbers.
pub fn key_and_csr(host: &HostName) -> Result<(SecretString, String), PkiError> {
    let key = generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // For people who look at the request; the CA sets the name of the certificate itself.
    params.distinguished_name.push(DnType::CommonName, host.as_str());
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem().into(), request))
}

pub(super) fn generate() -> Result<KeyPair, PkiError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A key pair from PKCS #8 PEM, refusing other kinds than the fleet's.
pub(super) fn load(key_pem: &SecretString) -> Result<KeyPair, PkiError> {
    let der = pkcs8(key_pem)?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
        .map_err(|_| PkiError::WeakKey("the private key"))
}

/// The bytes inside the PEM. `PrivatePkcs8KeyDer` wipes itself when dropped.
pub(super) fn pkcs8(key_pem: &SecretString) -> Result<PrivatePkcs8KeyDer<'static>, PkiError> {
    PrivatePkcs8KeyDer::from_pem_slice(key_pem.expose_secret().as_bytes())
        .map_err(|error| PkiError::malformed("a private key (PKCS #8, PEM)", error))
}
