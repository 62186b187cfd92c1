//! Microsoft's own Python client against the simulator: pools, agents, queues, typed errors.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "every test file uses another part")]
mod sim_support;

use std::process::Stdio;
use std::time::Duration;

use sim_support::{Actor, EXPIRED, MANAGER, NOBODY, READER, job, start};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");

async fn python() -> String {
    let output = Command::new("sh").arg(format!("{HERE}/venv.sh")).output();
    let output = tokio::time::timeout(Duration::from_secs(300), output)
        .await
        .expect("venv.sh ends")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "no Python client: {said}\ninstall it with: apt-get install python3 python3-venv"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn microsofts_python_client_accepts_the_simulator() {
    let python = python().await;
    let sim = start().await;
    sim.add_pool("crowded");
    let done = Actor::online(&sim, "crowded", "done").await;
    sim.queue("crowded", job(1)).unwrap();
    let request = done.take_job().await;
    assert_eq!(done.finish(request, "failed").await.status, 200);
    done.close().await;
    let busy = Actor::online(&sim, "crowded", "busy").await;
    sim.queue("crowded", job(1)).unwrap();
    busy.take_job().await;

    let mut judge = Command::new(python)
        .args([&format!("{HERE}/judge.py"), &sim.base_url()])
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let tokens = format!("{MANAGER}\n{READER}\n{NOBODY}\n{EXPIRED}\n");
    judge.stdin.take().unwrap().write_all(tokens.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), judge.wait_with_output())
        .await
        .expect("the judge ends")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "{said}");
}
