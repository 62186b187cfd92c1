//! The program itself: signals, systemd, a kill in mid-work.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use fleet_proto::{
    tls::{self, Identity},
    v1::{self, fleet_service_client::FleetServiceClient},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tonic::transport::Channel;

/// Only a failing test waits that long.
const LIMIT: Duration = Duration::from_secs(20);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    command
}

struct Fleet {
    dir: tempfile::TempDir,
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Fleet {
    fn init() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let fleet = Self { dir };
        let made = program()
            .args(["init", "--name", "lab", "--san", "127.0.0.1", "--data"])
            .arg(fleet.path("data"))
            .arg("--operator-out")
            .arg(fleet.path("operator.toml"))
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = format!(
            "data = {:?}\nlisten = \"127.0.0.1:0\"\nenroll_listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\nlog_format = \"json\"\n",
            fleet.path("data")
        );
        std::fs::write(fleet.path("coordinator.toml"), config).expect("written");
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon and waits until it says that it serves.
    fn run(&self, prepare: impl FnOnce(&mut Command)) -> (Daemon, String) {
        let _ = std::fs::remove_file(self.path("addresses"));
        let mut command = program();
        command.arg("run").arg("--config").arg(self.path("coordinator.toml"));
        command.arg("--print-addresses").arg(self.path("addresses"));
        command.stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("serving")), "it never served");
        // The rest of the log is read so that the daemon never waits for us.
        std::thread::spawn(move || lines.count());
        let text = std::fs::read_to_string(self.path("addresses")).expect("addresses");
        let json: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        (Daemon(child), json["listen"].as_str().expect("an address").to_owned())
    }

    fn operator(&self, address: &str) -> FleetServiceClient<Channel> {
        let text = std::fs::read_to_string(self.path("operator.toml")).expect("a credential");
        let file: toml::Table = text.parse().expect("TOML");
        let get = |key: &str| file[key].as_str().expect(key).to_owned();
        let identity = Identity::new(get("certificate"), get("key").into());
        let config = tls::client_config(&identity, &get("ca")).expect("a client");
        let config = Arc::new(ArcSwap::new(config));
        FleetServiceClient::new(tls::channel(address, "127.0.0.1", config, None).expect("one"))
    }
}

fn signal(daemon: &Daemon, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(daemon.0.id()).expect("a pid"));
    kill(pid, signal).expect("it is there");
}

fn exit_code(mut daemon: Daemon) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = daemon.0.try_wait().expect("a child") {
            return status.code();
        }
        assert!(started.elapsed() < LIMIT, "it does not end");
        std::thread::yield_now();
    }
}

#[test]
fn both_polite_signals_end_it_well() {
    let fleet = Fleet::init();
    for polite in [Signal::SIGTERM, Signal::SIGINT] {
        let (daemon, _) = fleet.run(|_| {});
        signal(&daemon, polite);
        assert_eq!(exit_code(daemon), Some(0), "{polite}");
    }
}

#[test]
fn systemd_is_told_ready_alive_and_stopping() {
    let fleet = Fleet::init();
    let path = fleet.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    let (daemon, _) = fleet.run(|command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    });
    let wait_for = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let count = socket.recv(&mut buffer).expect(word);
            if String::from_utf8_lossy(&buffer[..count]).contains(word) {
                return;
            }
        }
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    wait_for("WATCHDOG=1");
    signal(&daemon, Signal::SIGTERM);
    wait_for("STOPPING=1");
    assert_eq!(exit_code(daemon), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_in_mid_scale() {
    let fleet = Fleet::init();
    let (mut daemon, address) = fleet.run(|_| {});
    let mut operator = fleet.operator(&address);
    operator.create_pool(pool()).await.expect("created");
    let (mut acknowledged, mut order) = (0, None);
    for round in 1..=4 {
        // Orders are given as fast as they are taken; the kill comes in the middle of them.
        let victim = std::thread::spawn({
            let pid = Pid::from_raw(i32::try_from(daemon.0.id()).expect("a pid"));
            let wait = Duration::from_millis(40 * round);
            move || {
                let started = Instant::now();
                while started.elapsed() < wait {
                    std::thread::yield_now();
                }
                kill(pid, Signal::SIGKILL).expect("killed");
            }
        });
        for replicas in acknowledged + 1.. {
            let request = v1::ScaleRequest {
                pool: "nightly".into(),
                replicas,
                ..v1::ScaleRequest::default()
            };
            match operator.scale(request).await {
                Ok(done) => {
                    acknowledged = replicas;
                    order = done.into_inner().order;
                }
                Err(_) => break,
            }
        }
        victim.join().expect("it killed");
        drop(daemon);
        let address;
        (daemon, address) = fleet.run(|_| {});
        operator = fleet.operator(&address);
        let status = operator.get_status(v1::GetStatusRequest {}).await.expect("it is back");
        let status = status.into_inner();
        let desired = status.pools[0].counts.as_ref().map(|c| i64::from(c.desired)).expect("it");
        // The one that was under way may have been stored without an answer; nothing else.
        assert!((acknowledged..=acknowledged + 1).contains(&desired), "{desired}, {acknowledged}");
        let known = |order: &v1::Order| (order.term, order.generation);
        assert!(status.order.as_ref().map(known) >= order.as_ref().map(known));
        acknowledged = desired;
    }
    assert!(acknowledged >= 4, "every round did something");
}

fn pool() -> v1::CreatePoolRequest {
    let image = "fleet-agent:demo".parse().expect("an image");
    let spec = fleet_model::PoolSpec::single(
        "nightly".parse().expect("a pool"),
        fleet_model::AzureTarget { url: "http://127.0.0.1:1/x".into(), pool: "nightly".into() },
        "nightly".parse().expect("a credential"),
        "lab=svc".parse().expect("a selector"),
        fleet_model::Template::docker(image, fleet_model::Mode::Once),
    );
    let spec = Some(spec.expect("a prefix").into());
    v1::CreatePoolRequest { spec, secret: b"token".to_vec(), secret_expires: None }
}

#[test]
fn a_broken_setting_is_one_clear_error() {
    let fleet = Fleet::init();
    std::fs::write(fleet.path("coordinator.toml"), "listen = \"here\"\n").expect("written");
    let failed = program()
        .args(["run", "--config"])
        .arg(fleet.path("coordinator.toml"))
        .output()
        .expect("it runs");
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("coordinator.toml:1:") && said.contains("listen"), "{said}");
}

#[test]
fn a_backup_of_a_running_fleet_is_a_fleet() {
    let fleet = Fleet::init();
    let (daemon, _) = fleet.run(|_| {});
    let backup = |to: &Path| {
        program().arg("backup").arg("--data").arg(fleet.path("data")).arg("--to").arg(to).output()
    };
    let done = backup(&fleet.path("backup")).expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let again = backup(&fleet.path("backup")).expect("it runs");
    assert_eq!(again.status.code(), Some(1), "a backup is never overwritten");
    signal(&daemon, Signal::SIGTERM);
    assert_eq!(exit_code(daemon), Some(0));
    std::fs::rename(fleet.path("data"), fleet.path("lost")).expect("lost");
    std::fs::rename(fleet.path("backup"), fleet.path("data")).expect("restored");
    let recovered = program().args(["recover", "--data"]).arg(fleet.path("data")).output();
    let recovered = recovered.expect("it runs");
    assert!(recovered.status.success());
    assert!(String::from_utf8_lossy(&recovered.stdout).contains("orders go on at 2.0"));
    let (daemon, _) = fleet.run(|_| {});
    signal(&daemon, Signal::SIGTERM);
    assert_eq!(exit_code(daemon), Some(0));
}
