//! systemd's manager over the system bus: the few calls that agents need, each with a limit.
//!
//! What belongs to a unit is asked of systemd and never read from a cgroup's path, which is another
//! one on every kind of machine.

use std::{future::Future, time::Duration};

use futures_util::StreamExt;
use tokio::{sync::Mutex, time::timeout};
use zbus::{Connection, OwnedObjectPath, OwnedVariant};
use zbus_systemd::systemd1::{JobRemovedStream, ManagerProxy, UnitRemovedStream};

use crate::{
    agent_run::record::UnitRecord,
    disk::blocking,
    runtime::{RuntimeError, WorkerCheck, proc},
};

/// A question.
const ASK: Duration = Duration::from_secs(10);
/// A unit's start or stop: systemd has much to do after a boot.
const CHANGE: Duration = Duration::from_secs(60);
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Where the system bus is.
pub const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// Name → value, as systemd takes them.
pub(crate) type Properties = Vec<(String, OwnedVariant)>;

/// A process of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitProcess {
    /// Its number.
    pub(crate) pid: i32,
    /// Its command line.
    pub(crate) words: String,
}

/// A unit that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitSeen {
    /// Its name.
    pub(crate) name: String,
    /// As we described it.
    pub(crate) description: String,
    /// active, activating, deactivating, inactive, failed, …
    pub(crate) active: String,
}

impl UnitSeen {
    /// A main process of it lives, or is about to.
    pub(crate) fn lives(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "deactivating" | "reloading")
    }
}

/// What systemd answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    /// There is no such unit.
    #[error("no such unit")]
    NoUnit,
    /// A unit of that name is there already.
    #[error("the unit is there already")]
    Exists,
    /// It refused.
    #[error("systemd refuses: {0}")]
    Refused(String),
    /// It does not answer.
    #[error("systemd does not answer on the system bus: {0}")]
    Down(String),
}

impl BusError {
    /// As a verb of a runtime says it.
    pub(crate) fn while_doing(self, doing: &'static str) -> RuntimeError {
        match self {
            Self::Down(why) => RuntimeError::EngineDown { engine: "systemd", why },
            other => RuntimeError::Refused { doing, why: other.to_string() },
        }
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => match name.as_str() {
                NO_SUCH_UNIT => Self::NoUnit,
                UNIT_EXISTS => Self::Exists,
                // The bus itself has no manager to ask, as on a machine without systemd.
                name if name.starts_with("org.freedesktop.DBus.Error.") => {
                    Self::Down(text.unwrap_or_else(|| name.to_owned()))
                }
                name => Self::Refused(text.unwrap_or_else(|| name.to_owned())),
            },
            other => Self::Down(other.to_string()),
        }
    }
}

/// The system bus, connected when it is first needed and again when it was lost.
pub(crate) struct Bus {
    address: String,
    connection: Mutex<Option<Connection>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self::at(SYSTEM_BUS)
    }
}

impl Bus {
    /// At this address.
    pub(crate) fn at(address: &str) -> Self {
        Self { address: address.to_owned(), connection: Mutex::default() }
    }

