//! One test's world: a simulator, a temporary directory, agents unpacked from the package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use azdo::sim::{Fault, JobForm, JobView, PatForm, Role, Settings, Sim, SimConfig, SimHandle};
use azdo::{AgentQuery, Client, ClientConfig, Credential, TaskAgent};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::package;
use crate::process::{LIMIT, Process};

const POOL: &str = "nightly";
const PAT: &str = "manager-token-of-the-test";
const READER: &str = "reader-token-of-the-test";
/// What the packages under test are before an update.
const VERSION: &str = "4.260.0";

pub(crate) struct Bench {
    sim: SimHandle,
    client: Client,
    home: TempDir,
    installed: AtomicUsize,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::brisk();
        change(&mut settings);
        Self::with(SimConfig { settings, ..SimConfig::default() }, tempfile::tempdir().unwrap())
            .await
    }

    /// With the package of this version at the server.
    pub(crate) async fn offering(version: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(format!("vsts-agent-linux-x64-{version}.tar.gz"));
        std::fs::copy(package::tarball(version), &file).unwrap();
        let config =
            SimConfig { settings: Settings::brisk(), packages: vec![file], ..SimConfig::default() };
        Self::with(config, home).await
    }

    async fn with(mut config: SimConfig, home: TempDir) -> Self {
        config.pools = vec![POOL.to_owned()];
        config.pats =
            vec![PatForm::manager(PAT), PatForm { role: Role::Reader, ..PatForm::manager(READER) }];
        let sim = Sim::start(config).await.unwrap();
        let credential = Credential::Pat(PAT.to_owned().into());
        let client = Client::new(&ClientConfig::new(sim.base_url(), credential)).unwrap();
        Self { sim, client, home, installed: AtomicUsize::new(0) }
    }

    pub(crate) fn url(&self) -> String {
        self.sim.base_url()
    }

    pub(crate) fn pat(&self) -> String {
        PAT.to_owned()
    }

    pub(crate) fn reader_pat(&self) -> String {
        READER.to_owned()
    }

    pub(crate) fn pool(&self) -> i64 {
        self.sim.pool_id(POOL).unwrap()
    }

    /// Unpacks an agent into a directory of its own, with short times.
    pub(crate) fn install(&self) -> Agent {
        self.install_with(|_| {})
    }

    pub(crate) fn install_with(&self, change: impl FnOnce(&mut Value)) -> Agent {
        let number = self.installed.fetch_add(1, Ordering::Relaxed);
        let root = self.home.path().join(format!("{number}/agent"));
        std::fs::create_dir_all(&root).unwrap();
        // Asked for by its real path, as the listener knows itself.
        let root = root.canonicalize().unwrap();
        let unpacked = std::process::Command::new("tar")
            .arg("-xzf")
            .arg(package::tarball(VERSION))
            .arg("-C")
            .arg(&root)
            .status()
            .unwrap();
        assert!(unpacked.success());
        let mut settings = json!({
            "renewMs": 500, "pollSleepMs": 10, "pollBackoffMs": 50, "sessionRetryMs": 50,
            "requestRetryMs": 50, "keepaliveMs": 500, "rerunWaitS": 0.1,
        });
        change(&mut settings);
        std::fs::write(root.join("stub.json"), settings.to_string()).unwrap();
        Agent { root, url: self.url() }
    }

    /// The pool's row, with everything that is known of it.
    pub(crate) async fn row(&self, name: &str) -> Option<TaskAgent> {
        let query = AgentQuery {
            name: Some(name.to_owned()),
            capabilities: true,
            assigned_request: true,
            last_completed: true,
        };
        self.client.agents(self.pool(), &query).await.unwrap().value.pop()
    }

    async fn id(&self, name: &str) -> i64 {
        self.row(name).await.unwrap().id
    }

    pub(crate) fn is_online(&self, name: &str) -> bool {
        self.sim.rows(Some(POOL)).iter().any(|row| row.name == name && row.online)
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.client.delete_agent(self.pool(), self.id(name).await).await.unwrap();
    }

    pub(crate) async fn disable(&self, name: &str) {
        let id = self.id(name).await;
        self.client.set_enabled(self.pool(), id, name, false).await.unwrap();
    }

    /// Gives the row a user capability.
    pub(crate) async fn mark(&self, name: &str, key: &str, value: &str) {
        let set = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        self.client.set_user_capabilities(self.pool(), self.id(name).await, &set).await.unwrap();
    }

    pub(crate) async fn online(&self, name: &str) {
        self.wait_for_row(name, true).await;
    }

    pub(crate) async fn offline(&self, name: &str) {
        self.wait_for_row(name, false).await;
    }

    async fn wait_for_row(&self, name: &str, online: bool) {
        let wanted = |row: Option<&azdo::sim::RowView>| row.is_some_and(|r| r.online == online);
        self.sim.wait_for_row(LIMIT, POOL, name, wanted).await.unwrap();
    }

    /// Ends the row's session from the server's side; false when it has none.
    pub(crate) fn kill_session(&self, name: &str) -> bool {
        self.sim.kill_session(POOL, name).is_ok()
    }

    pub(crate) fn update(&self, name: &str, version: &str) {
        self.sim.force_update(POOL, name, version).unwrap();
    }

    /// Creating a session is answered with this status from now on.
    pub(crate) fn sessions_answer(&self, status: u16) {
        let path = format!("/_apis/distributedtask/pools/{}/sessions", self.pool());
        self.sim.fault(Fault { path, status: Some(status), ..Fault::default() });
    }

    pub(crate) fn all_well(&self) {
        self.sim.clear_faults();
    }

    pub(crate) fn queue(&self, name: &str, ms: u64) -> i64 {
        self.queue_form(JobForm { name: name.to_owned(), duration_ms: ms, ..JobForm::default() })
    }

    pub(crate) fn queue_form(&self, form: JobForm) -> i64 {
        self.sim.queue(POOL, form).unwrap()
    }

    /// Queues a job as soon as the row exists; before that it would fail at once.
    pub(crate) async fn queue_when_registered(&self, agent: &str, name: &str) -> i64 {
        self.sim.wait_for_row(LIMIT, POOL, agent, |row| row.is_some()).await.unwrap();
        self.queue(name, 0)
    }

    pub(crate) fn cancel(&self, job: i64) {
        self.sim.cancel(job).unwrap();
    }

    pub(crate) fn peek(&self, job: i64) -> JobView {
        self.sim.job(job).unwrap()
    }

    /// Jobs that were given to an agent and came back unread.
    pub(crate) fn requeued(&self) -> u64 {
        self.sim.summary().jobs.requeued
    }

    /// Waits until an agent has the job.
    pub(crate) async fn running(&self, job: i64) -> JobView {
        self.wait_for_job(job, "running", |view| view.state == "running").await
    }

    /// Waits for the job's end.
    pub(crate) async fn job(&self, job: i64) -> JobView {
        self.wait_for_job(job, "finished", |view| view.result.is_some()).await
    }

    pub(crate) async fn result(&self, job: i64) -> String {
        self.job(job).await.result.unwrap()
    }

    async fn wait_for_job(
        &self,
        job: i64,
        what: &str,
        wanted: impl Fn(&JobView) -> bool,
    ) -> JobView {
        let waited = self.sim.wait_for(LIMIT, |_| wanted(&self.peek(job))).await;
        assert!(waited.is_ok(), "job {job} is not {what}: {:?}", self.peek(job));
        self.peek(job)
    }
}

