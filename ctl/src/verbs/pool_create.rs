//! `agentctl pool create NAME …`: a pool of the fleet for an existing pool at Azure.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use fleet_model::{
    AgentPrefix, AzureTarget, Cache, CredentialName, Entry, ImageRef, Limits, Mode, PoolName,
    PoolSpec, Proxy, RuntimeKind, Selector, Template,
};
use fleet_proto::v1;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::{
    cli::Global,
    error::Failure,
    help, output,
    secret::{Secret, Source},
    when,
};

/// Creates a pool with no agents yet; `agentctl scale` gives it some.
///
/// The pool at Azure must exist: it is never created, changed or deleted from here.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl pool create nightly-svc --azure-url https://dev.azure.com/fabrikam \\\n    \
     --selector lab=svc --image registry.example/agent:4 --pat-file /run/secrets/pat --expires-in 7d",
    "Containers on the servers of lab svc, a fresh one for every job",
    help::ASKING,
))]
pub(crate) struct Create {
    /// Name in the fleet
    name: PoolName,
    /// Address of the organization
    #[arg(long, value_name = "URL", help_heading = "Azure")]
    azure_url: String,
    /// Name of the pool there, when it differs
    #[arg(long, value_name = "NAME", help_heading = "Azure")]
    azure_pool: Option<String>,
    /// File with the personal access token; - for standard input
    #[arg(long, value_name = "FILE", help_heading = "Azure", conflicts_with = "pat_env")]
    pat_file: Option<PathBuf>,
    /// Variable of this command's environment with the token
    #[arg(long, value_name = "VARIABLE", help_heading = "Azure")]
    pat_env: Option<String>,
    /// When the token ends, as told when it was made; Azure does not say
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Azure")]
    expires_in: Option<Duration>,
    /// Name of the credential; without a token, one that exists already [default: the pool's name]
    #[arg(long, value_name = "NAME", help_heading = "Azure")]
    credential: Option<CredentialName>,
    /// Hosts the pool may use: lab=svc, "lab in (str,str3)", lab!=tk5; empty: all
    #[arg(long, help_heading = "Hosts")]
    selector: Selector,
    /// Most agents on one host
    #[arg(long, value_name = "N", help_heading = "Hosts")]
    max_per_host: Option<u32>,
    /// First part of the agents' names [default: the pool's name]
    #[arg(long, help_heading = "Hosts")]
    prefix: Option<AgentPrefix>,
    /// How long an agent must look idle before it is removed
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = when::parse,
        help_heading = "Hosts")]
    settle: Duration,
    #[command(flatten)]
    agent: AgentOptions,
}

/// How an agent is built.
#[derive(Debug, Args)]
#[command(next_help_heading = "Agents")]
struct AgentOptions {
    /// Container image, by tag or digest
    #[arg(long)]
    image: Option<ImageRef>,
    /// docker: a container; process: a child of hostd, without isolation, for a tour
    #[arg(long, default_value = "docker")]
    runtime: RuntimeKind,
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
}

impl Create {
    /// Checks everything that can be checked here, then asks.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let what = format!("create pool {}", self.name);
        let spec = self.spec().map_err(|error| {
            Failure::error(format!("cannot {what}"))
                .because(error.to_string())
                .next("put the option right; nothing was changed")
        })?;
        let session = global.session()?;
        let secret = self.secret()?;
        if let Some(warning) = secret.as_ref().and_then(|s| s.warning.as_ref()) {
            output::say(&format!("warning: {warning}"));
        }
        let request = v1::CreatePoolRequest {
            spec: Some(spec.into()),
            secret: secret.map(|s| s.value.expose_secret().into()).unwrap_or_default(),
            secret_expires: self.expires_in.and_then(expiry).map(when::wire),
        };
        let mut client = session.client();
        session.ask(&what, client.create_pool(request)).await?;
        output::say(&format!("next: agentctl scale {} N", self.name));
        output::print(&format!("pool {} created\n", self.name))
    }

    fn spec(&self) -> Result<PoolSpec, Box<dyn std::error::Error>> {
        let azure = AzureTarget {
            url: self.azure_url.trim_end_matches('/').to_owned(),
            pool: self.azure_pool.clone().unwrap_or_else(|| self.name.to_string()),
        };
        let credential = match &self.credential {
            Some(name) => name.clone(),
            None => self.name.as_str().parse()?,
        };
        // Not while parsing: the parser repeats what it refuses, and here that may be a password.
        self.agent.http_proxy.iter().chain(&self.agent.https_proxy).try_for_each(|p| proxy(p))?;
        let template = self.agent.template();
        let mut spec = PoolSpec::single(
            self.name.clone(),
            azure,
            credential,
            self.selector.clone(),
            template,
        )?;
        spec.settle = self.settle;
        if let Some(prefix) = &self.prefix {
            spec.prefix = prefix.clone();
        }
        for group in &mut spec.groups {
            group.max_per_host = self.max_per_host;
        }
        spec.check()?;
        Ok(spec)
    }

    fn secret(&self) -> Result<Option<Secret>, Failure> {
        let source = match (&self.pat_file, &self.pat_env) {
            (Some(path), _) if path.as_os_str() == "-" => Source::StandardInput,
            (Some(path), _) => Source::File(path.clone()),
            (None, Some(name)) => Source::Variable(name.clone()),
            (None, None) if self.credential.is_some() => return Ok(None),
            (None, None) => {
                return Err(Failure::error(format!("cannot create pool {}", self.name))
                    .because("its agents need a credential to register at Azure")
                    .next("give a personal access token: --pat-file FILE, --pat-file - or --pat-env VARIABLE")
                    .next("or name a credential that exists: --credential NAME"));
            }
        };
        Ok(Some(source.read()?))
    }
}

impl AgentOptions {
    fn template(&self) -> Template {
        Template {
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
        }
    }
}

fn expiry(length: Duration) -> Option<Timestamp> {
    Timestamp::now().checked_add(length).ok()
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
