//! The options that say what a group is: which hosts, and how an agent is built there. `pool create`
//! and `group add` take the same ones.

use clap::Args;
use fleet_model::{
    Cache, Entry, GroupName, GroupSpec, ImageRef, Limits, Mode, Package, Proxy, RuntimeKind,
    Selector, Template,
};

/// Which hosts a group may use, and how an agent is built there.
#[derive(Debug, Args)]
pub(super) struct GroupOptions {
    /// Hosts it may use: lab=svc, "lab in (str,str3)", lab!=tk5; empty: all
    #[arg(long, help_heading = "Hosts")]
    selector: Selector,
    /// Most agents on one host
    #[arg(long, value_name = "N", help_heading = "Hosts")]
    max_per_host: Option<u32>,
    #[command(flatten)]
    agent: AgentOptions,
}

/// How an agent is built.
#[derive(Debug, Args)]
#[command(next_help_heading = "Agents")]
struct AgentOptions {
    /// docker: a container; systemd: a user and a unit; process: a child of hostd, without
    /// isolation, for a tour
    #[arg(long, default_value = "docker")]
    runtime: RuntimeKind,
    /// Container image, by tag or digest (docker)
    #[arg(long)]
    image: Option<ImageRef>,
    /// The agent's own package (systemd): an address, or a path on the host [default: as the host
    /// is set]
    #[arg(long, value_name = "SOURCE", requires = "package_sha256")]
    package: Option<String>,
    /// SHA-256 of that package
    #[arg(long, value_name = "HEX", requires = "package")]
    package_sha256: Option<String>,
    /// once: a fresh agent for every job; long-lived: many jobs, one after another
    #[arg(long, default_value = "once")]
    mode: Mode,
    /// own: hostd starts the listener; image: the image's own start script does
    #[arg(long, default_value = "own", value_parser = entry)]
    entry: Entry,
    /// Environment of the listener, seen as capabilities at Azure; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Cores per agent
    #[arg(long, value_name = "1.5", value_parser = cpu)]
    cpu: Option<u32>,
    /// Memory per agent
    #[arg(long, value_name = "2g", value_parser = memory)]
    memory: Option<u64>,
    /// Processes and threads per agent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pids: Option<u32>,
    /// Directory that outlives the runs of an agent; may be repeated
    #[arg(long, value_name = "NAME:/PATH", value_parser = cache)]
    cache: Vec<Cache>,
    /// MTU for the networks of container jobs
    #[arg(long, value_parser = clap::value_parser!(u16).range(576..))]
    mtu: Option<u16>,
    /// Proxy for http, as agents and jobs see it
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
    /// Proxy for https
    #[arg(long, value_name = "URL")]
    https_proxy: Option<String>,
    /// Where no proxy is used
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,
    /// Give jobs the engine's socket. It makes every job root on the host
    #[arg(long)]
    docker_socket: bool,
    /// Put the agent's user (systemd) into the host's group docker. It makes every job root on the
    /// host
    #[arg(long)]
    docker_group: bool,
}

impl GroupOptions {
    /// The group that is asked for.
    ///
    /// # Errors
    /// An option that cannot be, without repeating it: it may hold a password.
    pub(super) fn group(&self, name: GroupName, weight: u32) -> Result<GroupSpec, &'static str> {
        Ok(GroupSpec {
            name,
            selector: self.selector.clone(),
            template: self.agent.template()?.into(),
            weight,
            max_per_host: self.max_per_host,
        })
    }
}

impl AgentOptions {
    fn template(&self) -> Result<Template, &'static str> {
        // Not while parsing: the parser repeats what it refuses, and here that may be a password.
        self.http_proxy.iter().chain(&self.https_proxy).try_for_each(|p| proxy(p))?;
        let sum = self.package_sha256.clone().unwrap_or_default();
        let package = |source| Package { source, sha256: sum };
        Ok(Template {
            runtime: self.runtime,
            image: self.image.clone(),
            mode: self.mode,
            entry: self.entry,
            env: self.env.iter().cloned().collect(),
            limits: Limits { cpu_millis: self.cpu, memory_bytes: self.memory, pids: self.pids },
            caches: self.cache.clone(),
            mtu: self.mtu,
            proxy: Proxy {
                http: self.http_proxy.clone(),
                https: self.https_proxy.clone(),
                no_proxy: self.no_proxy.clone(),
            },
            docker_socket: self.docker_socket,
            package: self.package.clone().map(package),
            docker_group: self.docker_group,
        })
    }
}

fn entry(text: &str) -> Result<Entry, String> {
    match text {
        "own" => Ok(Entry::Own),
        "image" => Ok(Entry::Image),
        _ => Err(format!("{text:?} is not an entry; use own or image")),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

fn cache(text: &str) -> Result<Cache, String> {
    let (name, path) = text.split_once(':').ok_or_else(|| format!("{text:?} is not NAME:/PATH"))?;
    let name = name.parse().map_err(|e: fleet_model::NameError| e.to_string())?;
    Ok(Cache { name, path: path.to_owned() })
}

/// Cores with at most three decimals, as thousandths.
fn cpu(text: &str) -> Result<u32, String> {
    let error = || format!("{text:?} is not a number of cores; write it like 2 or 1.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(error());
    }
    let millis: u64 = format!("{whole}{part:0<3}").parse().map_err(|_| error())?;
    u32::try_from(millis).ok().filter(|m| *m > 0).ok_or_else(error)
}

/// Bytes, with `k`, `m`, `g` or `t` for powers of 1024.
fn memory(text: &str) -> Result<u64, String> {
    let error = || format!("{text:?} is not a size; write it like 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let bare = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, shift) = match bare.char_indices().next_back() {
        Some((at, 'k')) => (&bare[..at], 10),
        Some((at, 'm')) => (&bare[..at], 20),
        Some((at, 'g')) => (&bare[..at], 30),
        Some((at, 't')) => (&bare[..at], 40),
        _ => (bare, 0),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(error)
}

/// Every user can read a command line, and every job its environment. The text is not repeated.
fn proxy(text: &str) -> Result<(), &'static str> {
    if text.contains('@') {
        return Err("a proxy's password has no place here: every job would see it");
    }
    if !(text.starts_with("http://") || text.starts_with("https://")) {
        return Err("a proxy is written like http://proxy.example:3128");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("2g", 2 << 30), ("512m", 512 << 20), ("2GiB", 2 << 30), ("1k", 1024), ("4096", 4096)]
        {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for bad in ["", "g", "2x", "-2g", "1.5g", "0", "99999999999t"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cores_are_read_exactly() {
        for (text, millis) in [("2", 2000), ("1.5", 1500), ("0.25", 250), ("0.001", 1)] {
            assert_eq!(cpu(text), Ok(millis), "{text}");
        }
        for bad in ["", "0", ".5", "1.2345", "x", "-1", "1,5", "1e3", "99999999"] {
            assert!(cpu(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_kept_off_the_command_line() {
        assert!(proxy("http://proxy.example:3128").is_ok());
        assert!(proxy("http://u:p@proxy.example:3128").expect_err("refused").contains("password"));
        assert!(proxy("proxy.example:3128").is_err());
    }

    #[test]
    fn pairs_have_two_sides() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("A").is_err() && variable("=b").is_err());
        assert_eq!(cache("nuget:/root/.nuget").expect("a cache").path, "/root/.nuget");
        assert!(cache("nuget").is_err() && cache("a b:/x").is_err());
    }
}
