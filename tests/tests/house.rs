//! The rules of the house that a machine can check: who depends on whom, what the deciding packages
//! must not name, and that the paths in ARCHITECTURE.md exist.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Direct dependencies that are part of the program, by package.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo answers in JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("a list of dependencies");
            let normal = all.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|d| text(&d["name"])).collect())
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("fleet-model", &[][..]),
        ("fleet-proto", &["fleet-model"]),
        ("coordinator-plan", &["fleet-model"]),
        ("hostd-plan", &["fleet-model"]),
        ("azdo", &[]),
        ("agentctl", &["fleet-model", "fleet-proto"]),
        ("coordinator", &["fleet-model", "fleet-proto", "coordinator-plan", "azdo"]),
        ("hostd", &["fleet-model", "fleet-proto", "hostd-plan", "azdo"]),
    ]
    .into();
    let found = dependencies();
    let ours: Vec<&String> = found.keys().collect();
    for (package, needs) in &found {
        let Some(allowed) = allowed.get(package.as_str()) else {
            assert_eq!(package, "fleet-tests", "a new package needs its line here");
            continue;
        };
        for need in needs.iter().filter(|need| ours.contains(need)) {
            assert!(allowed.contains(&need.as_str()), "{package} must not depend on {need}");
        }
    }
}

#[test]
fn deciding_packages_stay_pure() {
    let found = dependencies();
    for package in ["fleet-model", "coordinator-plan", "hostd-plan"] {
        let extra: Vec<_> = found[package]
            .iter()
            .filter(|need| !["fleet-model", "serde", "thiserror"].contains(&need.as_str()))
            .collect();
        assert!(extra.is_empty(), "{package} decides and must not need {extra:?}");
    }
}

#[test]
fn paths_named_in_the_architecture_exist() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there");
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('/') && !word.contains([' ', '<', ':', '…']))
        .collect();
    assert!(named.len() > 10, "the map names paths in backticks: {named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}

/// A jump of the wall clock must move no wait: hostd asks `hostd/src/clock.rs` for the time. Those who
/// read the wall clock themselves compare it with a certificate, name a file by it, hand it to an
/// engine of the same machine, or look how long nothing has used a thing, across hostd's lives.
#[test]
fn few_places_of_hostd_read_the_wall_clock() {
    let allowed = [
        "agent_run/clean.rs",
        "check.rs",
        "clock.rs",
        "guardian/clean.rs",
        "identity/renew.rs",
        "runtime/docker/events.rs",
        "session/mod.rs",
    ];
    let top = root().join("hostd/src");
    let (mut dirs, mut found) = (vec![top.clone()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if std::fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("SystemTime::now"))
            {
                let name = path.strip_prefix(&top).expect("within");
                found.push(name.display().to_string());
            }
        }
    }
    found.sort();
    assert_eq!(found, allowed);
}
