//! Proof that somebody has the key of a certificate: for a host whose certificate expired while it
//! was away, and which therefore cannot show it in a handshake.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
    },
};
use secrecy::SecretString;

use super::{PkiError, key, read};

/// Stands before what is signed, so that a challenge can never be made to look like anything else
/// that this key signs.
const CONTEXT: &[u8] = b"fleet.v1 proof of possession\0";

/// Signs a challenge (ECDSA P-256, SHA-256, ASN.1).
///
/// # Errors
/// When the key cannot be read or is of another kind than the fleet's.
pub fn sign(key_pem: &SecretString, challenge: &[u8]) -> Result<Vec<u8>, PkiError> {
    let der = key::pkcs8(key_pem)?;
    let weak = |_| PkiError::WeakKey("the private key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der())
        .map_err(weak)?;
    let signature = pair
        .sign(&SystemRandom::new(), &[CONTEXT, challenge].concat())
        .map_err(|_| PkiError::NoRandomness)?;
    Ok(signature.as_ref().to_vec())
}

/// Checks what [`sign`] made against the public key of a certificate. Says nothing about the
/// certificate itself: see [`super::Ca::issued`] and [`super::expiry`].
///
/// # Errors
/// When the certificate cannot be read or the signature is not by its key.
pub fn verify(certificate_pem: &str, challenge: &[u8], signature: &[u8]) -> Result<(), PkiError> {
    let der = read::certificate_der(certificate_pem)?;
    let certificate = read::parse(&der)?;
    let point = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&[CONTEXT, challenge].concat(), signature)
        .map_err(|_| PkiError::Signature("the proof"))
}
