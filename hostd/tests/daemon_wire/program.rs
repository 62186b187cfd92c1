//! The program as people and systemd meet it: arguments, exit codes, signals.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use fleet_proto::v1::{self, session_response::Message as ToHost};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    coordinator::{Coordinator, INVITE, LIMIT},
    host::NAME,
};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("agent")).expect("made");
        let place = Self { dir };
        fs::write(place.config(), place.settings()).expect("written");
        place
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("hostd.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn settings(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "data = \"{dir}/data\"\nrun = \"{dir}/run\"\nruntimes = [\"process\"]\n\
             [process]\npackage = \"{dir}/agent\"\n"
        )
    }

    fn hostd(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostd"));
        command.arg(verb).arg("--config").arg(self.config()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn join(&self, coordinator: &Coordinator, token: &str) -> Output {
        self.join_with(self.hostd("join", &[]), coordinator, token).await
    }

    async fn join_with(&self, mut join: Command, to: &Coordinator, token: &str) -> Output {
        let (enroll, pin) = (to.enroll.to_string(), to.pin());
        join.args(["--coordinator", &enroll, "--name", NAME, "--ca-pin", &pin]);
        let mut child = join.stdin(Stdio::piped()).spawn().expect("runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(token.as_bytes()).await.expect("written");
        drop(stdin);
        end(child).await
    }
}

async fn end(child: Child) -> Output {
    timeout(LIMIT, child.wait_with_output()).await.expect("it ends").expect("it ran")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What systemd would be told, one datagram after another.
async fn told(socket: &UnixDatagram, word: &str) {
    let socket = socket.try_clone().expect("cloned");
    let wanted = word.to_owned();
    let heard = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 4096];
        loop {
            let got = socket.recv(&mut buffer).expect("told in time");
            if String::from_utf8_lossy(&buffer[..got]).contains(&wanted) {
                return;
            }
        }
    });
    heard.await.expect("heard");
}

#[tokio::test]
async fn mistakes_end_with_one_clear_error_and_nothing_changed() {
    let place = Place::new();
    let output = end(place.hostd("run", &[]).spawn().expect("runs")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("agentctl host invite"), "{}", said(&output));

    let args =
        ["--coordinator", "127.0.0.1:1", "--name", NAME, "--ca-pin", "x", "--token", "secret-1"];
    let output = end(place.hostd("join", &args).spawn().expect("runs")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("invite the host anew"), "{}", said(&output));
    assert!(!said(&output).contains("secret-1"));

    fs::write(place.config(), place.settings().replace("runtimes", "runtime")).expect("written");
    let output = end(place.hostd("run", &[]).spawn().expect("runs")).await;
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("hostd.toml:3:") && text.contains("runtime"), "{text}");
    assert!(!place.data().exists());
}

#[tokio::test]
async fn a_host_joins_runs_once_and_ends_when_told() {
    let mut coordinator = Coordinator::start().await;
    let place = Place::new();
    let refused = place.join(&coordinator, "another token").await;
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    let joined = place.join(&coordinator, &format!("{INVITE}\n")).await;
    assert!(joined.status.success(), "{}", said(&joined));
    assert!(said(&joined).contains(NAME), "{}", said(&joined));

    let socket_path = place.dir.path().join("notify");
    let socket = UnixDatagram::bind(&socket_path).expect("bound");
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    let mut running = place.hostd("run", &[]);
    running.env("NOTIFY_SOCKET", &socket_path);
    let running = running.spawn().expect("runs");
    told(&socket, "READY=1").await;
    told(&socket, "WATCHDOG=1").await;
    let mut session = coordinator.session().await;
    let (hello, _) = session.begin().await;
    assert_eq!((hello.host.as_str(), hello.instance_id.len()), (NAME, 36));
    secrets_are_private(&place.data());

    let second = end(place.hostd("run", &[]).spawn().expect("runs")).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("another hostd"), "{}", said(&second));

    let again = place.hostd("join", &["--force"]);
    let joined = place.join_with(again, &coordinator, INVITE).await;
    assert_eq!(joined.status.code(), Some(1));
    assert!(said(&joined).contains("systemctl stop hostd"), "{}", said(&joined));

    let id = i32::try_from(running.id().expect("it lives")).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("signalled");
    told(&socket, "STOPPING=1").await;
    let output = end(running).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains(INVITE));
}

