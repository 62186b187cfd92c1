//! What the pool page shows of a machine.

use crate::bench::{Bench, output};

#[tokio::test]
async fn capabilities_are_the_environment_the_tools_and_the_agent_s_own() {
    let bench = Bench::start().await;
    let agent = bench.install();
    let mut config = agent.config("a");
    config
        .env("LAB_GPU", "h200")
        .env("AZP_TOKEN", "s3cret")
        .env("VSO_AGENT_IGNORE", "OTHER,azp_token");
    config.env("LONG", "x".repeat(1024));
    assert_eq!(output(config).await.0, 0);
    let seen = bench.row("a").await.unwrap().system_capabilities;
    assert_eq!(seen["LAB_GPU"], "h200");
    assert!(seen["sh"].ends_with("/sh"), "tools of PATH");
    let own = ["Agent.Name", "Agent.Version", "Agent.OS", "InteractiveSession"]
        .map(|name| seen[name].as_str());
    assert_eq!(own, ["a", "4.260.0", "Linux", "True"]);
    assert_eq!(seen["Agent.HomeDirectory"], agent.root.display().to_string());
    assert!(seen.contains_key("Agent.OSArchitecture") && seen.contains_key("Agent.ComputerName"));
    let absent = ["AZP_TOKEN", "VSO_AGENT_IGNORE", "LONG", "PWD"]
        .into_iter()
        .find(|name| seen.contains_key(*name));
    assert_eq!(absent, None, "ignored, listed to be ignored, or too long");
}

#[tokio::test]
async fn every_session_sends_the_capabilities_anew() {
    let bench = Bench::start().await;
    let agent = bench.install();
    agent.configured("a").await;
    assert!(!bench.row("a").await.unwrap().system_capabilities.contains_key("FLEET_OWNER"));
    let mut run = agent.run(&[]);
    run.env("FLEET_OWNER", "f/h/1");
    let mut listener = crate::process::Process::start(run);
    listener.line("Listening for Jobs").await;
    assert_eq!(bench.row("a").await.unwrap().system_capabilities["FLEET_OWNER"], "f/h/1");
}
