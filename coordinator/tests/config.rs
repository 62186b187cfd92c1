//! The configuration that is shipped, and mistakes in one.

use std::{fs, path::Path};

use coordinator::config::Config;

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/coordinator.toml");
    fs::read_to_string(path).expect("the shipped configuration")
}

fn load(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("coordinator.toml");
    fs::write(&file, text).expect("written");
    Config::load(Some(&file)).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_configuration_is_good_and_says_the_defaults() {
    let config = load(&shipped()).expect("it is good");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}

#[test]
fn what_is_commented_out_there_is_good_too() {
    let is_setting = |line: &&str| {
        line.strip_prefix("# ")
            .and_then(|l| l.split_once(" = "))
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let lines: Vec<String> =
        shipped().lines().filter(is_setting).map(|line| line[2..].to_owned()).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    load(&lines.join("\n")).expect("they are good");
}

#[test]
fn a_broken_line_is_named_with_file_line_and_key() {
    let error = load("data = \"/x\"\nlease_secs = 30\n").expect_err("unknown key");
    assert!(error.contains("coordinator.toml:2:") && error.contains("lease_secs"), "{error}");
    let error = load("heartbeat = 5\n").expect_err("no unit");
    assert!(error.contains(":1:") && error.contains("unit"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_named() {
    for (text, part) in [
        ("heartbeat = \"20s\"", "three heartbeats"),
        ("azure_interval = \"1ms\"", "azure_interval"),
        ("advertise = \"fleet.example.com\"", "HOST:PORT"),
        ("azure_proxy = \"socks5://x:1\"", "azure_proxy"),
        ("max_hosts = 0", "max_hosts"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(part), "{error:?} should say {part:?}");
    }
}
