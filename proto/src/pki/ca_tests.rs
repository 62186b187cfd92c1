use std::net::IpAddr;

use proptest::prelude::*;
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use secrecy::ExposeSecret;
use x509_parser::extensions::ParsedExtension;

use super::super::{expiry, facts, key_and_csr, public_key_sha256, sign, verify};
use super::*;
use crate::tls::Peer;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn host(name: &str) -> HostName {
    name.parse().expect("a host")
}

fn ca() -> Ca {
    Ca::create("lab-fleet").expect("a CA")
}

/// The extensions that decide what a certificate is good for: CA, server, client, URI names.
fn uses(pem: &str) -> (bool, bool, bool, Vec<String>) {
    let der = read::certificate_der(pem).expect("PEM");
    let certificate = read::parse(&der).expect("a certificate");
    let usage = certificate.extended_key_usage().expect("at most one").map(|u| u.value.clone());
    let uris = certificate.extensions().iter().flat_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.clone(),
        _ => Vec::new(),
    });
    let uris = uris.filter_map(|name| match name {
        GeneralName::URI(uri) => Some(uri.to_owned()),
        _ => None,
    });
    (
        certificate.is_ca(),
        usage.as_ref().is_some_and(|u| u.server_auth),
        usage.as_ref().is_some_and(|u| u.client_auth),
        uris.collect(),
    )
}

#[test]
fn each_certificate_is_good_for_one_side_only() {
    let ca = ca();
    let (_, csr) = key_and_csr(&host("h1")).expect("a request");
    let life = Life::of(DAY);
    let spiffe = |path: &str| vec![format!("spiffe://lab-fleet{path}")];
    assert_eq!(uses(ca.certificate_pem()), (true, false, false, spiffe("")));
    let leaf = ca.sign_host(&csr, &host("h1"), life).expect("signed");
    assert_eq!(uses(&leaf), (false, false, true, spiffe("/host/h1")));
    let operator = ca.operator("ann", life).expect("made");
    assert_eq!(uses(operator.chain_pem()), (false, false, true, spiffe("/operator/ann")));
    let server = ca.server_certificate(&["localhost".into(), "127.0.0.1".into()], life);
    assert_eq!(uses(server.expect("made").chain_pem()), (false, true, false, vec![]));
}

#[test]
fn a_certificate_lives_from_a_little_before_now_as_long_as_asked() {
    let (ca, now) = (ca(), SystemTime::now());
    let operator = ca.operator("ann", Life::starting(now, DAY)).expect("made");
    let facts = facts(operator.chain_pem()).expect("read");
    let second = Duration::from_secs(1);
    let lead = now.duration_since(facts.not_before).expect("before now");
    assert!(lead >= CLOCK_SLACK && lead < CLOCK_SLACK + second, "{lead:?}");
    let left = facts.not_after.duration_since(now).expect("after now");
    assert!(left <= DAY && left > DAY - second, "{left:?}");
    assert_eq!(expiry(operator.chain_pem()).expect("read"), facts.not_after);
}

#[test]
fn serials_are_long_and_differ() {
    let ca = ca();
    let serial = || {
        let operator = ca.operator("ann", Life::of(DAY)).expect("made");
        facts(operator.chain_pem()).expect("read").serial
    };
    let serials: std::collections::BTreeSet<_> = (0..20).map(|_| serial()).collect();
    assert_eq!(serials.len(), 20);
    // Sixteen random bytes begin with two zero bytes once in 65536 tries.
    assert!(serials.iter().filter(|s| s.len() >= 28).count() >= 18, "{serials:?}");
}

#[test]
fn of_a_request_only_the_key_is_used() {
    let ca = ca();
    let key = key::generate().expect("a key");
    let mut wishes = CertificateParams::new(vec!["coordinator".into()]).expect("a name");
    wishes.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wishes.subject_alt_names.push(uri("spiffe://lab-fleet/operator/root".into()).expect("a URI"));
    wishes.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let csr = wishes.serialize_request(&key).expect("made").pem().expect("PEM");
    let leaf = ca.sign_host(&csr, &host("h1"), Life::of(DAY)).expect("signed");
    assert_eq!(uses(&leaf), (false, false, true, vec!["spiffe://lab-fleet/host/h1".into()]));
    assert_eq!(public_key_sha256(&csr).expect("csr"), public_key_sha256(&leaf).expect("leaf"));
}

