//! Bad days: every one ends in one error with cause and next step, and the documented code.

use std::time::{Duration, SystemTime};

use fleet_proto::pki::{Ca, Life, key_and_csr};
use fleet_proto::tls::Identity;
use tonic::Status;

use crate::{
    samples::fleet,
    world::{World, shown, write_file},
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn nobody_listens() {
    let world = World::start(fleet()).await;
    // Bound and closed again: nobody listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let free = free.to_string();
    let shown = world.run(&["scale", "nightly", "1", "--endpoint", &free]).await;
    shown!(shown.replace(&free, "127.0.0.1:FREE"));
}

#[tokio::test]
async fn a_name_without_an_address() {
    let world = World::start(fleet()).await;
    let args = ["status", "--endpoint", "coordinator.invalid:7443"];
    let shown = world.run(&args).await;
    // The resolver's words differ between machines.
    assert!(shown.starts_with("exit: Some(5)"), "{shown}");
    assert!(shown.contains("coordinator.invalid:7443"), "{shown}");
}

#[tokio::test]
async fn an_expired_certificate_is_found_before_asking() {
    let world = World::start(fleet()).await;
    let life = Life::starting(SystemTime::now() - 50 * HOUR, HOUR);
    world.write_config(&world.ca.operator("ann", life).unwrap());
    shown!(world.run(&["scale", "nightly", "1"]).await);
    assert!(world.state().log.is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_fleet_is_refused() {
    let world = World::start(fleet()).await;
    let other = Ca::create("other").unwrap();
    world.write_config(&other.operator("ann", Life::of(HOUR)).unwrap());
    // More than once: the refusal is a race between the alert and the end of the connection.
    let first = world.run(&["scale", "nightly", "1"]).await;
    for _ in 0..5 {
        assert_eq!(world.run(&["scale", "nightly", "1"]).await, first);
    }
    shown!(first);
    assert!(world.state().log.is_empty());
}

#[tokio::test]
async fn a_coordinator_of_another_fleet_is_not_trusted() {
    let world = World::start(fleet()).await;
    let config = std::fs::read_to_string(world.config()).unwrap();
    let other = Ca::create("labs").unwrap();
    let foreign = config.replace(world.ca.certificate_pem(), other.certificate_pem());
    assert_ne!(foreign, config);
    write_file(&world.config(), &foreign, 0o600);
    shown!(world.run(&["status"]).await);
}

#[tokio::test]
async fn a_hosts_certificate_is_no_operators() {
    let world = World::start(fleet()).await;
    let host = "svcstr-server-2".parse().unwrap();
    let (key, csr) = key_and_csr(&host).unwrap();
    let certificate = world.ca.sign_host(&csr, &host, Life::of(HOUR)).unwrap();
    world.write_config(&Identity::new(certificate, key));
    shown!(world.run(&["status"]).await);
}

#[tokio::test]
async fn what_the_coordinator_answers_decides_the_code() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for status in [
        Status::permission_denied("operator ann may not scale pools of lab svc"),
        Status::unavailable("not the leader, and nobody is"),
        Status::failed_precondition(
            "read-only: a host knows a newer order; run `coordinator recover`",
        ),
        Status::internal("the store cannot be written: no space left on device"),
        Status::unimplemented(""),
    ] {
        world.state().refuse = Some(status);
        all += &world.run(&["scale", "nightly", "1"]).await;
    }
    shown!(all);
}

#[tokio::test]
async fn a_server_that_is_no_coordinator() {
    let world = World::start(fleet()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let shown = world.run(&["status", "--endpoint", &endpoint]).await;
    shown!(shown.replace(&endpoint, "127.0.0.1:SSH"));
}

#[tokio::test]
async fn no_credential_and_broken_ones() {
    let world = World::start(fleet()).await;
    let good = std::fs::read_to_string(world.config()).unwrap();
    let mut all = String::new();
    for (text, mode) in [
        (good.replace("operator =", "operater ="), 0o600),
        (good.clone(), 0o644),
        (good.replace("-----BEGIN CERTIFICATE-----", "-----BEGIN NOTHING-----"), 0o600),
        (good.replace("endpoint = \"127", "endpoint = \"https://127"), 0o600),
        ("endpoint = ".into(), 0o600),
    ] {
        write_file(&world.config(), &text, mode);
        all += &world.run(&["status"]).await;
    }
    std::fs::remove_file(world.config()).unwrap();
    all += &world.run(&["status"]).await;
    all += &world.run(&["status", "--config", "/nonexistent/agentctl.toml"]).await;
    shown!(all);
}

#[tokio::test]
async fn a_command_line_that_makes_no_sense_is_an_error_of_its_own() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for args in [&["scall"][..], &["scale", "nightly"], &["get", "agents", "-o", "xml"]] {
        all += &format!("$ {}\n{}", args.join(" "), world.run(args).await);
    }
    shown!(all);
}

#[tokio::test]
async fn help_is_no_error() {
    let world = World::start(fleet()).await;
    shown!(world.run(&["scale", "--help"]).await);
    assert!(world.run(&["--version"]).await.starts_with("exit: Some(0)\n--- out\nagentctl "));
}
