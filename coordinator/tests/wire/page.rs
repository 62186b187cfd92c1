//! The page for machines, and gRPC health.

use fleet_proto::v1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    host::Host,
    support::{Bench, NO_AZURE, channel},
};

async fn get(bench: &Bench, path: &str) -> String {
    let mut stream =
        TcpStream::connect(bench.running().addresses.http_listen).await.expect("there");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn figures_say_how_the_fleet_is() {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    bench.scale("nightly", 3).await.expect("scaled");
    let _session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    let page = get(&bench, "/metrics").await;
    for line in [
        "fleet_build_info{version=",
        "fleet_pool_desired{pool=\"nightly\"} 3",
        "fleet_pool_agents{pool=\"nightly\",state=\"idle\"} 0",
        "fleet_hosts{state=\"ready\"} 1",
        "fleet_state{what=\"sessions\"} 1",
        "fleet_store_commit_seconds_count",
        "fleet_enrolments_total{what=\"join\",result=\"ok\"} 1",
        "fleet_azure_calls_total{call=\"pool\",result=\"unreachable\"}",
        "# EOF",
    ] {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    let health = get(&bench, "/healthz").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"), "{health}");
}

#[tokio::test]
async fn grpc_health_answers_on_the_main_port() {
    let bench = Bench::start().await;
    let credential = &bench.credential;
    let channel = channel(bench.running(), &credential.identity(), &credential.ca);
    let request = HealthCheckRequest { service: "fleet.v1.FleetService".into() };
    let answer = HealthClient::new(channel).check(request).await.expect("healthy").into_inner();
    assert_eq!(answer.status, 1, "SERVING");
}