#[test]
fn other_keys_and_unsigned_requests_are_refused() {
    let ca = ca();
    let refused = |csr: &str| ca.sign_host(csr, &host("h1"), Life::of(DAY)).expect_err("refused");
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(kind).expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).expect("made");
        let error = refused(&csr.pem().expect("PEM"));
        assert!(matches!(error, PkiError::WeakKey(_)), "{error}");
    }
    let (_, csr) = key_and_csr(&host("h1")).expect("a request");
    let mut der = pem_bytes(&csr);
    let last = der.len() - 1;
    der[last] ^= 1;
    let error = refused(&as_request(&der));
    assert!(matches!(error, PkiError::Signature(_)), "{error}");
    assert!(matches!(refused("no PEM"), PkiError::Malformed { .. }));
    assert!(matches!(refused(ca.certificate_pem()), PkiError::Malformed { .. }));
}

fn pem_bytes(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
}

fn as_request(der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let (label, text) = ("CERTIFICATE REQUEST", BASE64_STANDARD.encode(der));
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn a_ca_that_was_kept_signs_as_before() {
    let ca = ca();
    let again = Ca::load(ca.certificate_pem(), &ca.key_pem()).expect("loaded");
    assert_eq!(again.fleet(), "lab-fleet");
    assert_eq!(again.fingerprint().expect("pin"), ca.fingerprint().expect("pin"));
    let operator = again.operator("ann", Life::of(DAY)).expect("made");
    ca.issued(operator.chain_pem()).expect("by the same key");
    let foreign = Ca::create("lab-fleet").expect("a CA");
    let error = foreign.issued(operator.chain_pem()).expect_err("another CA of that name");
    assert!(matches!(error, PkiError::ForeignCertificate));
    let error = Ca::load(ca.certificate_pem(), &foreign.key_pem()).err().expect("a foreign key");
    assert!(matches!(error, PkiError::ForeignKey));
    let leaf = Ca::load(operator.chain_pem(), operator.key_pem()).err().expect("no CA");
    assert!(matches!(leaf, PkiError::Malformed { .. }));
}

#[test]
fn a_key_proves_itself_even_with_an_expired_certificate() {
    let ca = ca();
    let (key, csr) = key_and_csr(&host("h1")).expect("a request");
    let long_ago = Life::starting(SystemTime::now() - 3 * DAY, DAY);
    let leaf = ca.sign_host(&csr, &host("h1"), long_ago).expect("signed");
    let proof = sign(&key, b"challenge").expect("signed");
    verify(&leaf, b"challenge", &proof).expect("its own key");
    ca.issued(&leaf).expect("whatever its age");
    verify(&leaf, b"another", &proof).expect_err("another challenge");
    let (other, _) = key_and_csr(&host("h1")).expect("a request");
    let foreign = sign(&other, b"challenge").expect("signed");
    verify(&leaf, b"challenge", &foreign).expect_err("another key");
}

#[test]
fn names_with_other_meanings_are_refused() {
    let ca = ca();
    for bad in ["", "a/b", "../x", "a b", "-a", &"x".repeat(65)] {
        assert!(ca.operator(bad, Life::of(DAY)).is_err(), "{bad:?}");
        assert!(Ca::create(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "a b", "host:7443", "*"] {
        assert!(ca.server_certificate(&[bad.to_owned()], Life::of(DAY)).is_err(), "{bad:?}");
    }
    assert!(ca.server_certificate(&[], Life::of(DAY)).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let operator = ca().operator("ann", Life::of(DAY)).expect("made");
    let key = operator.key_pem().expose_secret();
    let part = key.lines().nth(1).expect("a line of the key");
    assert!(!format!("{operator:?}").contains(part));
}

#[test]
fn addresses_stand_in_a_certificate_as_addresses() {
    let name = |text: &str| server_name(text);
    let v6: IpAddr = "::1".parse().expect("an address");
    assert_eq!(name("::1"), Some(SanType::IpAddress(v6)));
    assert!(matches!(name("coordinator.example"), Some(SanType::DnsName(_))));
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = as_request(&bytes);
        let certificate = text.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        let _ = (read::request_key(&text).is_ok(), public_key_sha256(&text).is_ok());
        let _ = (facts(&certificate).is_ok(), verify(&certificate, b"", &bytes).is_ok());
        let _ = Peer::of_certificate(&bytes.into());
    }
}
