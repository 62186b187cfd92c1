//! Reading certificates and requests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate, certification_request::X509CertificationRequest,
    prelude::FromDer, time::ASN1Time,
};

use super::PkiError;
use crate::sha256_hex;

/// Of a point on P-256 that is written out in full: `04`, x, y.
const P256_POINT_BYTES: usize = 65;

/// What is asked of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Good from.
    pub not_before: SystemTime,
    /// Good until.
    pub not_after: SystemTime,
    /// Lower-case hex, without leading zero bytes.
    pub serial: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER), hex. Stays the same when a key gets
    /// a new certificate.
    pub public_key_sha256: String,
}

/// Facts of the first certificate of a PEM text.
///
/// # Errors
/// When there is none.
pub fn facts(certificate_pem: &str) -> Result<Facts, PkiError> {
    let der = certificate_der(certificate_pem)?;
    Ok(facts_of(&parse(&der)?))
}

/// Until when a certificate is good.
///
/// # Errors
/// When the text holds none.
pub fn expiry(certificate_pem: &str) -> Result<SystemTime, PkiError> {
    Ok(facts(certificate_pem)?.not_after)
}

/// SHA-256 of a certificate (DER), hex: the pin of a CA.
///
/// # Errors
/// When the text holds none.
pub fn fingerprint(certificate_pem: &str) -> Result<String, PkiError> {
    Ok(sha256_hex(&certificate_der(certificate_pem)?))
}

/// SHA-256 of the public key in a certificate or in a request, hex: the same for both when the
/// key is the same.
///
/// # Errors
/// When the text holds neither.
pub fn public_key_sha256(pem: &str) -> Result<String, PkiError> {
    match CertificateDer::from_pem_slice(pem.as_bytes()) {
        Ok(der) => Ok(facts_of(&parse(&der)?).public_key_sha256),
        Err(_) => {
            let der = request_der(pem)?;
            Ok(sha256_hex(parse_request(&der)?.certification_request_info.subject_pki.raw))
        }
    }
}

pub(crate) fn facts_of(certificate: &X509Certificate<'_>) -> Facts {
    let serial: Vec<u8> =
        certificate.raw_serial().iter().copied().skip_while(|byte| *byte == 0).collect();
    Facts {
        not_before: moment(certificate.validity().not_before),
        not_after: moment(certificate.validity().not_after),
        serial: crate::hex(&serial),
        public_key_sha256: sha256_hex(certificate.public_key().raw),
    }
}

/// A moment before 1970 is as long past as 1970 is.
fn moment(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

pub(super) fn certificate_der(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PkiError::malformed("a certificate (PEM)", error))
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PkiError::malformed("a certificate", "bytes follow its end")),
        Err(error) => Err(PkiError::malformed("a certificate", error)),
    }
}

/// The public key of a request, after its signature and kind were checked.
pub(super) fn request_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, PkiError> {
    let der = request_der(csr_pem)?;
    let request = parse_request(&der)?;
    let info = &request.certification_request_info.subject_pki;
    let key = SubjectPublicKeyInfo::from_der(info.raw)
        .map_err(|_| PkiError::WeakKey("the request's key"))?;
    let p256 = key.algorithm() == &PKCS_ECDSA_P256_SHA256;
    if !p256 || info.subject_public_key.data.len() != P256_POINT_BYTES {
        return Err(PkiError::WeakKey("the request's key"));
    }
    // Also proves that the point lies on the curve, and that the sender has the private half.
    request.verify_signature().map_err(|_| PkiError::Signature("the certificate request"))?;
    Ok(key)
}

fn request_der(pem: &str) -> Result<CertificateSigningRequestDer<'static>, PkiError> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PkiError::malformed("a certificate request (PKCS #10, PEM)", error))
}

fn parse_request(der: &[u8]) -> Result<X509CertificationRequest<'_>, PkiError> {
    match X509CertificationRequest::from_der(der) {
        Ok(([], request)) => Ok(request),
        Ok(_) => Err(PkiError::malformed("a certificate request", "bytes follow its end")),
        Err(error) => Err(PkiError::malformed("a certificate request", error)),
    }
}

pub(crate) fn is_fleet_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(inner)
}

pub(crate) fn is_operator_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
