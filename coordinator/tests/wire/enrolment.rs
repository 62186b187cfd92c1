//! Joining, coming back, renewing; and everybody who may not.

use fleet_model::HostName;
use fleet_proto::{pki, v1};
use tonic::Code;

use crate::{
    host::{Host, enrolment, join},
    support::Bench,
};

#[tokio::test]
async fn a_token_is_good_once_for_one_host() {
    let mut bench = Bench::start().await;
    let invitation = bench.invite("h1", "svc").await;
    assert_eq!(invitation.ca_pin, bench.pin);
    assert_eq!(invitation.enroll_endpoint, bench.running().addresses.enroll_listen.to_string());
    let foreign = join(&bench, "h2", &invitation.token).await.expect_err("not its token");
    assert!(foreign.message().contains("for another host"), "{foreign}");
    let (_, joined) = join(&bench, "h1", &invitation.token).await.expect("it joins");
    assert_eq!(joined.endpoint, bench.running().addresses.listen.to_string());
    assert_eq!((joined.server_name.as_str(), joined.fleet.as_str()), ("127.0.0.1", "lab"));
    let again = join(&bench, "h1", &invitation.token).await.expect_err("used up");
    assert!(again.message().contains("was used already"), "{again}");
    assert_eq!(again.code(), Code::PermissionDenied);
    let kinds: Vec<String> = bench.history().await.into_iter().map(|e| e.kind).collect();
    for kind in ["host.invited", "host.joined", "host.join-refused"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} in {kinds:?}");
    }
}

#[tokio::test]
async fn of_two_joins_with_one_token_one_wins() {
    let mut bench = Bench::start().await;
    let invitation = bench.invite("h1", "svc").await;
    let attempts = (0..8).map(|_| join(&bench, "h1", &invitation.token));
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn wrong_old_and_replaced_tokens_are_refused_with_the_reason() {
    let mut bench = Bench::start().await;
    let request = v1::InviteHostRequest {
        host: "h1".into(),
        lab: "svc".into(),
        valid_for: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
        ..v1::InviteHostRequest::default()
    };
    let short = bench.operator.invite_host(request).await.expect("invited").into_inner();
    let expired = join(&bench, "h1", &short.token).await.expect_err("too late");
    assert!(expired.message().contains("has expired"), "{expired}");
    let first = bench.invite("h1", "svc").await;
    let second = bench.invite("h1", "svc").await;
    let replaced = join(&bench, "h1", &first.token).await.expect_err("replaced");
    assert!(replaced.message().contains("is not known"), "{replaced}");
    let nonsense = join(&bench, "h1", "nonsense").await.expect_err("no token");
    assert!(nonsense.message().contains("copy the whole line"), "{nonsense}");
    join(&bench, "h1", &second.token).await.expect("the newest is good");
    let long = v1::InviteHostRequest {
        host: "h1".into(),
        lab: "svc".into(),
        valid_for: Some(prost_types::Duration { seconds: 601, nanos: 0 }),
        ..v1::InviteHostRequest::default()
    };
    let refused = bench.operator.invite_host(long).await.expect_err("too long");
    assert!(refused.message().contains("10 minutes"), "{refused}");
}

#[tokio::test]
async fn the_store_never_holds_a_token() {
    let mut bench = Bench::start().await;
    let token = bench.invite("h1", "svc").await.token;
    bench.stop().await;
    for entry in std::fs::read_dir(bench.data()).expect("listed") {
        let path = entry.expect("an entry").path();
        let content = std::fs::read(&path).expect("readable");
        let found = content.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test]
async fn a_host_renews_its_certificate_and_both_keys_are_known() {
    let mut bench = Bench::start().await;
    let mut host = Host::join(&mut bench, "h1", "svc").await;
    let mut session = host.open_empty(&bench).await;
    let (key, csr_pem) = pki::key_and_csr(&host.name).expect("a key");
    let request = v1::RenewRequest { csr_pem };
    let renewed = host.client(&bench).renew(request).await.expect("renewed").into_inner();
    // The open session goes on with the old one.
    session.heartbeat().await;
    let old = (host.key.clone(), host.certificate.clone());
    host.certificate = renewed.certificate_pem;
    host.key = key;
    drop(session);
    bench.wait_event("host.disconnected").await;
    drop(host.open_empty(&bench).await);
    (host.key, host.certificate) = old;
    host.open_empty(&bench).await.heartbeat().await;
}

async fn readmit(
    bench: &Bench,
    host: &Host,
    name: &str,
    certificate: &str,
) -> Result<v1::ReadmitResponse, tonic::Status> {
    let mut client = enrolment(bench);
    let (_, csr_pem) = pki::key_and_csr(&host.name).expect("a key");
    let first = v1::ReadmitRequest {
        host: name.into(),
        csr_pem,
        certificate_pem: certificate.into(),
        ..v1::ReadmitRequest::default()
    };
    let challenge = client.readmit(first.clone()).await?.into_inner().challenge;
    assert!(!challenge.is_empty());
    let proof = pki::sign(&host.key, &challenge).expect("signed");
    let second = v1::ReadmitRequest { proof, challenge, ..first };
    let answer = client.readmit(second.clone()).await?.into_inner();
    let again = client.readmit(second).await.expect_err("a challenge is good once");
    assert!(again.message().contains("used already"), "{again}");
    Ok(answer)
}

#[tokio::test]
async fn a_known_key_is_readmitted_after_its_certificate_expired() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let other = Host::join(&mut bench, "h2", "svc").await;
    let expired = expired_certificate(&bench, &host, 29).await;
    let answer = readmit(&bench, &host, "h1", &expired).await.expect("readmitted");
    assert!(!answer.certificate_pem.is_empty());
    bench.wait_event("host.readmitted").await;

    let old = expired_certificate(&bench, &host, 31).await;
    let refused = readmit(&bench, &host, "h1", &old).await.expect_err("too old");
    assert!(refused.message().contains("31 days ago"), "{refused}");
    let refused = readmit(&bench, &host, "h2", &expired).await.expect_err("not its name");
    assert!(refused.message().contains("not of host h2"), "{refused}");
    let refused = readmit(&bench, &host, "h2", &other.certificate).await.expect_err("not its key");
    assert!(refused.message().contains("signature"), "{refused}");
}

/// The certificate the host would have if it had been away for some days.
async fn expired_certificate(bench: &Bench, host: &Host, days: u64) -> String {
    let certificate = std::fs::read_to_string(bench.data().join("ca.pem")).expect("the CA");
    let key = std::fs::read_to_string(bench.data().join("ca.key")).expect("the CA's key");
    let ca = pki::Ca::load(&certificate, &key.into()).expect("a CA");
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let then = std::time::SystemTime::now() - day * u32::try_from(days + 1).expect("few days");
    let csr = csr_of(host);
    ca.sign_host(&csr, &host.name, pki::Life::starting(then, day)).expect("signed")
}

/// A request over the key that the host already has.
fn csr_of(host: &Host) -> String {
    use secrecy::ExposeSecret as _;
    let key = rcgen::KeyPair::from_pem(host.key.expose_secret()).expect("its key");
    let params = rcgen::CertificateParams::default();
    params.serialize_request(&key).expect("a request").pem().expect("PEM")
}

#[tokio::test]
async fn a_removed_host_does_not_come_back_until_it_is_invited() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut session = host.open_empty(&bench).await;
    session.heartbeat().await;
    let remove = |force| v1::RemoveHostRequest { host: "h1".into(), force };
    let refused = bench.operator.remove_host(remove(false)).await.expect_err("in session");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--force"), "{refused}");
    bench.operator.remove_host(remove(true)).await.expect("removed");
    assert_eq!(session.end().await.code(), Code::PermissionDenied);
    let refused = host.dial(&bench, host.hello()).await.expect("a stream").end().await;
    assert!(refused.message().contains("was removed"), "{refused}");
    let refused = readmit(&bench, &host, "h1", &host.certificate).await.expect_err("removed");
    assert!(refused.message().contains("not part of the fleet"), "{refused}");
    let request = v1::RenewRequest { csr_pem: csr_of(&host) };
    let refused = host.client(&bench).renew(request).await.expect_err("removed");
    assert!(refused.message().contains("invite it again"), "{refused}");

    let back = Host::join(&mut bench, "h1", "svc").await;
    back.open_empty(&bench).await.heartbeat().await;
    let refused = host.dial(&bench, host.hello()).await.expect("a stream").end().await;
    assert!(refused.message().contains("not its own"), "the old key stays out: {refused}");
}

