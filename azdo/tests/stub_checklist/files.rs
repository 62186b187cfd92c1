//! The files of a registration, and how the root is found.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use crate::bench::{Bench, output};

fn json(file: &Path) -> Value {
    let bytes = std::fs::read(file).unwrap();
    let json = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or_else(|| panic!("{} has no BOM", file.display()));
    serde_json::from_slice(json).unwrap()
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn bom_in_dot_agent() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("host1-01").await;
    let found = json(&agent.root.join(".agent"));
    let wanted = serde_json::json!({
        "agentId": bench.row("host1-01").await.unwrap().id,
        "agentName": "host1-01",
        "poolId": bench.pool(),
        "poolName": "nightly",
        "serverUrl": format!("{}/", bench.url()),
        "workFolder": "_work",
    });
    assert_eq!(found, wanted, "default values are left out");
    // The fleet's own reader copes with it.
    let parsed =
        azdo::types::AgentRegistration::parse(&std::fs::read(agent.root.join(".agent")).unwrap())
            .unwrap();
    assert_eq!(parsed.agent_name, "host1-01");
}

#[tokio::test]
async fn files_and_modes() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let credentials = json(&agent.root.join(".credentials"));
    assert_eq!(credentials["scheme"], "OAuth");
    assert_eq!(credentials["data"]["authorizationUrl"], credentials["data"]["oauthEndpointUrl"]);
    let client_id = bench.row("a").await.unwrap().authorization.unwrap().client_id;
    assert_eq!(credentials["data"]["clientId"], serde_json::json!(client_id));

    let key = agent.root.join(".credentials_rsaparams");
    assert_eq!(mode(&key), 0o600, "the private key is the owner's alone");
    let key = json(&key);
    let length = |name: &str| {
        base64::engine::general_purpose::STANDARD.decode(key[name].as_str().unwrap()).unwrap().len()
    };
    assert_eq!(length("modulus"), 256, "RSA-2048");
    for name in ["d", "dp", "dq", "inverseQ", "p", "q", "exponent"] {
        assert!(length(name) > 0, "{name}");
    }

    for entry in agent.root.read_dir().unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        let text = std::fs::read(entry.path()).unwrap();
        let leaked = text.windows(bench.pat().len()).any(|part| part == bench.pat().as_bytes());
        assert!(!leaked, "{:?} holds the token", entry.file_name());
    }
}

#[tokio::test]
async fn a_symlinked_root_is_the_same_root() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let link = agent.root.with_file_name("link");
    std::fs::create_dir(&link).unwrap();
    for name in ["bin", "config.sh", "env.sh", "license.html"] {
        std::os::unix::fs::symlink(agent.root.join(name), link.join(name)).unwrap();
    }
    let mut config = agent.config("b");
    config.current_dir(&link);
    let (code, text) = output(config).await;
    assert_eq!(code, 1);
    assert!(text.contains("already configured"), "both share one .agent: {text}");
}

#[tokio::test]
async fn a_hard_linked_copy_is_a_root_of_its_own() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let copy = agent.root.with_file_name("copy");
    std::fs::create_dir_all(copy.join("bin")).unwrap();
    for name in [
        "bin/Agent.Listener",
        "bin/Agent.Worker",
        "bin/stub-version",
        "config.sh",
        "env.sh",
        "license.html",
    ] {
        std::fs::hard_link(agent.root.join(name), copy.join(name)).unwrap();
    }
    let mut config = agent.config("b");
    config.current_dir(&copy);
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "{text}");
    assert!(copy.join(".agent").exists() && bench.row("b").await.is_some());
}

#[tokio::test]
async fn a_listener_says_when_it_began_and_ended_and_its_worker_does_not() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let job = bench.queue("measured", 50);
    let mut listener = agent.listener(&["--once"]);
    listener.env("STUB_MOMENTS", "moments");
    let (code, text) = output(listener).await;
    assert_eq!((code, bench.result(job).await.as_str()), (0, "succeeded"), "{text}");
    let moments = std::fs::read_to_string(agent.root.join("moments")).unwrap();
    let lines: Vec<(i64, String)> = moments
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(at, what)| (at.parse().unwrap(), what.to_owned()))
        .collect();
    let words: Vec<&str> = lines.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(words, ["began run", "ends run"]);
    assert!(lines[1].0 - lines[0].0 >= 50_000_000, "the job lay between the two");
}
