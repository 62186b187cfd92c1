//! An agent's log as it leaves this host: over its runs, and without secrets.
//!
//! ```text
//!   view: which run ──► Runtime::logs ──► scrubbed ──► bounded channel ──► whoever reads
//!     ▲                     │ ends with the run
//!     └── next run, again ──┘   until the agent is forgotten
//! ```
//! Nothing is held for a reader who is slow: the runtime is read no faster than that.

mod guard;
mod wire;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_model::{AgentName, AgentStatus, RuntimeKind};
use fleet_proto::{logging::Report, v1};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use self::guard::Guard;
pub(crate) use self::guard::private;
pub use self::wire::chunks;
use crate::{
    runtime::{
        RunId, Runtime, RuntimeError,
        log::{LogEntry, LogQuery, LogStream, LogWhat},
    },
    secrets::Secrets,
    slots::SlotStore,
    view::View,
};

/// How long the last words of an agent that was forgotten are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reads the logs of this host's agents.
pub struct Logs {
    /// What is served.
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    /// Registrations, whose keys must not be shown.
    pub slots: SlotStore,
    /// Credentials, as well.
    pub secrets: Arc<Secrets>,
    /// Which run is an agent's run.
    pub view: watch::Receiver<Arc<View>>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose log.
    pub agent: AgentName,
    /// What of it.
    pub query: LogQuery,
}

/// Why a log is not told, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such agent.
    #[error("it keeps no agent {0} (any more)")]
    Unknown(AgentName),
    /// No run that could have one.
    #[error("agent {agent} has no run that left a log; it is {phase}{}", because(.why))]
    NoRun {
        /// Which.
        agent: AgentName,
        /// What it does.
        phase: String,
        /// And why.
        why: String,
    },
    /// Settings have changed under a living agent.
    #[error("it does not serve the runtime {0} any more")]
    NoRuntime(RuntimeKind),
    /// The engine's trouble; scrubbed.
    #[error("{0}")]
    Runtime(String),
    /// Nobody reads any more.
    #[error("nobody reads it any more")]
    Deaf,
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

impl Logs {
    /// Tells the log to its end; with `follow`, until the agent is forgotten.
    ///
    /// # Errors
    /// When it cannot be had, or nobody reads any more. What was told until then stands.
    pub async fn tell(
        &self,
        asked: &Asked,
        out: &mpsc::Sender<v1::LogLine>,
    ) -> Result<(), LogError> {
        let guard = Guard::new(self, &asked.agent).await;
        let query = asked.query.clone();
        let mut telling = Telling { logs: self, out, guard, query, told: None, last: None };
        telling.all(&asked.agent).await
    }

    fn runtime(&self, kind: RuntimeKind) -> Result<&Arc<dyn Runtime>, LogError> {
        self.runtimes.get(&kind).ok_or(LogError::NoRuntime(kind))
    }
}

/// Until the agent is not kept any more, or hostd ends.
async fn forgotten(view: &mut watch::Receiver<Arc<View>>, agent: &AgentName) {
    let _ = view.wait_for(|view| !view.agents.contains_key(agent)).await;
}

struct Telling<'a> {
    logs: &'a Logs,
    out: &'a mpsc::Sender<v1::LogLine>,
    guard: Guard<'a>,
    query: LogQuery,
    /// The run of the newest line.
    told: Option<u32>,
    /// The time of the newest line.
    last: Option<Timestamp>,
}

impl Telling<'_> {
    async fn all(&mut self, agent: &AgentName) -> Result<(), LogError> {
        let mut view = self.logs.view.clone();
        let mut known = false;
        loop {
            let status = view.borrow_and_update().agents.get(agent).cloned();
            let Some(status) = status else {
                return if known { Ok(()) } else { Err(LogError::Unknown(agent.clone())) };
            };
            known = true;
            self.run(&status).await?;
            if !self.query.follow {
                return Ok(());
            }
            let as_it_was = |view: &Arc<View>| view.agents.get(agent) == Some(&status);
            if view.wait_for(|view| !as_it_was(view)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// One run's log, as far as it goes.
    async fn run(&mut self, status: &AgentStatus) -> Result<(), LogError> {
        let run = RunId { agent: status.agent.clone(), attempt: status.attempt };
        let opened = self.logs.runtime(status.runtime)?.logs(&run, &self.query).await;
        let log = match opened {
            Ok(log) => log,
            // The next run, or the one that is being made, comes.
            Err(RuntimeError::NoRun(_)) if self.query.follow => return Ok(()),
            Err(RuntimeError::NoRun(_)) => {
                let (phase, why) = (status.phase.to_string(), status.why.clone());
                return Err(LogError::NoRun { agent: run.agent, phase, why });
            }
            Err(error) => return Err(self.trouble(&error).await),
        };
        if self.told.is_some_and(|told| told != run.attempt) {
            self.say(LogEntry { at: None, what: LogWhat::Run(run.attempt) }).await?;
        }
        self.pass_on(log, &run.agent).await?;
        self.told = Some(self.told.map_or(run.attempt, |told| told.max(run.attempt)));
        self.query = LogQuery { tail: None, after: self.last, ..self.query.clone() };
        Ok(())
    }

    async fn pass_on(&mut self, mut log: LogStream, agent: &AgentName) -> Result<(), LogError> {
        let mut view = self.logs.view.clone();
        let follow = self.query.follow;
        loop {
            tokio::select! {
                biased;
                () = self.out.closed() => return Err(LogError::Deaf),
                entry = log.next() => match entry {
                    Some(Ok(entry)) => self.say(entry).await?,
                    Some(Err(error)) => return Err(self.trouble(&error).await),
                    None => return Ok(()),
                },
                () = forgotten(&mut view, agent), if follow => {
                    return self.last_words(log).await;
                }
            }
        }
    }

    /// A log of all runs does not end by itself.
    async fn last_words(&mut self, mut log: LogStream) -> Result<(), LogError> {
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Some(Ok(entry))) = timeout_at(until, log.next()).await {
            self.say(entry).await?;
        }
        Ok(())
    }

    async fn say(&mut self, entry: LogEntry) -> Result<(), LogError> {
        if let LogWhat::Run(run) = entry.what
            && self.told.replace(run) == Some(run)
        {
            // Said already: here, or by the one who saw the run begin in another way.
            return Ok(());
        }
        self.last = self.last.max(entry.at);
        let line = wire::line(entry, self.guard.scrubber().await);
        self.out.send(line).await.map_err(|_| LogError::Deaf)
    }

    async fn trouble(&mut self, error: &RuntimeError) -> LogError {
        let why = Report(error).to_string();
        LogError::Runtime(self.guard.scrubber().await.line(&why).into_owned())
    }
}
