//! Secrets at rest: AES-256-GCM under a key file that only its owner reads.
//!
//! It protects copies: backups, a stolen disk of the store without the key file. It does not
//! protect against who may read the key file.
//!
//! ```text
//! sealed = version (1 byte, 1) | nonce (12 bytes, random) | ciphertext | tag (16 bytes)
//! ```

use std::{fmt, path::Path};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::files::{self, FileError};

const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// The key under which secrets are kept.
pub struct SealKey(RandomizedNonceKey);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey([redacted])")
    }
}

/// A secret that cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file.
    #[error("the key file is not usable")]
    File(#[from] FileError),
    /// The key file holds something else.
    #[error("the key file holds {0} bytes instead of {KEY_BYTES}; restore it from the backup")]
    KeyLength(usize),
    /// Random numbers or the cipher failed.
    #[error("the system cannot encrypt")]
    Cipher,
    /// Written by a later version, or not sealed at all.
    #[error("it was not sealed by this version")]
    Version,
    /// Changed, sealed for something else, or under another key.
    #[error("it was damaged, or sealed under another key or for another use")]
    Forged,
}

impl SealKey {
    /// The key of a file; makes one of random bytes where there is none. Where the system hands
    /// the key in as a credential, use [`SealKey::load`]: a key made in its place would be lost.
    ///
    /// # Errors
    /// When the file cannot be used: others may read it, it has a wrong length, or the system
    /// refuses.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        match Self::load(path) {
            Err(SealError::File(error)) if error.is_not_found() => {
                let mut bytes = Zeroizing::new([0; KEY_BYTES]);
                aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| SealError::Cipher)?;
                // Whoever came first has made the key; it is theirs that counts.
                files::create_private(path, bytes.as_ref())?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// The key of a file that must be there.
    ///
    /// # Errors
    /// As [`SealKey::load_or_create`], and when there is no file.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let bytes = files::read_private(path)?;
        if bytes.len() != KEY_BYTES {
            return Err(SealError::KeyLength(bytes.len()));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Cipher)?;
        Ok(Self(key))
    }

    /// Encrypts `plain`. `context` says what it is and is needed to open it, so that one sealed
    /// thing cannot be put in the place of another.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        // Room for the tag from the start: a buffer that grows would leave the plain text behind.
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
        body.extend_from_slice(plain);
        let nonce = self
            .0
            .seal_in_place_append_tag(aad(context), &mut *body)
            .map_err(|_| SealError::Cipher)?;
        Ok([&[VERSION], nonce.as_ref().as_slice(), &body].concat())
    }

    /// Decrypts what [`SealKey::seal`] made for the same context.
    ///
    /// # Errors
    /// When it was changed, sealed for another context or under another key.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&VERSION, rest)) = sealed.split_first() else { return Err(SealError::Version) };
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Forged)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(context), &mut body)
            .map_err(|_| SealError::Forged)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

/// First 12 hex digits of a secret's SHA-256: tells two secrets apart, reveals neither, as tokens
/// are long and random.
pub fn fingerprint(secret: &[u8]) -> String {
    let mut digits = crate::sha256_hex(secret);
    digits.truncate(12);
    digits
}

/// The version is bound too, so that a later one can never be read as this one.
fn aad(context: &str) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], context.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use proptest::prelude::*;

    use super::*;

    fn key() -> (tempfile::TempDir, SealKey) {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SealKey::load_or_create(&dir.path().join("keys/seal")).expect("made");
        (dir, key)
    }

    #[test]
    fn a_key_is_made_once_and_private() {
        let (dir, key) = key();
        let path = dir.path().join("keys/seal");
        let sealed = key.seal("pat/nightly", b"secret").expect("sealed");
        let again = SealKey::load_or_create(&path).expect("loaded");
        assert_eq!(again.open("pat/nightly", &sealed).expect("same key").as_slice(), b"secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened up");
        let error = SealKey::load_or_create(&path).expect_err("the group can read it");
        assert!(matches!(error, SealError::File(FileError::NotPrivate { .. })), "{error}");
        files::write_private(&path, b"short").expect("written");
        let error = SealKey::load_or_create(&path).expect_err("too short");
        assert!(matches!(error, SealError::KeyLength(5)), "{error}");
        assert!(SealKey::load(&dir.path().join("none")).is_err());
    }

    #[test]
    fn another_key_or_context_opens_nothing() {
        let ((_one, key), (_two, other)) = (key(), self::key());
        let sealed = key.seal("pat/a", b"secret").expect("sealed");
        assert!(matches!(key.open("pat/b", &sealed), Err(SealError::Forged)));
        assert!(matches!(other.open("pat/a", &sealed), Err(SealError::Forged)));
        assert_ne!(sealed, key.seal("pat/a", b"secret").expect("sealed"), "a fresh nonce");
        assert!(!format!("{key:?}").contains(char::is_numeric));
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_sha256() {
        assert_eq!(fingerprint(b"abc"), "ba7816bf8f01");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_every_change_of_a_bit_is_noticed(
            context in "\\PC{0,12}",
            plain in prop::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (_dir, key) = key();
            let mut sealed = key.seal(&context, &plain).expect("sealed");
            let opened = key.open(&context, &sealed).expect("opens");
            prop_assert_eq!(opened.as_slice(), &plain[..]);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(key.open(&context, &sealed).is_err());
            sealed.truncate(at);
            prop_assert!(key.open(&context, &sealed).is_err());
        }
    }
}
