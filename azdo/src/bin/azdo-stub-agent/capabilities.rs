//! What the agent tells about itself, at registration and at every session: its whole environment, the tools
//! on its PATH, and `Agent.*`. Whoever starts a listener with secrets in its environment shows them to the pool.

use std::collections::BTreeMap;
use std::path::Path;

use crate::environment::Environment;
use crate::layout::Layout;

/// Values this long or longer are left out.
const LONGEST: usize = 1024;
/// Shell leftovers that say nothing about the machine.
const IGNORED: &[&str] = &["_", "LS_COLORS", "OLDPWD", "PWD", "SHLVL", "TERM", "VSO_AGENT_IGNORE"];
/// Capability and the program whose path is its value.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("sh", "sh"),
    ("git", "git"),
    ("docker", "docker"),
    ("cmake", "cmake"),
    ("make", "make"),
    ("java", "java"),
    ("node.js", "node"),
    ("npm", "npm"),
    ("python", "python"),
    ("python3", "python3"),
    ("curl", "curl"),
    ("wget", "wget"),
    ("tar", "tar"),
    ("gcc", "gcc"),
    ("clang", "clang"),
    ("cargo", "cargo"),
];

/// All system capabilities of the agent `name`.
pub(crate) fn scan(
    layout: &Layout,
    environment: &Environment,
    name: &str,
) -> BTreeMap<String, String> {
    let mut all = from_environment(environment);
    all.extend(tools(environment.get("PATH").unwrap_or_default()));
    all.extend(agent(layout, name).map(|(key, value)| (key.to_owned(), value)));
    all
}

/// `Linux 6.8.0`: what the row shows as operating system.
pub(crate) fn os_description() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "Linux".to_owned(),
        |u| format!("{} {}", u.sysname().to_string_lossy(), u.release().to_string_lossy()),
    )
}

/// Name of this machine.
pub(crate) fn computer_name() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn from_environment(environment: &Environment) -> BTreeMap<String, String> {
    let listed = environment.get("VSO_AGENT_IGNORE").unwrap_or_default().to_owned();
    let ignored = |name: &str| {
        IGNORED.contains(&name)
            || listed.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(name))
    };
    environment
        .iter()
        .filter(|(name, value)| !ignored(name) && !value.is_empty() && value.len() < LONGEST)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn tools(path: &str) -> BTreeMap<String, String> {
    let find = |program: &str| {
        path.split(':').map(|dir| Path::new(dir).join(program)).find(|file| file.is_file())
    };
    TOOLS
        .iter()
        .filter_map(|(name, program)| {
            Some(((*name).to_owned(), find(program)?.display().to_string()))
        })
        .collect()
}

fn agent(layout: &Layout, name: &str) -> [(&'static str, String); 7] {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "X64",
        "aarch64" => "ARM64",
        _ => "ARM",
    };
    [
        ("Agent.Name", name.to_owned()),
        ("Agent.Version", layout.version()),
        ("Agent.OS", "Linux".to_owned()),
        ("Agent.OSArchitecture", architecture.to_owned()),
        ("Agent.ComputerName", computer_name()),
        ("Agent.HomeDirectory", layout.root().display().to_string()),
        (
            "InteractiveSession",
            if layout.file(".service").exists() { "False" } else { "True" }.to_owned(),
        ),
    ]
}
