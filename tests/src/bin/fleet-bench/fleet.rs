//! The real programs of a fleet on loopback: simulator of Azure DevOps, coordinator, and agentctl to
//! give orders. Everything lies in one temporary directory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use azdo::sim::{Entry, Kind};
use serde::Deserialize;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::proc::{Daemon, LOOK_EVERY, run};

/// The organization that the simulator plays.
const ORG: &str = "fabrikam";

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// In this directory; without one, beside this program.
    pub(crate) fn find(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let beside = || {
            let me = std::env::current_exe()?;
            Ok::<_, anyhow::Error>(me.parent().context("this program has no directory")?.to_owned())
        };
        let dir = dir.map_or_else(beside, Ok)?;
        for name in ["coordinator", "hostd", "agentctl", "azdo-sim"] {
            if !dir.join(name).is_file() {
                let dir = dir.display();
                bail!("{name} is not in {dir}; build it, or name the directory with --bin");
            }
        }
        Ok(Self(dir))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The build profile, as the directory is called.
    pub(crate) fn profile(&self) -> String {
        match self.0.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev".to_owned(),
            Some(other) => other.to_owned(),
        }
    }
}

/// Where the coordinator listens.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) listen: String,
    pub(crate) enroll_listen: String,
}

/// A coordinator and what it needs.
pub(crate) struct Fleet {
    pub(crate) programs: Programs,
    dir: tempfile::TempDir,
    /// The simulator, when this fleet has one.
    sim: Option<Simulator>,
    pub(crate) coordinator: Daemon,
    pub(crate) addresses: Addresses,
}

/// A simulator of Azure DevOps.
pub(crate) struct Simulator {
    daemon: Daemon,
    http: reqwest::Client,
    pub(crate) address: String,
    pub(crate) token_file: PathBuf,
}

impl Fleet {
    /// Starts the programs; `pools` are those of the simulator.
    pub(crate) async fn start(programs: Programs, pools: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("fleet-bench-").tempdir()?;
        let sim = Simulator::start(&programs, dir.path(), pools).await?;
        let (coordinator, addresses) = coordinator(&programs, dir.path()).await?;
        Ok(Self { programs, dir, sim: Some(sim), coordinator, addresses })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn operator_file(&self) -> PathBuf {
        self.dir.path().join("operator.toml")
    }

    pub(crate) fn sim(&self) -> anyhow::Result<&Simulator> {
        self.sim.as_ref().context("the simulator has been stopped")
    }

    /// agentctl with these words.
    pub(crate) fn agentctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path("agentctl"));
        command
            .args(words)
            .env("AGENTCTL_CONFIG", self.operator_file())
            .env("AGENTCTL_ENDPOINT", &self.addresses.listen);
        command
    }

    /// A pool of the fleet for the simulator's pool of the same name.
    pub(crate) async fn create_pool(&self, name: &str, more: &[&str]) -> anyhow::Result<()> {
        let sim = self.sim()?;
        let (url, token) = (sim.organization(), sim.token_file.display().to_string());
        let words = ["pool", "create", name, "--azure-url", &url, "--pat-file", &token];
        run(self.agentctl(&words).args(more)).await.map(drop)
    }

    /// Ends everything in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.coordinator.stop().await?;
        match self.sim {
            Some(sim) => sim.daemon.stop().await,
            None => Ok(()),
        }
    }
}

async fn coordinator(programs: &Programs, dir: &Path) -> anyhow::Result<(Daemon, Addresses)> {
    let program = programs.path("coordinator");
    let (data, operator) = (dir.join("coordinator"), dir.join("operator.toml"));
    let mut init = Command::new(&program);
    init.args(["init", "--name", "bench", "--san", "127.0.0.1", "--data"]).arg(&data);
    run(init.arg("--operator-out").arg(operator)).await?;
    let (config, addresses) = (dir.join("coordinator.toml"), dir.join("coordinator.addresses"));
    let text = format!(
        "data = {data:?}\nlisten = \"127.0.0.1:0\"\nenroll_listen = \"127.0.0.1:0\"\n\
         http_listen = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&config, text)?;
    let (config, file) = (config.display().to_string(), addresses.display().to_string());
    let args = ["run", "--config", &config, "--print-addresses", &file];
    let mut daemon = Daemon::start("coordinator", &program, &args, dir)?;
    let text = daemon.ready(&addresses).await?;
    Ok((daemon, serde_json::from_str(&text).context("the coordinator's addresses")?))
}

impl Simulator {
    async fn start(programs: &Programs, dir: &Path, pools: &[&str]) -> anyhow::Result<Self> {
        // Alone in its directory, which containers that are not hostd's have mounted.
        let hand_over = dir.join("hand-over");
        std::fs::create_dir(&hand_over)?;
        let (token_file, address_file) = (hand_over.join("token"), dir.join("simulator.address"));
        let token = fleet_proto::hex(&rand::random::<[u8; 32]>());
        fleet_proto::files::write_private(&token_file, token.as_bytes())?;
        let (token, address) =
            (token_file.display().to_string(), address_file.display().to_string());
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--addr-file", &address];
        args.extend(["--org", ORG, "--pat-file", &token]);
        pools.iter().for_each(|pool| args.extend(["--pool", pool]));
        let mut daemon = Daemon::start("simulator", &programs.path("azdo-sim"), &args, dir)?;
        let address = daemon.ready(&address_file).await?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        Ok(Self { daemon, http, address, token_file })
    }

    /// The organization's URL.
    pub(crate) fn organization(&self) -> String {
        format!("http://{}/{ORG}", self.address)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("http://{}/_sim/{path}", self.address);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    /// Tells the simulator something.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
        let url = format!("http://{}/_sim/{path}", self.address);
        self.http.post(url).json(body).send().await?.error_for_status()?;
        Ok(())
    }

    /// What it wrote down after entry `since`.
    pub(crate) async fn journal(&self, since: u64) -> anyhow::Result<Vec<Entry>> {
        self.get(&format!("journal?since={since}")).await
    }

    /// Waits until so many agents of the pool have opened a session since a moment (nanoseconds
    /// since 1970); the moment of the last one of them. An agent that died without a word stays
    /// online there for minutes, so the number online would not tell.
    pub(crate) async fn sessions(
        &self,
        pool: &str,
        since: i64,
        count: usize,
        limit: Duration,
    ) -> anyhow::Result<i64> {
        let end = Instant::now() + limit;
        loop {
            let all = self.journal(0).await?;
            let ours = |entry: &&Entry| {
                entry.kind == Kind::SessionCreated
                    && entry.about.pool.as_deref() == Some(pool)
                    && entry.at.as_nanosecond() >= since.into()
            };
            let found: Vec<_> = all.iter().filter(ours).collect();
            if let Some(last) = found.get(count.saturating_sub(1)) {
                return Ok(i64::try_from(last.at.as_nanosecond())?);
            }
            if Instant::now() > end {
                bail!("{} of {count} agents of {pool} are online after {limit:?}", found.len());
            }
            sleep(LOOK_EVERY * 5).await;
        }
    }
}
