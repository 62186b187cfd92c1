//! The simulator in process: started on a free port, steered and watched by a test or by the binary.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;

use super::clock::Clock;
use super::control::{self, JobView, RowView};
use super::faults::Fault;
use super::journal::Entry;
use super::packages::{Package, PackageError};
use super::shell::Shell;
use super::{JobForm, PatForm, Refusal, Settings, State, Summary, http};

/// What to start.
#[derive(Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: String,
    /// Organisation: the first word of every path.
    pub org: String,
    /// Pools to have besides `Default` and the hosted one.
    pub pools: Vec<String>,
    /// Tokens to know.
    pub pats: Vec<PatForm>,
    /// Packages to describe and serve, named `vsts-agent-PLATFORM-VERSION.tar.gz`.
    pub packages: Vec<PathBuf>,
    /// The journal is also appended here, one JSON object a line.
    pub journal: Option<PathBuf>,
    /// Times and limits.
    pub settings: Settings,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            org: "fabrikam".to_owned(),
            pools: vec!["nightly".to_owned()],
            pats: Vec::new(),
            packages: Vec::new(),
            journal: None,
            settings: Settings::default(),
        }
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or none of ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A package cannot be served.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The journal file cannot be opened.
    #[error("cannot append to journal {path}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The simulator.
pub struct Sim;

impl Sim {
    /// Starts listening and serving on the current runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: SimConfig) -> Result<SimHandle, StartError> {
        let listener = TcpListener::bind(&config.listen).await;
        let listener = listener
            .map_err(|source| StartError::Listen { address: config.listen.clone(), source })?;
        let taken = |source| StartError::Listen { address: config.listen.clone(), source };
        let addr = listener.local_addr().map_err(taken)?;
        let packages =
            config.packages.iter().map(|p| Package::read(p)).collect::<Result<_, _>>()?;
        let clock = Clock::default();
        let mut state = State::new(config.settings.clone(), clock.now());
        for pool in &config.pools {
            state.add_pool(pool, clock.now());
        }
        for pat in &config.pats {
            state.add_pat(pat);
        }
        let dice = StdRng::seed_from_u64(config.settings.seed.wrapping_add(1));
        let mut shell = Shell::new(state, dice, clock, config.org.clone(), packages);
        if let Some(path) = &config.journal {
            shell.write_journal_to(journal_writer(path.clone())?);
        }
        let shell = Arc::new(shell);
        tokio::spawn(Arc::clone(&shell).tick());
        let serving = tokio::spawn(http::serve(listener, Arc::clone(&shell)));
        Ok(SimHandle { shell, addr, serving })
    }
}

/// A file is written by a thread of its own: a slow disk does not slow the service.
fn journal_writer(path: PathBuf) -> Result<mpsc::Sender<Entry>, StartError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let mut file = opened.map_err(|source| StartError::Journal { path: path.clone(), source })?;
    let (out, lines) = mpsc::channel::<Entry>();
    std::thread::spawn(move || {
        for entry in lines {
            let line = serde_json::to_string(&entry).unwrap_or_default();
            if let Err(error) = writeln!(file, "{line}") {
                tracing::error!(path = %path.display(), error = &error as &(dyn std::error::Error + 'static), "journal not written");
                return;
            }
        }
    });
    Ok(out)
}

/// A running simulator. Dropping it stops it.
pub struct SimHandle {
    shell: Arc<Shell>,
    addr: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.shell.stop.cancel();
        self.serving.abort();
    }
}

