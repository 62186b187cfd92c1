//! The CA at work: certificates for hosts.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet_model::{At, HostName, numbers::HOST_CERTIFICATE_LIFE};
use fleet_proto::pki::{self, Ca, Life, PkiError};

use crate::fleet_loop::Key;

/// A certificate that was made, but not handed out yet.
pub(crate) struct Signed {
    pub(crate) certificate_pem: String,
    pub(crate) key: Key,
}

/// Signs a request for exactly this host; nothing but the public key is taken from it.
pub(crate) fn sign(ca: &Ca, csr_pem: &str, host: &HostName) -> Result<Signed, PkiError> {
    let certificate_pem = ca.sign_host(csr_pem, host, Life::of(HOST_CERTIFICATE_LIFE))?;
    let facts = pki::facts(&certificate_pem)?;
    let key = Key { sha256: facts.public_key_sha256, expires: at(facts.not_after) };
    Ok(Signed { certificate_pem, key })
}

/// A moment of the wall clock.
pub(crate) fn at(time: SystemTime) -> At {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
