//! The binary `azdo-sim` as scripts use it.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(20);

struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

fn sim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_azdo-sim"));
    // A lab server may have no CA certificates; plain HTTP must work there too.
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    command.kill_on_drop(true);
    command
}

async fn serve(tokens: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("tokens"), tokens).unwrap();
    std::fs::write(file("vsts-agent-linux-x64-4.260.0.tar.gz"), "x").unwrap();
    let mut child = sim()
        .args(["serve", "--listen", "127.0.0.1:0", "--pool", "nightly", "--pool", "nightly-svc"])
        .args(["--delivery-lag-min", "0s", "--delivery-lag-max", "0s", "--session-expiry", "90s"])
        .arg("--pat-file")
        .arg(file("tokens"))
        .arg("--addr-file")
        .arg(file("address"))
        .arg("--journal")
        .arg(file("journal"))
        .arg("--package")
        .arg(file("vsts-agent-linux-x64-4.260.0.tar.gz"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let serving = async {
        while !lines.next_line().await.unwrap().expect("it serves").contains("serving") {}
    };
    tokio::time::timeout(LIMIT, serving).await.unwrap();
    let address = std::fs::read_to_string(file("address")).unwrap().trim().to_owned();
    Server { child, address, folder }
}

impl Server {
    async fn run(&self, args: &[&str]) -> Output {
        let output = sim().args(args).env("AZDO_SIM", &self.address).output();
        tokio::time::timeout(LIMIT, output).await.unwrap().unwrap()
    }

    /// What a verb that succeeds prints.
    async fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a verb that fails says.
    async fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/fabrikam/_apis/{path}", self.address);
        let request =
            client.get(url).basic_auth("", Some(token)).header("X-TFS-FedAuthRedirect", "Suppress");
        request.send().await.unwrap().status().as_u16()
    }
}

fn journal(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("journal")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn jobs_are_queued_listed_cancelled_and_counted() {
    let mut server = serve("t").await;
    // With no agent at all the job fails at once.
    let id = server.ok(&["queue", "--pool", "nightly", "--count", "2", "--name", "lonely"]).await;
    assert_eq!(id.lines().count(), 2);
    let jobs = server.ok(&["jobs", "--pool", "nightly"]).await;
    assert!(jobs.contains("lonely") && jobs.contains("failed"), "{jobs}");
    let summary = server.ok(&["journal", "--summary"]).await;
    assert!(summary.contains("0 queued, 0 running, 0 succeeded, 2 failed"), "{summary}");
    assert!(server.ok(&["journal"]).await.contains("jobQueued"));
    server.ok(&["journal", "--mark", "from here"]).await;
    assert!(server.ok(&["journal", "--summary"]).await.contains("0 failed"));
    let finished = id.lines().next().unwrap();
    let said = server.refused(&["jobs", "--cancel", finished]).await;
    assert!(said.contains("has finished"), "{said}");
    assert!(server.ok(&["rows"]).await.starts_with("POOL"));

    // A clean end: by signal, with success, and nothing of the journal missing in the file.
    let pid = server.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(LIMIT, server.child.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    let kinds: Vec<String> =
        journal(server.folder.path()).iter().map(|e| e["kind"].to_string()).collect();
    assert_eq!(kinds.iter().filter(|k| *k == "\"jobQueued\"").count(), 2, "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("\"mark\""));
}

#[tokio::test]
async fn tokens_come_by_file_and_can_expire_and_be_forgotten() {
    let server =
        serve("# for the demo\nmanager-token\n\nreader-token role=reader name=bob\n").await;
    let file = server.folder.path().join("more");
    std::fs::write(&file, "late-token role=none\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(server.status("late-token", "distributedtask/pools").await, 401);
    server.ok(&["set", "pat", file]).await;
    assert_eq!(server.status("late-token", "distributedtask/pools").await, 403);
    std::fs::write(file, "reader-token\n").unwrap();
    assert_eq!(server.status("reader-token", "distributedtask/pools").await, 200);
    server.ok(&["set", "expire-pat", file]).await;
    assert_eq!(server.status("reader-token", "distributedtask/pools").await, 401);
    server.ok(&["set", "revoke-pat", file]).await;
    assert!(server.refused(&["set", "revoke-pat", file]).await.contains("token"));
    assert_eq!(server.status("manager-token", "distributedtask/packages/agent").await, 200);
    let journal = std::fs::read_to_string(server.folder.path().join("journal")).unwrap();
    assert!(!journal.contains("-token"), "no token in the journal");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_trouble() {
    let server = serve("t").await;
    for verb in [["rows"].as_slice(), &["journal"], &["journal", "--summary", "--json"]] {
        server.ok(&["queue", "--pool", "nightly"]).await;
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sim();
        command.args(verb).env("AZDO_SIM", &server.address).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output();
        let output = tokio::time::timeout(LIMIT, output).await.unwrap().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{verb:?}: {output:?}");
    }
}

#[tokio::test]
async fn faults_and_limits_are_set_and_cleared() {
    let server = serve("t").await;
    server
        .ok(&[
            "fault",
            "set",
            "--path",
            "/_apis/distributedtask",
            "--status",
            "503",
            "--retry-after-s",
            "9",
        ])
        .await;
    assert!(server.ok(&["fault", "list"]).await.contains("503"));
    assert_eq!(server.status("t", "distributedtask/pools").await, 503);
    assert_eq!(server.status("t", "connectionData").await, 200);
    server.ok(&["fault", "clear"]).await;
    assert_eq!(server.status("t", "distributedtask/pools").await, 200);
    server.ok(&["set", "limits", "--parallel-jobs", "2", "--busy-delete", "obey"]).await;
    server.ok(&["set", "pool", "made here"]).await;
    assert!(server.ok(&["journal", "--summary"]).await.contains("made here"));
    server.ok(&["set", "clock", "3600"]).await;
    for bad in [
        ["set", "kill-session", "--pool", "nightly", "--agent", "nobody"].as_slice(),
        &["queue", "--pool", "no such pool"],
        &["set", "update", "--pool", "nightly", "--agent", "nobody", "--version", "4.1.0"],
    ] {
        let said = server.refused(bad).await;
        assert!(said.starts_with("azdo-sim: No ") && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = file("tokens", "good\nsecret-one role=king\n");
    let package = file("agent.tar.gz", "x");
    let cases = [
        (vec!["--pat-file", &tokens], "tokens line 2: unknown word \"role=king\""),
        (vec!["--package", &package], "the name must be vsts-agent-PLATFORM-VERSION.tar.gz"),
        (vec!["--listen", "127.0.0.1:nonsense"], "cannot listen on 127.0.0.1:nonsense"),
        (
            vec!["--journal", "/nonexistent/journal"],
            "cannot append to journal /nonexistent/journal",
        ),
    ];
    for (args, wanted) in cases {
        let listen: &[&str] =
            if args[0] == "--listen" { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut command = sim();
        command.arg("serve").args(listen).args(&args);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(wanted), "{said}");
        assert!(!said.contains("secret-one"), "{said}");
    }
}