fn secrets_are_private(data: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(data.to_owned()), 0o700);
    for file in ["seal.key", "identity/key.pem"] {
        assert_eq!(mode(data.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_check_says_what_is_wrong_and_ends_accordingly() {
    let place = Place::new();
    let output = end(place.hostd("check", &[]).spawn().expect("runs")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("error    identity"), "{}", said(&output));
    let coordinator = Coordinator::start().await;
    let joined = place.join(&coordinator, INVITE).await;
    assert!(joined.status.success(), "{}", said(&joined));
    let checking = place.hostd("check", &[]).spawn().expect("runs");
    let output = timeout(Duration::from_secs(60), end(checking)).await.expect("in time");
    let text = said(&output);
    assert!(text.contains("ok       identity") && text.contains("ok       certificate"), "{text}");
    // The directory of the package is empty.
    assert!(text.contains("error    process"), "{text}");
}

/// As an operator meets it: `hostd check` first, then hostd itself.
#[tokio::test]
async fn a_damaged_ledger_is_a_warning_two_are_an_error_with_the_next_step() {
    let coordinator = Coordinator::start().await;
    let place = Place::new();
    let joined = place.join(&coordinator, INVITE).await;
    assert!(joined.status.success(), "{}", said(&joined));
    let ledger = place.data().join("ledger.json");
    let before = place.data().join("ledger.json.1");
    let moment = hostd_plan::Moment { at: fleet_model::At(1), boot: "b".into(), up_ms: 1 };
    let file = hostd::ledger_file::LedgerFile::within(&place.data());
    file.store_twice(&hostd_plan::Ledger::default(), &moment).expect("stored");
    let check = async || {
        let output = end(place.hostd("check", &[]).spawn().expect("runs")).await;
        let text = said(&output);
        text.lines().find(|line| line.contains(" ledger ")).unwrap_or_default().to_owned()
    };
    assert!(check().await.starts_with("ok "), "{}", check().await);

    fs::write(&ledger, "torn").expect("damaged");
    let line = check().await;
    assert!(line.starts_with("warning ") && line.contains("ledger.json.1"), "{line}");
    assert!(line.contains("the disk is sound"), "{line}");
    assert!(ledger.exists(), "a look changes nothing");

    // hostd goes on from the one before, and there are two good ones again.
    let running = place.hostd("run", &[]).spawn().expect("runs");
    let stored = async {
        while file.look().map_or(true, |found| found.warning.is_some()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, stored).await.expect("stored anew");
    let id = i32::try_from(running.id().expect("it lives")).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("signalled");
    let text = said(&end(running).await);
    assert!(text.contains("going on from the one before it"), "{text}");
    assert!(place.data().join("ledger.json.bad").exists(), "kept for whoever wants to know");

    fs::write(&ledger, "torn").expect("damaged");
    fs::write(&before, "torn").expect("damaged");
    let line = check().await;
    assert!(line.starts_with("error ") && line.contains("from a backup"), "{line}");
    let output = end(place.hostd("run", &[]).spawn().expect("runs")).await;
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    for part in ["ledger.json is not usable", "checksum", "backup", "move both away", "adopted"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ledger.exists() && before.exists(), "nothing is thrown away");
}

/// A real disk that takes nothing at the wrong moment: an order has come, and hostd may write no byte.
#[tokio::test]
async fn without_room_nothing_is_taken_and_with_room_it_goes_on_by_itself() {
    let mut coordinator = Coordinator::start().await;
    let place = Place::new();
    let joined = place.join(&coordinator, INVITE).await;
    assert!(joined.status.success(), "{}", said(&joined));
    // A write that is refused is an error of the write, as on a full disk, and no signal.
    let ignoring = r#"trap "" XFSZ; exec "$0" run --config "$1""#;
    let mut running = Command::new("sh");
    running.args(["-c", ignoring, env!("CARGO_BIN_EXE_hostd")]).arg(place.config());
    running.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = running.spawn().expect("runs");
    let id = i32::try_from(running.id().expect("it lives")).expect("a process id");
    let mut session = coordinator.session().await;
    session.begin().await;
    let order = |generation| {
        let order = fleet_model::Order::new(1, generation);
        let wanted = fleet_model::Assignment { order, ..Default::default() };
        ToHost::Assignment(wanted.into())
    };
    let applied = |report: &v1::Report| report.applied.map(|order| order.generation);
    let troubles = |report: &v1::Report| {
        let all = report.conditions.iter().map(|one| one.message.clone());
        all.filter(|message| message.contains("cannot be stored")).collect::<Vec<_>>()
    };
    session.say(order(1)).await;
    while applied(&session.report().await) != Some(1) {}

    room(id, Some(0));
    session.say(order(2)).await;
    let report = loop {
        let report = session.report().await;
        if !troubles(&report).is_empty() {
            break report;
        }
    };
    assert_eq!(applied(&report), Some(1), "not taken before it is stored");
    let said_so = &troubles(&report)[0];
    assert!(said_so.contains("nothing is started or removed"), "{said_so}");
    assert!(said_so.contains("ledger.json") && said_so.contains("too large"), "{said_so}");

    room(id, None);
    let report = loop {
        let report = session.report().await;
        if applied(&report) == Some(2) {
            break report;
        }
    };
    assert_eq!(troubles(&report), [""; 0]);
    kill(Pid::from_raw(id), Signal::SIGTERM).expect("signalled");
    assert!(end(running).await.status.success());
    let left = fs::read_dir(place.data()).expect("there").flatten();
    let new = left.filter(|entry| entry.file_name().to_string_lossy().ends_with(".new"));
    assert_eq!(new.count(), 0, "what could not be written is no litter");
}

/// How large a file a process may write; none: as large as it likes.
fn room(id: i32, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(id), Resource::Fsize, limit).expect("limited");
}