    async fn manager(&self) -> Result<ManagerProxy<'static>, BusError> {
        let mut held = self.connection.lock().await;
        let connection = match held.as_ref() {
            Some(connection) => connection.clone(),
            None => {
                let building = zbus::connection::Builder::address(self.address.as_str()).build();
                let connection = limited(ASK, async { Ok(building.await?) }).await?;
                held.insert(connection).clone()
            }
        };
        Ok(ManagerProxy::new(&connection).await?)
    }

    /// One call within a limit. After no answer the connection is made anew.
    async fn call<T, F>(
        &self,
        limit: Duration,
        ask: impl FnOnce(ManagerProxy<'static>) -> F,
    ) -> Result<T, BusError>
    where
        F: Future<Output = Result<T, BusError>>,
    {
        let manager = self.manager().await?;
        let answer = limited(limit, ask(manager)).await;
        if let Err(BusError::Down(_)) = answer {
            *self.connection.lock().await = None;
        }
        answer
    }

    /// systemd's version.
    pub(crate) async fn version(&self) -> Result<String, BusError> {
        self.call(ASK, |m| async move { Ok(m.version().await?) }).await
    }

    /// The machine goes down.
    pub(crate) async fn is_stopping(&self) -> bool {
        let state = self.call(ASK, |m| async move { Ok(m.system_state().await?) }).await;
        state.is_ok_and(|state| state == "stopping")
    }

    /// Units whose names fit `pattern`.
    pub(crate) async fn units(&self, pattern: &str) -> Result<Vec<UnitSeen>, BusError> {
        let pattern = pattern.to_owned();
        let all = self.call(ASK, |m| async move {
            Ok(m.list_units_by_patterns(Vec::new(), vec![pattern]).await?)
        });
        let seen = |unit: (String, String, String, String, _, _, _, _, _, _)| UnitSeen {
            name: unit.0,
            description: unit.1,
            active: unit.3,
        };
        Ok(all.await?.into_iter().map(seen).collect())
    }

    /// Processes of a unit.
    ///
    /// # Errors
    /// Among others [`BusError::NoUnit`].
    pub(crate) async fn processes(&self, unit: &str) -> Result<Vec<UnitProcess>, BusError> {
        let name = unit.to_owned();
        let all = self.call(ASK, |m| async move { Ok(m.get_unit_processes(name).await?) }).await?;
        let process = |(_, pid, words): (String, u32, String)| {
            Some(UnitProcess { pid: i32::try_from(pid).ok()?, words })
        };
        Ok(all.into_iter().filter_map(process).collect())
    }

    /// Does a worker live in a unit? One that is not there has no process.
    pub(crate) async fn worker(&self, unit: &str) -> WorkerCheck {
        match self.processes(unit).await {
            Ok(all) if all.iter().any(|p| p.words.contains("Agent.Worker")) => WorkerCheck::Present,
            Ok(_) | Err(BusError::NoUnit) => WorkerCheck::None,
            Err(error) => WorkerCheck::Unknown(error.to_string()),
        }
    }

    /// Does a worker of this run live? A job cannot leave its user, and what became root is still in
    /// the unit.
    pub(crate) async fn worker_of(&self, record: &UnitRecord) -> WorkerCheck {
        let uid = record.uid;
        match blocking(move || Ok(proc::worker_of_user(uid))).await {
            Ok(WorkerCheck::None) => self.worker(&record.unit).await,
            Ok(other) => other,
            Err(error) => WorkerCheck::Unknown(error.to_string()),
        }
    }

    /// Makes a unit and waits until its program is executed.
    ///
    /// # Errors
    /// Among others [`BusError::Exists`].
    pub(crate) async fn start(&self, unit: &str, properties: Properties) -> Result<(), BusError> {
        let name = unit.to_owned();
        self.call(CHANGE, |m| async move {
            // Listening first: the job may be done before the call's answer is here.
            m.subscribe().await.or_else(subscribed_already)?;
            let jobs = m.receive_job_removed().await?;
            let mode = "fail".to_owned();
            let job = m.start_transient_unit(name, mode, properties, Vec::new()).await?;
            done(job, jobs).await
        })
        .await
    }

    /// Stops a unit and waits for that. One that is not there is stopped.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn stop(&self, unit: &str) -> Result<(), BusError> {
        let name = unit.to_owned();
        let stopped = self.call(CHANGE, |m| async move {
            m.subscribe().await.or_else(subscribed_already)?;
            let jobs = m.receive_job_removed().await?;
            let job = m.stop_unit(name.clone(), "replace".to_owned()).await?;
            done(job, jobs).await?;
            // One that failed would be kept for people to look at.
            match m.reset_failed_unit(name).await.map_err(BusError::from) {
                Err(BusError::Down(why)) => Err(BusError::Down(why)),
                _ => Ok(()),
            }
        });
        match stopped.await {
            Err(BusError::NoUnit) => Ok(()),
            other => other,
        }
    }

    /// Sends a signal to a unit's main process (`main`) or to all of it (`all`).
    ///
    /// # Errors
    /// Among others [`BusError::NoUnit`].
    pub(crate) async fn kill(
        &self,
        unit: &str,
        whom: &'static str,
        signal: i32,
    ) -> Result<(), BusError> {
        let (name, whom) = (unit.to_owned(), whom.to_owned());
        self.call(ASK, |m| async move { Ok(m.kill_unit(name, whom, signal).await?) }).await
    }

    /// Names of units that went away, from now on; it ends with the connection.
    pub(crate) async fn removed(&self) -> Result<UnitRemovedStream, BusError> {
        self.call(ASK, |m| async move {
            m.subscribe().await.or_else(subscribed_already)?;
            Ok(m.receive_unit_removed().await?)
        })
        .await
    }
}

async fn limited<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, BusError>>,
) -> Result<T, BusError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(BusError::Down(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// systemd subscribes a connection once and refuses a second time, which is as good.
fn subscribed_already(error: zbus::Error) -> Result<(), BusError> {
    match BusError::from(error) {
        BusError::Refused(_) => Ok(()),
        other => Err(other),
    }
}

/// Waits for a job's end.
async fn done(job: OwnedObjectPath, mut jobs: JobRemovedStream) -> Result<(), BusError> {
    while let Some(removed) = jobs.next().await {
        let removed = removed.args()?;
        if removed.job == job {
            return match removed.result.as_str() {
                "done" | "skipped" => Ok(()),
                other => Err(BusError::Refused(format!("the job ended as {other}"))),
            };
        }
    }
    Err(BusError::Down("the connection ended".into()))
}
