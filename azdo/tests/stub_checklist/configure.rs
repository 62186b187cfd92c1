//! `config.sh`: its forms, its console, its errors, and the one that never ends.

use std::path::Path;

use crate::bench::{Bench, output};
use crate::process::Process;

#[tokio::test]
async fn config_sh_says_the_real_one_s_lines_in_order() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let (code, text) = output(agent.config("a")).await;
    assert_eq!(code, 0, "{text}");
    let wanted = [
        ">> Connect:",
        "Connecting to server ...",
        ">> Register Agent:",
        "Scanning for tool capabilities.",
        "Connecting to the server.",
        "Successfully added the agent",
        "Testing agent connection.",
        "Settings Saved.",
    ];
    let mut said: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let saved = said.pop().unwrap();
    assert!(is_stamped(saved, "Settings Saved."), "{saved}");
    assert_eq!(said, wanted[..7]);
}

/// `2026-01-10 12:21:51Z: text`
pub(crate) fn is_stamped(line: &str, text: &str) -> bool {
    line.strip_suffix(text)
        .and_then(|stamp| stamp.strip_suffix(": "))
        .is_some_and(|stamp| jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%SZ", stamp).is_ok())
}

#[tokio::test]
async fn flags_may_be_written_in_any_case() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.command("sh");
    config.arg("config.sh").args(agent.config_arguments("a").map(|a| match a.strip_prefix("--") {
        Some(flag) => format!("--{}", flag.to_ascii_uppercase()),
        None => a,
    }));
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "{text}");
    assert!(bench.row("a").await.is_some());
}

#[tokio::test]
async fn every_flag_has_an_environment_form() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.command("sh");
    config
        .arg("config.sh")
        .env("VSTS_AGENT_INPUT_UNATTENDED", "true")
        .env("VSTS_AGENT_INPUT_TOKEN", bench.pat());
    for (name, value) in [
        ("URL", bench.url()),
        ("AUTH", "pat".into()),
        ("POOL", "nightly".into()),
        ("AGENT", "e".into()),
    ] {
        config.env(format!("VSTS_AGENT_INPUT_{name}"), value);
    }
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "{text}");
    let row = bench.row("e").await.unwrap();
    let leaked = row
        .system_capabilities
        .keys()
        .find(|name| name.to_ascii_uppercase().starts_with("VSTS_AGENT_INPUT"));
    assert_eq!(leaked, None, "inputs leave the environment when they are read");

    let job = bench.queue("j", 0);
    let mut run = agent.command("sh");
    run.arg("run.sh").env("VSTS_AGENT_INPUT_ONCE", "true");
    let (code, text) = output(run).await;
    assert_eq!(code, 0, "once came by environment: {text}");
    let record = bench.job(job).await.record.unwrap();
    assert!(record.env.iter().any(|name| name == "TF_BUILD"));
    assert!(
        !record.env.iter().any(|name| name.starts_with("VSTS_AGENT_INPUT")),
        "the worker inherits none"
    );
}

#[tokio::test]
async fn a_missing_value_ends_an_unattended_configuration() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.command("sh");
    config.args(["config.sh", "--unattended", "--auth", "pat", "--token", "x"]);
    let (code, text) = output(config).await;
    assert_eq!(code, 1);
    assert!(
        text.contains(
            "Invalid configuration provided for url. Terminating unattended configuration."
        ),
        "{text}"
    );
}

#[tokio::test]
async fn errors_of_the_configuration_are_the_real_one_s() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.command("sh");
    config
        .arg("config.sh")
        .args(agent.config_arguments("a").map(|a| a.replace("nightly", "absent")));
    let (code, text) = output(config).await;
    assert_eq!(code, 1);
    assert!(text.contains("Agent pool not found: 'absent'"), "{text}");

    let mut config = agent.command("sh");
    config
        .arg("config.sh")
        .args(agent.config_arguments("a").map(|a| a.replace(&bench.pat(), "wrong")));
    let (code, text) = output(config).await;
    assert_eq!(code, 1);
    assert!(text.contains("VS30063: You are not authorized to access"), "{text}");

    let mut config = agent.config("a");
    config.args(["--agentt", "s3cret"]);
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "an unknown flag is only warned about: {text}");
    assert!(text.contains("--agentt") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn already_configured_and_exists_errors() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let mut again = agent.config("b");
    again.arg("--replace");
    let (code, text) = output(again).await;
    assert_eq!(code, 1, "--replace does not help");
    assert!(
        text.contains("Cannot configure the agent because it is already configured."),
        "{text}"
    );

    let other = bench.install();
    let (code, text) = output(other.config("a")).await;
    assert_eq!(code, 1);
    let pool = bench.pool();
    assert!(
        text.contains(&format!("Pool {pool} already contains an agent with name a.")),
        "{text}"
    );
}