impl SimHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ADDR/ORG`: what clients and `config.sh --url` get.
    pub fn base_url(&self) -> String {
        format!("http://{}/{}", self.addr, self.shell.org)
    }

    /// Id of a pool.
    ///
    /// # Errors
    /// Unknown pool.
    pub fn pool_id(&self, pool: &str) -> Result<i64, Refusal> {
        self.shell.look(|state| control::find_pool(state, pool))
    }

    /// Makes a pool, or finds it.
    pub fn add_pool(&self, name: &str) -> i64 {
        self.shell.step(|core, now| core.state.add_pool(name, now))
    }

    /// Adds a token, or changes what is known of it.
    pub fn add_pat(&self, pat: &PatForm) {
        self.shell.step(|core, _| core.state.add_pat(pat));
    }

    /// Forgets a token.
    pub fn revoke_pat(&self, token: &str) -> bool {
        self.shell.step(|core, _| core.state.revoke_pat(token))
    }

    /// Queues a job.
    ///
    /// # Errors
    /// Unknown pool.
    pub fn queue(&self, pool: &str, job: JobForm) -> Result<i64, Refusal> {
        self.shell.step(|core, now| {
            let pool = control::find_pool(&core.state, pool)?;
            core.state.queue_job(pool, job, now)
        })
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// Unknown or finished job.
    pub fn cancel(&self, job: i64) -> Result<(), Refusal> {
        self.shell.step(|core, now| core.state.cancel(job, now))
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<JobView> {
        self.shell.look(|state| control::jobs(state, None))
    }

    /// One job.
    pub fn job(&self, id: i64) -> Option<JobView> {
        self.shell.look(|state| state.world.job(id).ok().map(|j| JobView::of(state, j)))
    }

    /// Rows of a pool, or of all.
    pub fn rows(&self, pool: Option<&str>) -> Vec<RowView> {
        self.shell.look(|state| control::rows(state, pool))
    }

    /// Figures.
    pub fn summary(&self) -> Summary {
        self.shell.look(State::summary)
    }

    /// Journal entries after a position; 0 gives all.
    pub fn journal(&self, since: u64) -> Vec<Entry> {
        self.shell.look(|state| state.journal.since(since).to_vec())
    }

    /// Starts a new stretch of counting.
    pub fn mark(&self, note: &str) {
        self.shell.step(|core, now| core.state.mark(note, now));
    }

    /// Sets a fault.
    pub fn fault(&self, fault: Fault) {
        self.shell.step(|core, now| control::set_fault(core, fault, now));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shell.step(control::clear_faults);
    }

    /// Ends an agent's session from the server's side.
    ///
    /// # Errors
    /// Unknown agent, or it has none.
    pub fn kill_session(&self, pool: &str, agent: &str) -> Result<(), Refusal> {
        self.shell.step(|core, now| {
            let (pool, agent) =
                control::find_agent(&core.state, pool, agent).map(|(p, a)| (p, a.id))?;
            core.state.kill_session(pool, agent, now)
        })
    }

    /// Wants an agent to update itself.
    ///
    /// # Errors
    /// Unknown agent.
    pub fn force_update(&self, pool: &str, agent: &str, version: &str) -> Result<(), Refusal> {
        self.shell.step(|core, now| {
            let (pool, agent) =
                control::find_agent(&core.state, pool, agent).map(|(p, a)| (p, a.id))?;
            core.state.request_update(pool, agent, version, now)
        })
    }

    /// Changes times and limits while running.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        self.shell.step(|core, _| change(&mut core.state.settings));
    }

    /// Moves the simulator's clock forward.
    pub fn advance(&self, by: Duration) {
        self.shell.advance_clock(by);
    }

    /// Waits, driven by the journal, until the figures are as wanted.
    ///
    /// # Errors
    /// The figures at the end, when the limit passes first.
    pub async fn wait_for(
        &self,
        limit: Duration,
        wanted: impl Fn(&Summary) -> bool,
    ) -> Result<Summary, Box<Summary>> {
        let mut changed = self.shell.watch();
        let wait = async {
            loop {
                changed.mark_unchanged();
                let summary = self.summary();
                if wanted(&summary) {
                    return summary;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| Box::new(self.summary()))
    }

    /// Waits until a row is as wanted; `None` stands for an absent row.
    ///
    /// # Errors
    /// The row at the end, when the limit passes first.
    pub async fn wait_for_row(
        &self,
        limit: Duration,
        pool: &str,
        agent: &str,
        wanted: impl Fn(Option<&RowView>) -> bool,
    ) -> Result<(), Box<Option<RowView>>> {
        let mut changed = self.shell.watch();
        let row = || self.rows(Some(pool)).into_iter().find(|r| r.name == agent);
        let wait = async {
            loop {
                changed.mark_unchanged();
                if wanted(row().as_ref()) {
                    return;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| Box::new(row()))
    }
}
