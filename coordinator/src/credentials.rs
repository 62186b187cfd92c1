//! Secrets: sealed in the store and in memory, opened only for the moment of use.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fleet_model::{CredentialName, CredentialRef};
use fleet_proto::seal::{SealError, SealKey, fingerprint};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::records::CredentialRecord;

/// Longest secret taken: that of a token, with room; a file given by mistake is longer.
const SECRET_MAX: usize = 4096;

/// All secrets, sealed, with the key that opens them.
pub(crate) struct Vault {
    key: SealKey,
    sealed: RwLock<BTreeMap<CredentialName, Sealed>>,
}

struct Sealed {
    fingerprint: String,
    bytes: Vec<u8>,
}

/// Why a secret cannot be taken or given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// Nothing there.
    #[error("the secret is empty; give the token itself, in a file or on standard input")]
    Empty,
    /// Not what a token looks like.
    #[error("the secret is not one line of at most {SECRET_MAX} printable characters")]
    NotALine,
    /// Sealing failed.
    #[error("the secret cannot be sealed")]
    Seal(#[source] SealError),
    /// Opening failed: the key file is not the one it was sealed with.
    #[error(
        "credential {0} cannot be opened: the seal key is not the one it was sealed with; restore that key, or load the secret anew"
    )]
    Open(CredentialName, #[source] SealError),
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// An empty vault with that key.
    pub(crate) fn new(key: SealKey) -> Self {
        Self { key, sealed: RwLock::default() }
    }

    /// Checks and seals a secret as an operator sent it; returns its fingerprint and the sealed
    /// bytes. White space around it is cut off: a token read from a file ends with a newline, and
    /// Azure refuses that.
    ///
    /// # Errors
    /// When it does not look like a token, or cannot be sealed.
    pub(crate) fn seal(
        &self,
        name: &CredentialName,
        secret: &[u8],
    ) -> Result<(String, Vec<u8>), SecretError> {
        let secret = secret.trim_ascii();
        if secret.is_empty() {
            return Err(SecretError::Empty);
        }
        if secret.len() > SECRET_MAX || !secret.iter().all(u8::is_ascii_graphic) {
            return Err(SecretError::NotALine);
        }
        let sealed = self.key.seal(&context(name), secret).map_err(SecretError::Seal)?;
        Ok((fingerprint(secret), sealed))
    }

    /// The secret that is meant; none when there is a newer one by now, or none at all.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(
        &self,
        wanted: &CredentialRef,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        let sealed = self.sealed.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = sealed.get(&wanted.name).filter(|s| s.fingerprint == wanted.fingerprint)
        else {
            return Ok(None);
        };
        let opened = self.key.open(&context(&wanted.name), &found.bytes);
        opened.map(Some).map_err(|error| SecretError::Open(wanted.name.clone(), error))
    }

    /// The same as text.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub(crate) fn open_text(
        &self,
        wanted: &CredentialRef,
    ) -> Result<Option<SecretString>, SecretError> {
        // Only printable ASCII is ever sealed.
        let text = |bytes: Zeroizing<Vec<u8>>| String::from_utf8_lossy(&bytes).into_owned().into();
        Ok(self.open(wanted)?.map(text))
    }

    /// Takes in one record. Secrets are asked for by fingerprint, so nobody gets the wrong one.
    pub(crate) fn put(&self, record: &CredentialRecord) {
        let bytes = decode(&record.sealed);
        let sealed = Sealed { fingerprint: record.fingerprint.clone(), bytes };
        self.write().insert(record.name.clone(), sealed);
    }

    pub(crate) fn remove(&self, name: &CredentialName) {
        self.write().remove(name);
    }

    pub(crate) fn replace<'a>(&self, records: impl Iterator<Item = &'a CredentialRecord>) {
        self.write().clear();
        records.for_each(|record| self.put(record));
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<CredentialName, Sealed>> {
        self.sealed.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bound to the name: a sealed secret copied to another name does not open.
fn context(name: &CredentialName) -> String {
    format!("credential/{name}")
}

/// Sealed bytes as they stand in a record.
pub(crate) fn encode(sealed: &[u8]) -> String {
    BASE64_STANDARD.encode(sealed)
}

/// A broken text becomes bytes that do not open, which is reported where the secret is needed.
fn decode(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SealKey::load_or_create(&dir.path().join("seal.key")).expect("a key");
        (dir, Vault::new(key))
    }

    #[test]
    fn a_secret_comes_back_by_its_fingerprint_only() {
        let (_dir, vault) = vault();
        let name: CredentialName = "nightly".parse().expect("a name");
        let (fingerprint, sealed) = vault.seal(&name, b"  s3cret-token\n").expect("sealed");
        assert!(!sealed.windows(6).any(|w| w == b"s3cret"));
        let record = CredentialRecord {
            name: name.clone(),
            fingerprint: fingerprint.clone(),
            sealed: encode(&sealed),
            loaded: fleet_model::At(0),
            expires: None,
        };
        vault.put(&record);
        let wanted = CredentialRef { name: name.clone(), fingerprint };
        let opened = vault.open(&wanted).expect("opens").expect("is there");
        assert_eq!(opened.as_slice(), b"s3cret-token");
        let older = CredentialRef { name, fingerprint: "000000000000".into() };
        assert!(vault.open(&older).expect("asked").is_none());
        assert_eq!(format!("{vault:?}"), "Vault(..)");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let (_dir, vault) = vault();
        let name: CredentialName = "nightly".parse().expect("a name");
        assert!(matches!(vault.seal(&name, b" \n"), Err(SecretError::Empty)));
        for bad in [&b"two\nlines"[..], b"\xff\xfe", &[b'x'; SECRET_MAX + 1]] {
            assert!(matches!(vault.seal(&name, bad), Err(SecretError::NotALine)));
        }
    }
}