#[tokio::test]
async fn replace_keeps_id_flag_and_user_capabilities() {
    let bench = Bench::start().await;
    bench.install().configured("a").await;
    bench.mark("a", "user", "kept").await;
    bench.disable("a").await;
    let before = bench.row("a").await.unwrap();

    let mut config = bench.install().config("a");
    config.arg("--replace");
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Successfully replaced the agent"), "{text}");
    let after = bench.row("a").await.unwrap();
    assert_eq!((after.id, after.enabled), (before.id, false));
    assert_eq!(after.user_capabilities, before.user_capabilities);
    assert_ne!(client_id(&after), client_id(&before), "another key is another client");
}

#[tokio::test]
async fn endless_config_loop_on_403() {
    let bench = Bench::start().await;
    bench.install().configured("a").await;
    let agent = bench.install();
    let mut config = agent.command("sh");
    // May read rows, may not change them.
    let arguments =
        agent.config_arguments("a").map(|a| a.replace(&bench.pat(), &bench.reader_pat()));
    config.arg("config.sh").args(arguments).arg("--replace");
    let mut config = Process::start(config);
    config.said("Failed to replace the agent. Try again or ctrl-c to quit", 20).await;
    assert!(config.is_running(), "it goes on until somebody ends it");
}

#[tokio::test]
async fn root_check() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let as_user = |uid: &str| fake_id(&agent.root.parent().unwrap().join(format!("uid{uid}")), uid);
    let root = as_user("0");
    for (script, words) in [
        ("config.sh", "Must not run with sudo"),
        ("run.sh", "Must not run interactively with sudo"),
        ("reauth.sh", "Must not run with sudo"),
    ] {
        let mut command = agent.command("sh");
        command.arg(script).env("PATH", &root).env_remove("AGENT_ALLOW_RUNASROOT");
        let (code, text) = output(command).await;
        assert_eq!((code, text.trim()), (1, words), "{script}");
    }
    let mut config = agent.config("a");
    config.env("PATH", as_user("1000")).env_remove("AGENT_ALLOW_RUNASROOT");
    let (code, text) = output(config).await;
    assert_eq!(code, 0, "an ordinary user needs no permission: {text}");
    agent.unconfigure();

    let mut config = agent.config("b");
    config.env("PATH", root).env("AGENT_ALLOW_RUNASROOT", "0");
    assert_eq!(output(config).await.0, 0, "any value that is not empty allows root");
}

fn client_id(row: &azdo::TaskAgent) -> String {
    format!("{:?}", row.authorization.as_ref().unwrap().client_id)
}

/// A PATH on which `id` tells this user, so that the check is the same whoever runs the tests.
fn fake_id(dir: &Path, uid: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(dir).unwrap();
    let file = dir.join("id");
    std::fs::write(&file, format!("#!/bin/sh\necho {uid}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[tokio::test]
async fn env_sh_keeps_path_and_tool_locations_for_the_listener() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.config("a");
    config.env("JAVA_HOME", "/opt/java");
    assert_eq!(output(config).await.0, 0);
    let read = |name: &str| std::fs::read_to_string(agent.root.join(name)).unwrap();
    assert!(read(".env").lines().any(|line| line == "JAVA_HOME=/opt/java"));
    assert_eq!(read(".path").trim_end(), std::env::var("PATH").unwrap());

    // The listener is started with nothing but what a supervisor with a cleared environment gives.
    let job = bench.queue("j", 0);
    let mut run = agent.command("sh");
    run.env_clear()
        .env("AGENT_ALLOW_RUNASROOT", "1")
        .env("PATH", "/usr/bin:/bin")
        .args(["run.sh", "--once"]);
    assert_eq!(output(run).await.0, 0);
    let record = bench.job(job).await.record.unwrap();
    assert!(record.env.iter().any(|name| name == "JAVA_HOME"), "{:?}", record.env);
    assert_eq!(
        bench.row("a").await.unwrap().system_capabilities["PATH"],
        std::env::var("PATH").unwrap()
    );
}

#[tokio::test]
async fn reauth_gives_the_same_row_a_new_key() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    let before = bench.row("a").await.unwrap();
    let mut reauth = agent.command("sh");
    reauth
        .args(["reauth.sh", "--unattended", "--auth", "pat"])
        .env("VSTS_AGENT_INPUT_TOKEN", bench.pat());
    let (code, text) = output(reauth).await;
    assert_eq!(code, 0, "{text}");
    let after = bench.row("a").await.unwrap();
    assert_eq!(after.id, before.id);
    assert_ne!(client_id(&after), client_id(&before), "another key is another client");

    let job = bench.queue("j", 0);
    assert_eq!(output(agent.run(&["--once"])).await.0, 0, "the new key is good");
    assert_eq!(bench.result(job).await, "succeeded");
}
