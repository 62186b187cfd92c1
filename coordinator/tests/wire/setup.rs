//! `init`, `operator` and starting.

use std::os::unix::fs::PermissionsExt as _;

use coordinator::{
    init::{InitError, init, operator},
    run::Running,
};
use fleet_proto::v1;

use crate::support::{Bench, Credential, new_fleet, operator_of};

#[tokio::test]
async fn a_new_fleet_is_private_and_its_operator_gets_in() {
    let mut bench = Bench::start().await;
    for file in ["ca.key", "seal.key", "fleet.db"] {
        let mode = std::fs::metadata(bench.data().join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let status = bench.status().await;
    assert_eq!((status.fleet.as_str(), status.read_only.as_str()), ("lab", ""));
    assert_eq!(status.order, Some(v1::Order { term: 1, generation: 0 }));
    let credential = &bench.credential;
    assert_eq!(credential.endpoint, "127.0.0.1:7443");
    assert_eq!(
        (credential.server_name.as_str(), credential.operator.as_str()),
        ("127.0.0.1", "ann")
    );
    assert_eq!(credential.fleet, "lab");
    let mode = std::fs::metadata(bench.dir().join("operator.toml")).expect("it").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_fleet_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut new = new_fleet(dir.path());
    init(&new).await.expect("a new fleet");
    let before = std::fs::read(new.data.join("ca.key")).expect("a key");
    new.operator_out = dir.path().join("other.toml");
    let error = init(&new).await.expect_err("it is there");
    assert!(matches!(error, InitError::Exists { .. }), "{error}");
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(before, std::fs::read(new.data.join("ca.key")).expect("a key"));
    assert!(!new.operator_out.exists(), "nothing half done");
}

#[tokio::test]
async fn a_failed_init_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut new = new_fleet(dir.path());
    new.sans = vec!["not a name".into()];
    init(&new).await.expect_err("a bad name");
    assert!(!new.data.exists());
    new.sans = vec!["127.0.0.1".into()];
    std::fs::write(&new.operator_out, "mine").expect("written");
    let error = init(&new).await.expect_err("the file is taken");
    assert!(matches!(error, InitError::CredentialExists(_)), "{error}");
    assert_eq!(std::fs::read(&new.operator_out).expect("kept"), b"mine");
    // The credential cannot be placed: what was placed before it goes again.
    new.operator_out = "/proc/nowhere/operator.toml".into();
    init(&new).await.expect_err("no such place");
    let left: Vec<_> = std::fs::read_dir(&new.data)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    new.operator_out = dir.path().join("second.toml");
    init(&new).await.expect("and then it works");
}

#[tokio::test]
async fn one_directory_is_one_coordinator() {
    let bench = Bench::start().await;
    let error = Running::start(bench.config.clone()).await.err().expect("it is in use");
    assert!(error.to_string().contains("in use by a running coordinator"), "{error}");
    let mut config = bench.config.clone();
    config.data = bench.dir().join("empty");
    let error = Running::start(config).await.err().expect("no fleet there");
    assert!(error.to_string().contains("coordinator init"), "{error}");
}

#[tokio::test]
async fn another_operator_gets_a_credential_of_its_own() {
    let bench = Bench::start().await;
    let out = bench.dir().join("bob.toml");
    operator(&bench.data(), "bob", &out, Some("fleet.example:9")).await.expect("made");
    let bob = Credential::read(&out);
    assert_eq!(bob.endpoint, "fleet.example:9");
    let mut client = operator_of(bench.running(), &bob);
    let request = v1::InviteHostRequest {
        host: "h1".into(),
        lab: "svc".into(),
        ..v1::InviteHostRequest::default()
    };
    client.invite_host(request).await.expect("he may");
    let mut bench = bench;
    let event = bench.wait_event("host.invited").await;
    assert_eq!((event.actor.as_str(), event.host.as_str()), ("bob", "h1"));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let bench = Bench::start().await;
    let other = tempfile::tempdir().expect("a directory");
    let new = new_fleet(other.path());
    init(&new).await.expect("a new fleet");
    let mut config = bench.config.clone();
    config.data = new.data;
    config.listen = bench.running().addresses.listen;
    let error = Running::start(config).await.err().expect("it is taken").to_string();
    assert!(error.contains("listen") && error.contains("127.0.0.1"), "{error}");
}