#[tokio::test]
async fn a_stranger_is_nobody() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    // A host is no operator, an operator no host.
    let channel = crate::support::channel(bench.running(), &host.identity(), &host.ca);
    let mut as_operator = v1::fleet_service_client::FleetServiceClient::new(channel);
    let refused = as_operator.get_status(v1::GetStatusRequest {}).await.expect_err("no operator");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let channel = crate::support::channel(bench.running(), &bench.credential.identity(), &host.ca);
    let mut as_host = v1::host_service_client::HostServiceClient::new(channel);
    let request = v1::RenewRequest { csr_pem: csr_of(&host) };
    let refused = as_host.renew(request).await.expect_err("no host");
    assert_eq!(refused.code(), Code::PermissionDenied);
    // A certificate of another fleet does not even get a connection.
    let other = Bench::start().await;
    let channel = crate::support::channel(bench.running(), &other.credential.identity(), &host.ca);
    let mut foreign = v1::fleet_service_client::FleetServiceClient::new(channel);
    assert!(foreign.get_status(v1::GetStatusRequest {}).await.is_err());
    let name: HostName = "h9".parse().expect("a name");
    let (_, csr_pem) = pki::key_and_csr(&name).expect("a key");
    let request = v1::JoinRequest { host: "h9".into(), token: vec![7; 32], csr_pem };
    let refused = enrolment(&bench).join(request).await.expect_err("a guessed token");
    assert!(refused.message().contains("is not known"), "{refused}");
}

#[tokio::test]
async fn who_asks_too_often_has_to_wait() {
    let bench = Bench::start().await;
    let mut client = enrolment(&bench);
    let mut codes = Vec::new();
    while codes.last() != Some(&Code::ResourceExhausted) && codes.len() < 5000 {
        let request = v1::JoinRequest { host: "h1".into(), ..v1::JoinRequest::default() };
        codes.push(client.join(request).await.expect_err("no token").code());
    }
    assert_eq!(codes.first(), Some(&Code::InvalidArgument));
    assert_eq!(codes.last(), Some(&Code::ResourceExhausted));
}