/// An unpacked agent.
pub(crate) struct Agent {
    pub(crate) root: PathBuf,
    url: String,
}

impl Agent {
    /// A program with the agent's root as directory and an environment of its own.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env_clear();
        command.env("PATH", std::env::var("PATH").unwrap()).env("AGENT_ALLOW_RUNASROOT", "1");
        command.kill_on_drop(true);
        command
    }

    pub(crate) fn config_arguments(&self, name: &str) -> [String; 11] {
        let url = self.url.as_str();
        [
            "--unattended",
            "--auth",
            "pat",
            "--token",
            PAT,
            "--url",
            url,
            "--pool",
            POOL,
            "--agent",
            name,
        ]
        .map(str::to_owned)
    }

    pub(crate) fn config(&self, name: &str) -> Command {
        let mut command = self.command("sh");
        command.arg("config.sh").args(self.config_arguments(name));
        command
    }

    pub(crate) async fn configured(&self, name: &str) {
        let (code, text) = output(self.config(name)).await;
        assert_eq!(code, 0, "{text}");
    }

    /// Forgets the registration on this side only.
    pub(crate) fn unconfigure(&self) {
        std::fs::remove_file(self.root.join(".agent")).unwrap();
    }

    /// `run.sh` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("sh");
        command.arg("run.sh").args(arguments);
        command
    }

    /// The listener without a shell above it.
    pub(crate) fn listener(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.root.join("bin/Agent.Listener").display().to_string());
        command.arg("run").args(arguments);
        command
    }

    /// All logs of a kind, `Agent_` or `Worker_`.
    pub(crate) fn diag(&self, kind: &str) -> String {
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        files(&self.root.join("_diag"))
            .filter(|(name, _)| name.starts_with(kind))
            .map(|(_, file)| read(file))
            .collect()
    }
}

fn files(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
}

/// Runs a command to its end: exit code, and both outputs line by line.
pub(crate) async fn output(command: Command) -> (i32, String) {
    Process::start(command).end().await
}
