//! Certificates of the fleet: the CA, the coordinator's own, hosts' and operators'.
//!
//! The CA chooses every name; of a request only its public key is used. Serials are random, lives
//! are real, and a certificate serves one side of a connection only: a host's cannot be a server.
//! Who a certificate belongs to stands in its single URI name, `spiffe://<fleet>/host/<name>` or
//! `spiffe://<fleet>/operator/<name>`; [`crate::tls::Peer`] reads it back.

mod ca;
mod key;
mod proof;
mod read;

pub use ca::{Ca, Life};
pub use key::key_and_csr;
pub use proof::{sign, verify};
pub use read::{Facts, expiry, facts, fingerprint, public_key_sha256};
pub(crate) use read::{facts_of, is_fleet_name, is_operator_name, parse};

/// Why a certificate, key or request is not taken or not made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A name that cannot stand in a certificate of the fleet.
    #[error("{text:?} is not {what}: {rule}")]
    Name {
        /// What the text was meant to name.
        what: &'static str,
        /// The text as given.
        text: String,
        /// What such a name looks like.
        rule: &'static str,
    },
    /// Not PEM, or not what PEM should hold here.
    #[error("not {what}: {why}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A key of another kind than the fleet's.
    #[error("{0} is not an ECDSA key on the curve P-256, the only kind taken")]
    WeakKey(&'static str),
    /// The request is not signed by its own key, or the proof not by the certificate's.
    #[error("the signature of {0} is wrong")]
    Signature(&'static str),
    /// Certificate and key do not belong together.
    #[error("the private key does not belong to the certificate")]
    ForeignKey,
    /// The certificate was not signed by this CA.
    #[error("the certificate was not issued by this fleet's CA")]
    ForeignCertificate,
    /// The library refused.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    NoRandomness,
}

impl PkiError {
    fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }
}
