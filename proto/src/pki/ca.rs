//! The CA of a fleet.

use std::time::{Duration, SystemTime};

use fleet_model::HostName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use secrecy::SecretString;
use x509_parser::prelude::GeneralName;

use super::{PkiError, key, read};
use crate::tls::Identity;

/// Clocks of lab servers differ; a certificate is good a little before it was made.
const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);
/// Life of the CA itself. Replacing it touches every host, so it is long.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    from: SystemTime,
    until: SystemTime,
}

impl Life {
    /// From five minutes ago until `length` from now.
    pub fn of(length: Duration) -> Self {
        Self::starting(SystemTime::now(), length)
    }

    /// From five minutes before `now` until `length` after it.
    pub fn starting(now: SystemTime, length: Duration) -> Self {
        Self { from: now - CLOCK_SLACK, until: now + length }
    }
}

/// The fleet's certificate authority with its key.
pub struct Ca {
    fleet: String,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new CA for a new fleet.
    ///
    /// # Errors
    /// When the name cannot be that of a fleet, or the system gives no random numbers.
    pub fn create(fleet: &str) -> Result<Self, PkiError> {
        let key = key::generate()?;
        let mut params = params(&fleet_name(fleet)?, Life::of(CA_LIFE))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(format!("spiffe://{fleet}"))?];
        params.distinguished_name.push(DnType::CommonName, format!("CA of fleet {fleet}"));
        let certificate_pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { fleet: fleet.to_owned(), certificate_pem, issuer })
    }

    /// A CA from what [`Ca::certificate_pem`] and [`Ca::key_pem`] gave.
    ///
    /// # Errors
    /// When one of the two cannot be read, is not a CA of a fleet, or they do not belong together.
    pub fn load(certificate_pem: &str, key_pem: &SecretString) -> Result<Self, PkiError> {
        let der = read::certificate_der(certificate_pem)?;
        let parsed = read::parse(&der)?;
        let fleet = fleet_of_ca(&parsed)
            .ok_or_else(|| PkiError::malformed("a CA of a fleet", "it names no fleet"))?;
        let key = key::load(key_pem)?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(PkiError::ForeignKey);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { fleet, certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// The fleet's name.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's key, PKCS #8 PEM. To be kept sealed.
    pub fn key_pem(&self) -> SecretString {
        self.issuer.key().serialize_pem().into()
    }

    /// The pin of a join line: SHA-256 of the CA's certificate (DER), hex.
    ///
    /// # Errors
    /// None in practice: the certificate was read or made before.
    pub fn fingerprint(&self) -> Result<String, PkiError> {
        read::fingerprint(&self.certificate_pem)
    }

    /// A certificate and key for the coordinator's own ports. `names` are what clients dial: DNS
    /// names and addresses. The chain holds the CA too, for clients that know only its pin.
    ///
    /// # Errors
    /// When there is no name or one that is neither.
    pub fn server_certificate(&self, names: &[String], life: Life) -> Result<Identity, PkiError> {
        let rule = "the name or address that clients dial, without a port";
        let first = names.first().ok_or(PkiError::Name {
            what: "a server name",
            text: String::new(),
            rule,
        })?;
        let mut params = params(&self.fleet, life)?;
        params
            .distinguished_name
            .push(DnType::CommonName, first.chars().take(64).collect::<String>());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        for name in names {
            params.subject_alt_names.push(server_name(name).ok_or_else(|| PkiError::Name {
                what: "a server name",
                text: name.clone(),
                rule,
            })?);
        }
        let key = key::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity::new(leaf + &self.certificate_pem, key.serialize_pem().into()))
    }

    /// A certificate for `host`, over the public key of its request. Nothing else of the request
    /// is used.
    ///
    /// # Errors
    /// When the request cannot be read, is not signed by its own key, or the key is of another
    /// kind than the fleet's.
    pub fn sign_host(
        &self,
        csr_pem: &str,
        host: &HostName,
        life: Life,
    ) -> Result<String, PkiError> {
        let key = read::request_key(csr_pem)?;
        self.client(&key, "host", host.as_str(), life)
    }

    /// A certificate and key for an operator.
    ///
    /// # Errors
    /// When the name cannot be that of an operator.
    pub fn operator(&self, name: &str, life: Life) -> Result<Identity, PkiError> {
        if !read::is_operator_name(name) {
            return Err(PkiError::Name {
                what: "an operator's name",
                text: name.to_owned(),
                rule: "letters, digits, '-', '_' and '.', at most 64, beginning with a letter or digit",
            });
        }
        let key = key::generate()?;
        let certificate = self.client(&key, "operator", name, life)?;
        Ok(Identity::new(certificate, key.serialize_pem().into()))
    }

    /// Whether this CA signed the certificate, whatever its age: an expired host may be readmitted
    /// by the key it once had.
    ///
    /// # Errors
    /// [`PkiError::ForeignCertificate`] when not.
    pub fn issued(&self, certificate_pem: &str) -> Result<(), PkiError> {
        let (ours, theirs) = (
            read::certificate_der(&self.certificate_pem)?,
            read::certificate_der(certificate_pem)?,
        );
        let (ours, theirs) = (read::parse(&ours)?, read::parse(&theirs)?);
        if theirs.is_ca() {
            return Err(PkiError::ForeignCertificate);
        }
        theirs.verify_signature(Some(ours.public_key())).map_err(|_| PkiError::ForeignCertificate)
    }

    fn client(
        &self,
        key: &impl PublicKeyData,
        role: &str,
        name: &str,
        life: Life,
    ) -> Result<String, PkiError> {
        let mut params = params(&self.fleet, life)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![uri(format!("spiffe://{}/{role}/{name}", self.fleet))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

/// What all certificates have: a random serial, a real life, the fleet as organization.
fn params(fleet: &str, life: Life) -> Result<CertificateParams, PkiError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| PkiError::NoRandomness)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = life.from.into();
    params.not_after = life.until.into();
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, fleet);
    Ok(params)
}

fn uri(text: String) -> Result<SanType, PkiError> {
    Ok(SanType::URI(text.try_into()?))
}

fn server_name(name: &str) -> Option<SanType> {
    match ServerName::try_from(name).ok()? {
        ServerName::IpAddress(address) => Some(SanType::IpAddress(address.into())),
        ServerName::DnsName(dns) => Some(SanType::DnsName(dns.as_ref().try_into().ok()?)),
        _ => None,
    }
}

/// A fleet's name is a SPIFFE trust domain: what may stand there is given.
fn fleet_name(text: &str) -> Result<String, PkiError> {
    if read::is_fleet_name(text) {
        return Ok(text.to_owned());
    }
    Err(PkiError::Name {
        what: "a fleet's name",
        text: text.to_owned(),
        rule: "lower-case letters, digits, '-', '_' and '.', at most 63, beginning with a letter or digit",
    })
}

fn fleet_of_ca(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] if certificate.is_ca() => {
            uri.strip_prefix("spiffe://").filter(|f| read::is_fleet_name(f)).map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
