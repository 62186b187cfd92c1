//! Real handshakes: who is let in, who is not, and what happens when certificates change.

use std::{sync::Arc, time::Duration};

use crate::support::*;
use arc_swap::ArcSwap;
use fleet_proto::{
    exit::Exit,
    logging::Report,
    pki::{self, Life},
    tls::{self, Identity, Trouble},
    v1::{self, host_service_client::HostServiceClient},
};
use rustls::{HandshakeKind, pki_types::ServerName};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;

/// Far above what anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_shows_a_certificate_of_the_fleet_is_known_by_its_name() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let life = Life::of(DAY);
    let h1 = client(&host_identity(&ca, "h1", life), &ca);
    assert_eq!(who(server.channel(h1)).await.expect("let in"), "host h1");
    let ann = client(&ca.operator("ann", life).expect("made"), &ca);
    assert_eq!(who(server.channel(ann)).await.expect("let in"), "operator ann");
}

#[tokio::test]
async fn who_does_not_is_kept_out() {
    let (ca, other) = (ca(), crate::support::ca());
    let server = Server::mutual(&ca).await;
    let life = Life::of(DAY);
    let anonymous = tls::client_config_anonymous(ca.certificate_pem()).expect("a configuration");
    for (why, config) in [
        ("none was shown", anonymous),
        // Its CA has the very name of ours.
        ("not from its fleet's CA", client(&host_identity(&other, "h1", life), &ca)),
        ("has expired", client(&host_identity(&ca, "h1", past()), &ca)),
        ("not one for a client", client(&server_identity(&ca), &ca)),
    ] {
        let answer = timeout(LIMIT, who(server.channel(config))).await.expect("an answer in time");
        match Trouble::of(&answer.expect_err(why)) {
            Trouble::Refused(text) => assert!(text.contains(why), "{text:?} should say {why:?}"),
            // The reset may overtake the alert; then the text leads to the server's log.
            Trouble::Lost(text) => assert!(text.contains("certificate"), "{text}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_refuses_a_server_that_is_not_the_coordinator() {
    let (ca, other) = (ca(), crate::support::ca());
    let h1 = client(&host_identity(&ca, "h1", Life::of(DAY)), &ca);
    let names = ["elsewhere.test".to_owned()];
    for (case, identity) in [
        ("not from this fleet's CA", server_identity(&other)),
        ("for another name", ca.server_certificate(&names, Life::of(DAY)).expect("made")),
        ("has expired", ca.server_certificate(&[NAME.to_owned()], past()).expect("made")),
        ("not one for a server", host_identity(&ca, "h2", Life::of(DAY))),
    ] {
        let config = tls::server_config_mutual(&identity, ca.certificate_pem());
        let server = Server::start(config.expect("a configuration")).await;
        let error = who(server.channel(Arc::clone(&h1))).await.expect_err(case);
        let Trouble::Untrusted(why) = Trouble::of(&error) else { panic!("{case}: {error:?}") };
        assert!(why.contains(case) && why.contains(&server.address), "{why:?} should say {case:?}");
        assert_eq!(Exit::of(&error), Exit::Refused);
    }
}

#[tokio::test]
async fn certificates_change_on_both_sides_without_dropping_an_open_stream() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let life = Life::of(DAY);
    let config = Arc::new(ArcSwap::from(client(&host_identity(&ca, "h1", life), &ca)));
    let channel = server.channel_through(Arc::clone(&config), None);
    let (say, messages) = mpsc::channel(1);
    let mut host = HostServiceClient::new(channel.clone());
    let mut answers =
        host.session(ReceiverStream::new(messages)).await.expect("a session").into_inner();
    let before = serial_shown(&server, &config).await;

    let fresh = tls::server_config_mutual(&server_identity(&ca), ca.certificate_pem());
    server.config.store(fresh.expect("a configuration"));
    config.store(client(&host_identity(&ca, "h2", life), &ca));

    say.send(v1::SessionRequest::default()).await.expect("the stream is open");
    let answer = timeout(LIMIT, answers.message()).await.expect("in time");
    answer.expect("the stream goes on").expect("it has not ended");
    assert_eq!(who(channel).await.expect("the open connection"), "host h1");
    let after = serial_shown(&server, &config).await;
    assert_ne!(before, after, "a new connection sees the new certificate");
    let renewed = who(server.channel_through(config, None)).await;
    assert_eq!(renewed.expect("a new connection"), "host h2");
}

/// Serial of the certificate that the server shows to a new connection.
async fn serial_shown(server: &Server, config: &ArcSwap<rustls::ClientConfig>) -> String {
    let tcp = TcpStream::connect(&server.address).await.expect("connected");
    let name = ServerName::try_from(NAME).expect("a name");
    let tls = TlsConnector::from(config.load_full()).connect(name, tcp).await.expect("trusted");
    let chain = tls.get_ref().1.peer_certificates().expect("shown");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("a certificate");
    leaf.raw_serial_as_string()
}

#[tokio::test]
async fn the_first_contact_trusts_the_pinned_ca_and_only_it() {
    let (ca, other) = (ca(), crate::support::ca());
    let pin = ca.fingerprint().expect("a pin");
    let serve = async |identity: &Identity| {
        Server::start(tls::server_config_plain(identity).expect("a configuration")).await
    };
    let pinned = |pin: &str| tls::client_config_pinned(pin).expect("a pin");

    let genuine = serve(&server_identity(&ca)).await;
    let answer = who(genuine.channel(pinned(&pin.to_uppercase()))).await.expect("trusted");
    assert_eq!(answer, "the connection shows no certificate");

    let foreign = serve(&server_identity(&other)).await;
    let error = who(foreign.channel(pinned(&pin))).await.expect_err("another CA");
    let report = Report(&error).to_string();
    assert!(report.contains("no CA with the pin") && report.contains(&pin), "{report}");

    // Somebody in between who sends the genuine CA's certificate along with his own.
    let other_leaf = server_identity(&other);
    let chain = other_leaf.chain_pem().to_owned() + ca.certificate_pem();
    let liar = serve(&Identity::new(chain, other_leaf.key_pem().clone())).await;
    let error = who(liar.channel(pinned(&pin))).await.expect_err("not signed by the pinned CA");
    let report = Report(&error).to_string();
    assert!(report.contains("not from this fleet's CA"), "{report}");

    // Nor is the pin of the server's own certificate that of a CA.
    let leaf_pin = pki::fingerprint(server_identity(&ca).chain_pem()).expect("a fingerprint");
    assert!(who(genuine.channel(pinned(&leaf_pin))).await.is_err());
    for bad in ["", "abc", &"g".repeat(64)] {
        assert!(tls::client_config_pinned(bad).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn the_enrolment_port_asks_for_no_certificate() {
    let ca = ca();
    let config = tls::server_config_plain(&server_identity(&ca)).expect("a configuration");
    let server = Server::start(config).await;
    let known = tls::client_config_anonymous(ca.certificate_pem()).expect("a configuration");
    let answer = who(server.channel(known)).await.expect("let in");
    assert_eq!(answer, "the connection shows no certificate");
}

#[tokio::test]
async fn silent_clients_stall_nobody() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&server.address).await.expect("connected"));
    }
    let h1 = client(&host_identity(&ca, "h1", Life::of(DAY)), &ca);
    let answer = timeout(Duration::from_secs(4), who(server.channel(h1))).await;
    assert_eq!(answer.expect("before the silent ones are given up").expect("let in"), "host h1");
}

/// On a paused clock, time runs on as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_after_five_seconds() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let begin = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(&server.address).await.expect("connected");
    let read = silent.read(&mut [0; 8]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let waited = begin.elapsed();
    assert!((5..7).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn a_cancelled_server_takes_no_more_connections() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let h1 = client(&host_identity(&ca, "h1", Life::of(DAY)), &ca);
    let open = server.channel(Arc::clone(&h1));
    who(open.clone()).await.expect("let in");
    server.shutdown.cancel();
    let closed = async {
        while TcpStream::connect(&server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, closed).await.expect("the port is closed");
    let error = who(server.channel(h1)).await.expect_err("nobody listens");
    assert!(matches!(Trouble::of(&error), Trouble::Unreachable(_)), "{error:?}");
    assert_eq!(Exit::of(&error), Exit::Unreachable);
    assert_eq!(who(open).await.expect("open connections end by themselves"), "host h1");
}

#[tokio::test]
async fn older_protocols_are_refused() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = ca.certificate_pem().as_bytes();
    let anchor = rustls::pki_types::pem::PemObject::from_pem_slice(pem);
    roots.add(anchor.expect("a certificate")).expect("an anchor");
    let old = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("known to the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let error = who(server.channel(Arc::new(old))).await.expect_err("TLS 1.2");
    let Trouble::Refused(why) = Trouble::of(&error) else { panic!("{error:?}") };
    assert!(why.contains("ProtocolVersion"), "{why}");
}

/// Even for a client that would like to come back without showing its certificate.
#[tokio::test]
async fn nothing_is_resumed() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let h1 = client(&host_identity(&ca, "h1", Life::of(DAY)), &ca);
    let mut eager = Arc::unwrap_or_clone(h1);
    eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let eager = Arc::new(eager);
    // A whole call, so that a ticket would have been read.
    who(server.channel(Arc::clone(&eager))).await.expect("let in");
    let tcp = TcpStream::connect(&server.address).await.expect("connected");
    let name = ServerName::try_from(NAME).expect("a name");
    let tls = TlsConnector::from(eager).connect(name, tcp).await.expect("trusted");
    assert_eq!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
}

/// The subscriber is the thread's own; the server's tasks run on the same thread.
#[tokio::test]
async fn the_server_logs_who_was_refused_and_why() {
    let (lines, log) = std::sync::mpsc::channel();
    let writer = move || Lines(lines.clone());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let expired = client(&host_identity(&ca, "h1", past()), &ca);
    let tcp = TcpStream::connect(&server.address).await.expect("connected");
    let port = tcp.local_addr().expect("bound").port();
    let name = ServerName::try_from(NAME).expect("a name");
    let connected = TlsConnector::from(expired).connect(name, tcp).await;
    let refused = async {
        // The client may believe itself connected; the first read tells it otherwise.
        match connected {
            Ok(mut tls) => tls.read(&mut [0; 8]).await,
            Err(error) => Err(error),
        }
    };
    assert!(!matches!(timeout(LIMIT, refused).await.expect("in time"), Ok(1..)));
    let line = String::from_utf8(log.try_iter().flatten().collect()).expect("text");
    assert!(line.contains("connection refused") && line.contains("certificate expired"), "{line}");
    assert!(line.contains(&format!("peer=127.0.0.1:{port}")), "{line}");
}

/// Hands on what is logged.
struct Lines(std::sync::mpsc::Sender<Vec<u8>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
