//! Who is at the other end, read from the certificate that the handshake verified.

use std::{fmt, time::SystemTime};

use fleet_model::HostName;
use rustls::pki_types::CertificateDer;
use tonic::{
    Request, Status,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use x509_parser::{certificate::X509Certificate, prelude::GeneralName};

use crate::pki;

/// Who calls. Roles within the operators come with time; they would be a third part of the name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A lab server. It may speak only as itself.
    Host(HostName),
    /// A person or a tool of theirs.
    Operator(String),
}

/// What the fleet asks of a caller's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whose it is.
    pub peer: Peer,
    /// The fleet it was made for.
    pub fleet: String,
    /// Lower-case hex; for a list of revoked ones.
    pub serial: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER), hex.
    pub public_key_sha256: String,
    /// Good until.
    pub not_after: SystemTime,
}

impl Peer {
    /// The caller of a request.
    ///
    /// # Errors
    /// Unauthenticated, as [`PeerCertificate::of`].
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Ok(PeerCertificate::of(request)?.peer)
    }

    /// Whom a certificate (DER) names.
    ///
    /// # Errors
    /// In words, when it cannot be read or does not name exactly one.
    pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Self, String> {
        Ok(read(der)?.peer)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => write!(f, "host {name}"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

impl PeerCertificate {
    /// The certificate of the caller of a request.
    ///
    /// # Errors
    /// Unauthenticated, when the connection has none (it is not the mutually authenticated port)
    /// or it does not name exactly one host or operator.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let certificates = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs)
            .ok_or_else(|| Status::unauthenticated("the connection shows no certificate"))?;
        let first =
            certificates.first().ok_or_else(|| Status::unauthenticated("no certificate"))?;
        read(first).map_err(Status::unauthenticated)
    }
}

fn read(der: &CertificateDer<'_>) -> Result<PeerCertificate, String> {
    let certificate = pki::parse(der).map_err(|error| error.to_string())?;
    let (fleet, peer) = name(&single_uri(&certificate)?)?;
    let facts = pki::facts_of(&certificate);
    Ok(PeerCertificate {
        peer,
        fleet,
        serial: facts.serial,
        public_key_sha256: facts.public_key_sha256,
        not_after: facts.not_after,
    })
}

/// A certificate with two names would let its holder choose who to be.
fn single_uri(certificate: &X509Certificate<'_>) -> Result<String, String> {
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    match names {
        [GeneralName::URI(uri)] => Ok((*uri).to_owned()),
        _ => Err("the certificate does not have exactly one name, a URI".into()),
    }
}

fn name(uri: &str) -> Result<(String, Peer), String> {
    let unknown = || format!("{uri:?} names neither a host nor an operator");
    let mut parts = uri.strip_prefix("spiffe://").ok_or_else(unknown)?.split('/');
    let (Some(fleet), Some(role), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(unknown());
    };
    let peer = match role {
        "host" => Peer::Host(name.parse().map_err(|_| unknown())?),
        "operator" if pki::is_operator_name(name) => Peer::Operator(name.to_owned()),
        _ => return Err(unknown()),
    };
    if pki::is_fleet_name(fleet) { Ok((fleet.to_owned(), peer)) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_fleet_a_role_and_a_name() {
        let host = |name: &str| Peer::Host(name.parse().expect("a host"));
        let read = |uri: &str| name(uri).ok();
        assert_eq!(read("spiffe://f1/host/h-1"), Some(("f1".into(), host("h-1"))));
        let ann = Peer::Operator("ann".into());
        assert_eq!(read("spiffe://f1/operator/ann"), Some(("f1".into(), ann)));
        for bad in [
            "spiffe://f1",
            "spiffe://f1/host",
            "spiffe://f1/host/",
            "spiffe://f1/host/a/b",
            "spiffe://f1/host/A",
            "spiffe://f1/admin/ann",
            "spiffe:///host/h1",
            "https://f1/host/h1",
            "spiffe://f1/operator/..%2f",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
