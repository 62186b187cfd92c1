//! Trust in a CA of which only the SHA-256 is known.
//!
//! The pin says which certificate of the presented chain is the CA; that CA then verifies the
//! chain in the ordinary way (signature, name, time, use). The pin alone proves nothing about the
//! server: everybody may send the CA's certificate.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::TlsError;
use crate::sha256_hex;

/// SHA-256 of a CA certificate (DER), lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin(String);

impl FromStr for Pin {
    type Err = TlsError;
    fn from_str(text: &str) -> Result<Self, TlsError> {
        let pin = text.trim().to_ascii_lowercase();
        if pin.len() == 64 && pin.bytes().all(|c| c.is_ascii_hexdigit()) {
            Ok(Self(pin))
        } else {
            Err(TlsError::Pin(text.to_owned()))
        }
    }
}

/// No certificate of the chain has the pin.
#[derive(Debug)]
struct Mismatch(Pin);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pin(pin) = &self.0;
        write!(
            f,
            "the server shows no CA with the pin {pin}: it is another fleet's, or somebody in between"
        )
    }
}

impl std::error::Error for Mismatch {}

#[derive(Debug)]
pub(super) struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(super) fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider }
    }

    fn pinned<'a>(&self, chain: &'a [CertificateDer<'a>]) -> Result<&'a CertificateDer<'a>, Error> {
        chain.iter().find(|certificate| sha256_hex(certificate) == self.pin.0).ok_or_else(|| {
            let mismatch = OtherError(Arc::new(Mismatch(self.pin.clone())));
            Error::InvalidCertificate(CertificateError::Other(mismatch))
        })
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pinned(intermediates)?.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
