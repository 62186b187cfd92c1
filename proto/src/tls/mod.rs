//! The one TLS setting of the fleet: TLS 1.3, aws-lc-rs, no resumption.
//!
//! ```text
//! listener ─ accept ─ handshake (a task of its own, 5 s) ─ tonic server ─ Peer::of(request)
//!                        ▲ newest ServerConfig
//! endpoint ─ [CONNECT proxy] ─ handshake ─ tonic channel
//!                        ▲ newest ClientConfig
//! ```
//!
//! Configurations are swapped whole (`ArcSwap`): certificate and CAs change together, connections
//! that are open go on, new ones see the new. Without resumption each connection shows its
//! certificate, so a change takes effect at the next one.

mod accept;
mod channel;
mod config;
mod identity;
mod peer;
mod pin;
mod proxy;
mod trouble;

pub use accept::{accept, server};
pub use channel::channel;
pub use config::{
    client_config, client_config_anonymous, client_config_pinned, install_default, provider,
    server_config_mutual, server_config_plain,
};
pub use identity::Identity;
pub use peer::{Peer, PeerCertificate};
pub use proxy::Proxy;
pub use trouble::Trouble;

/// A TLS setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text that should be PEM.
    #[error("cannot read {what}")]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in it.
    #[error("{0} holds no certificate")]
    NoCertificate(&'static str),
    /// Certificate and key do not fit each other, or not this use.
    #[error("certificate and key cannot be used")]
    Identity(#[source] rustls::Error),
    /// A CA that cannot be trusted.
    #[error("the CA certificate cannot be used")]
    Ca(#[source] rustls::Error),
    /// No verifier can be made of the CA.
    #[error("the CA certificate cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The provider lacks what TLS 1.3 needs.
    #[error("TLS 1.3 is not available")]
    Protocol(#[source] rustls::Error),
    /// Not a pin.
    #[error("{0:?} is not a CA pin: 64 hex digits, the SHA-256 of the CA's certificate")]
    Pin(String),
    /// Not a place to connect to.
    #[error("{0:?} is not an endpoint: write HOST:PORT")]
    Endpoint(String),
    /// Not the name of a server.
    #[error("{0:?} is not the name or address of a server")]
    ServerName(String),
    /// Not a proxy. The text is not shown: it may hold a password.
    #[error("the proxy is not usable: {0}; write http://[USER:PASSWORD@]HOST:PORT")]
    Proxy(&'static str),
}
