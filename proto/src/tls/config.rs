//! Configurations of both sides. None is made anywhere else.

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

use super::{
    Identity, TlsError,
    identity::certificates,
    pin::{Pin, PinVerifier},
};

/// gRPC is HTTP/2, and nothing else is spoken on these ports.
const ALPN: &[u8] = b"h2";

/// The cryptography of every connection, named explicitly: with two providers in a build, rustls'
/// own choice would panic.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Makes it the provider of libraries that ask for the process's own. First thing in `main`; later
/// calls change nothing.
pub fn install_default() {
    // Refused only when one is installed already, and then it is this one.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The mutually authenticated port: clients show a certificate of `client_ca_pem` (one or more
/// CAs, so that an old and a new one can be trusted side by side).
///
/// # Errors
/// When a certificate or the key cannot be used.
pub fn server_config_mutual(
    identity: &Identity,
    client_ca_pem: &str,
) -> Result<Arc<ServerConfig>, TlsError> {
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots(client_ca_pem)?, provider()).build()?;
    server(server_builder()?.with_client_cert_verifier(clients), identity)
}

/// The enrolment port: the server is authenticated, clients are not.
///
/// # Errors
/// When a certificate or the key cannot be used.
pub fn server_config_plain(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    server(server_builder()?.with_no_client_auth(), identity)
}

/// A client that shows `identity` and trusts servers of `ca_pem` (one or more CAs).
///
/// # Errors
/// When a certificate or the key cannot be used.
pub fn client_config(identity: &Identity, ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let config = client_builder()?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(identity.chain()?, identity.key()?)
        .map_err(TlsError::Identity)?;
    Ok(client(config))
}

/// A client without a certificate that knows of the CA only its SHA-256 (64 hex digits): for the
/// first contact of a host. The server must send its CA along.
///
/// # Errors
/// When the text is not a pin.
pub fn client_config_pinned(ca_pin_sha256: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = PinVerifier::new(ca_pin_sha256.parse::<Pin>()?, provider());
    let config = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(client(config))
}

/// A client without a certificate that trusts servers of `ca_pem`: for a host whose certificate
/// expired and which knows its fleet's CA.
///
/// # Errors
/// When the CA cannot be used.
pub fn client_config_anonymous(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(client(client_builder()?.with_root_certificates(roots(ca_pem)?).with_no_client_auth()))
}

fn server_builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Protocol)
}

fn server(
    builder: ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    identity: &Identity,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config =
        builder.with_single_cert(identity.chain()?, identity.key()?).map_err(TlsError::Identity)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A ticket would let a client come back without showing its certificate again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Protocol)
}

fn client(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the CA certificate", ca_pem)? {
        roots.add(certificate).map_err(TlsError::Ca)?;
    }
    Ok(Arc::new(roots))
}
