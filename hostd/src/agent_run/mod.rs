//! `hostd agent-run`: the process that stands between systemd and one agent's listener. One per
//! agent, small, and independent of hostd: hostd may be restarted, upgraded or gone for a week.
//!
//! ```text
//!   clean ──► listener lives ──► ended, cleaned, written down ──► hostd rules? ─yes─► wait ──┐
//!     ▲            │                                                   │no               hostd gone
//!     │            └ SIGTERM, SIGINT: at once when hostd vouches       ▼                     │
//!     │              or no worker lives, else at the job's end      back-off ◄───────────────┘
//!     └────────────────────────── still alone ─────────────────────────┘
//! ```
//!
//! While hostd is there, a run ends with its listener and hostd says what follows; while it is not,
//! the run goes on in rounds, by the rules of [`hostd_plan::Lonely`]. If this process is killed, the
//! listener lives on and the next one takes it over.

pub mod attended;
pub(crate) mod clean;
mod console;
mod containers;
mod listener;
pub mod record;

use std::{io, path::Path, time::Duration};

use anyhow::Context;
use fleet_model::{Mode, numbers::HANG_WATCHDOG};
use hostd_plan::{ListenerEnd, Lonely};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

pub use listener::{AS_USER, become_user};

use self::{
    attended::Attended,
    console::Console,
    listener::Listener,
    record::{Process, RunDir, State, UnitRecord},
};
use crate::{
    disk::absent_is_fine,
    runtime::{
        Sign, WorkerCheck, proc,
        systemd::bus::{Bus, BusError, UnitProcess},
    },
};

/// hostd's own unit is back within a second of a crash or an upgrade.
const GRACE: Duration = Duration::from_secs(3);
/// A job that is to be the last is looked at again after this, should its end not be heard.
const LEAVE_AGAIN: Duration = Duration::from_secs(5);
/// A worker that outlived its listener is looked at again after this.
const WORKER_AGAIN: Duration = Duration::from_secs(2);
/// Azure has given up a job whose lock was not renewed for so long: a lock is good for ten minutes.
const ABANDONED: Duration = Duration::from_secs(15 * 60);
/// Exit code of a run whose listener could not be started.
const NO_LISTENER: i32 = 74;
/// A machine that goes down waits this long for a listener that was asked to end.
const SHUTDOWN: Duration = Duration::from_secs(75);

/// Runs until it is told to end.
///
/// # Errors
/// A directory that holds no run, or a machine that gives no process. systemd starts it again then.
pub async fn run(dir: &Path) -> anyhow::Result<()> {
    let dir = RunDir::at(dir);
    let unit = dir.unit()?.with_context(|| format!("{} holds no run", dir.path().display()))?;
    let mut agent = Agent {
        attended: Attended::within(dir.path().parent().context("no directory of runs")?),
        console: Console::open(&dir)?,
        bus: Bus::default(),
        stops: Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        },
        lonely: Lonely::default(),
        leaving: false,
        began_alone: false,
        dir,
        unit,
    };
    agent.live().await
}

struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

struct Agent {
    dir: RunDir,
    unit: UnitRecord,
    attended: Attended,
    console: Console,
    bus: Bus,
    stops: Stops,
    lonely: Lonely,
    /// Somebody wants it to end when its job has.
    leaving: bool,
    /// Its present round was begun without hostd.
    began_alone: bool,
}

impl Agent {
    async fn live(&mut self) -> anyhow::Result<()> {
        let mut listener = match self.left_over()? {
            Some(listener) => Ok(listener),
            // Its listener ended while nobody looked, or it ended and was then started by systemd.
            None if self.dir.state()?.is_some() => Err(self.console.end_unseen()),
            None => self.begin().await?,
        };
        loop {
            let end = match listener {
                Ok(listener) => self.attend(listener).await?,
                Err(end) => end,
            };
            self.outlast_worker(end).await;
            self.close(end).await?;
            if self.leaving || !self.wait_alone(end).await? {
                return Ok(());
            }
            listener = self.begin().await?;
        }
    }

    /// The listener of an agent's process that was killed.
    fn left_over(&mut self) -> anyhow::Result<Option<Listener>> {
        let Some(State::Running { listener, had_job }) = self.dir.state()? else {
            return Ok(None);
        };
        self.console.had_job = had_job;
        // Killed before it could write down which one it had started.
        let found = || -> io::Result<_> {
            let found = proc::listener_of_user(self.unit.uid)?;
            Ok(found.as_ref().map(Process::from))
        };
        let Some(process) = listener.map_or_else(found, |known| Ok(Some(known)))? else {
            return Ok(None);
        };
        let left = Listener::adopt(process)?;
        if left.is_some() {
            tracing::warn!(pid = process.pid, "the listener of an earlier agent-run is taken over");
        }
        Ok(left)
    }

    /// A listener in a clean place; or how it ended without one, and the log says why.
    async fn begin(&mut self) -> anyhow::Result<Result<Listener, ListenerEnd>> {
        let tidy = self.tidy().await;
        self.console.begin();
        absent_is_fine(self.dir.trim_log())?;
        self.dir.put_state(State::Running { listener: None, had_job: false })?;
        self.dir.say_started()?;
        match tidy.and_then(|()| Listener::start(&self.dir, &self.unit)) {
            Ok(listener) => {
                self.note_running(&listener)?;
                tell("starting");
                Ok(Ok(listener))
            }
            // Rather no agent than one that shows a job what another one left.
            Err(error) => {
                tracing::error!(%error, "no listener is started");
                self.dir.say_line(&format!("fleet-entry: failed: {error}"))?;
                Ok(Err(ListenerEnd { code: Some(NO_LISTENER), ..self.console.end_unseen() }))
            }
        }
    }

    fn note_running(&self, listener: &Listener) -> io::Result<()> {
        let (listener, had_job) = (Some(listener.process), self.console.had_job);
        self.dir.put_state(State::Running { listener, had_job })
    }

    /// Until the listener has ended, however that comes about.
    async fn attend(&mut self, mut listener: Listener) -> anyhow::Result<ListenerEnd> {
        let (mut hang_at, mut leave_at): (Option<Instant>, Option<Instant>) = (None, None);
        let code = loop {
            tokio::select! {
                biased;
                ended = listener.ended() => break ended?,
                () = self.stops.next() => {
                    self.leaving = true;
                    leave_at = Some(Instant::now());
                }
                () = at(leave_at) => {
                    // A job that began meanwhile is finished too; its end is looked for anew.
                    leave_at = match self.leave(&listener).await? {
                        true => None,
                        false => Some(Instant::now() + LEAVE_AGAIN),
                    };
                }
                sign = self.console.next() => {
                    let sign = sign?;
                    hang_at = match &sign {
                        Sign::JobFinished { .. } => {
                            leave_at = leave_at.map(|_| Instant::now());
                            let once = self.unit.mode == Mode::Once;
                            once.then(|| Instant::now() + HANG_WATCHDOG)
                        }
                        Sign::JobStarted(_) | Sign::Listening => None,
                        _ => hang_at,
                    };
                    if let Sign::JobStarted(_) = sign {
                        self.note_running(&listener)?;
                    }
                    if let Some(words) = status_of(&sign) {
                        tell(&words);
                    }
                }
                () = at(hang_at) => {
                    self.watchdog(&listener).await?;
                    hang_at = Some(Instant::now() + HANG_WATCHDOG);
                }
            }
        };
        self.console.drain()?;
        Ok(ListenerEnd { code, ..self.console.end_unseen() })
    }

    /// A listener that said its goodbye a minute ago hangs. hostd judges by itself while it is there.
    async fn watchdog(&self, listener: &Listener) -> anyhow::Result<()> {
        let alone = self.attended.alone()?.is_some();
        if alone && self.bus.worker_of(&self.unit).await == WorkerCheck::None {
            tracing::warn!("the listener hangs after its job and is ended");
            listener.kill()?;
        }
        Ok(())
    }

    /// hostd asks only when no job can be lost. Somebody else may not know: then a job is finished
    /// first (false), unless the whole machine goes down and would cut it off.
    async fn leave(&self, listener: &Listener) -> anyhow::Result<bool> {
        let down = self.bus.is_stopping().await;
        if !self.dir.may_stop()
            && !down
            && self.bus.worker_of(&self.unit).await != WorkerCheck::None
        {
            tell("ends after its job");
            return Ok(false);
        }
        listener.interrupt()?;
        if down {
            let process = listener.process;
            tokio::spawn(async move {
                sleep(SHUTDOWN).await;
                proc::kill(process.pid, |now| process.is(now));
            });
        }
        Ok(true)
    }

    /// A listener that died may leave a worker behind, and that its job: it is finished first. Azure
    /// gives a job up that nobody renews, so this has an end.
    async fn outlast_worker(&mut self, end: ListenerEnd) {
        let abandoned = Instant::now() + ABANDONED;
        while end.code != Some(0) && !self.dir.may_stop() && Instant::now() < abandoned {
            if self.bus.worker_of(&self.unit).await == WorkerCheck::None {
                return;
            }
            tell("the listener died; its job is finished first");
            tokio::select! {
                () = self.stops.next() => self.leaving = true,
                () = sleep(WORKER_AGAIN) => {}
            }
        }
    }

    /// What a run leaves behind is removed before anybody hears of its end.
    async fn close(&mut self, end: ListenerEnd) -> anyhow::Result<()> {
        if let Err(error) = self.tidy().await {
            tracing::error!(%error, "what the run left cannot be removed; it is tried again");
        }
        if end.is_update() {
            self.dir.note_update()?;
        }
        if !matches!(self.dir.state()?, Some(State::Ended { .. })) {
            self.dir.end(end.code)?;
        }
        tell(&format!("ended with {}", end.code.map_or("no code".into(), |c| c.to_string())));
        Ok(())
    }

    /// Nothing runs, and in once mode nothing lies there, that a job left.
    async fn tidy(&self) -> io::Result<()> {
        self.kill_the_rest().await;
        if self.unit.mode == Mode::LongLived {
            return Ok(());
        }
        if let Some(engine) = &self.unit.engine {
            containers::remove_left(engine, &self.unit.home).await;
        }
        self.clean()
    }

    /// Everything in the unit but this process, and everything of the user, until none is left.
    async fn kill_the_rest(&self) {
        const ROUNDS: u32 = 50;
        for _ in 0..ROUNDS {
            let killed = self.kill_unit().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the unit's processes cannot be listed");
                0
            });
            let of_user = proc::kill_user(self.unit.uid).unwrap_or_else(|error| {
                tracing::warn!(%error, "the user's processes cannot be listed");
                0
            });
            if killed + of_user == 0 {
                return;
            }
            // They are dead and may not be buried yet; a fork may have been quicker than we are.
            sleep(Duration::from_millis(5)).await;
        }
        tracing::warn!("processes of the run before are still there");
    }

    /// Ends the unit's other processes; returns how many there were.
    async fn kill_unit(&self) -> Result<usize, BusError> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let others = |all: Vec<UnitProcess>| all.into_iter().map(|p| p.pid).filter(|p| *p != own);
        let first: Vec<i32> = others(self.bus.processes(&self.unit.unit).await?).collect();
        if first.is_empty() {
            return Ok(0);
        }
        // A number may be given to a stranger between the list and the signal: a process that is
        // held before the second list and stands in it is the unit's.
        let held: Vec<_> = first.into_iter().filter_map(proc::Handle::open).collect();
        let second: Vec<i32> = others(self.bus.processes(&self.unit.unit).await?).collect();
        Ok(held.iter().filter(|held| second.contains(&held.pid) && held.kill()).count())
    }

    fn clean(&self) -> io::Result<()> {
        let (root, uid) = (self.unit.root.clone(), self.unit.uid);
        let aside = clean::renew_work_folder(&root, uid)?;
        // At leisure: a folder may be large, and the next agent must not wait for it.
        std::thread::spawn(move || {
            let removed = aside.iter().map(|old| clean::remove(old));
            let removed = removed.chain([clean::clean_common(uid)]);
            for error in removed.filter_map(Result::err) {
                tracing::warn!(%error, "something of the run before cannot be removed");
            }
        });
        Ok(())
    }

    /// Waits as long as hostd rules; then, alone, as long as the rules say. False: it is to end.
    async fn wait_alone(&mut self, end: ListenerEnd) -> anyhow::Result<bool> {
        let mut wait = None;
        // Only at the first round alone it may be that hostd is back at once.
        let long_alone = self.began_alone && self.attended.alone()?.is_some();
        let mut grace = if long_alone { Duration::ZERO } else { GRACE };
        loop {
            tokio::select! {
                () = self.stops.next() => return Ok(false),
                gone = self.attended.until_alone() => gone.context("waiting for hostd's end")??,
            }
            let (lonely, agent) = (&mut self.lonely, self.unit.agent.as_str());
            let wait = *wait.get_or_insert_with(|| lonely.wait_after(end, agent));
            tell(&format!("hostd is away: goes on in {} s", wait.as_secs()));
            tokio::select! {
                () = self.stops.next() => return Ok(false),
                () = sleep(wait.max(grace)) => {}
            }
            grace = GRACE;
            // Held until the new round is written down: a hostd that comes now waits for that.
            if let Some(_alone) = self.attended.alone()? {
                self.dir.put_state(State::Running { listener: None, had_job: false })?;
                self.began_alone = true;
                return Ok(true);
            }
            self.began_alone = false;
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// What `systemctl status` shows.
fn status_of(sign: &Sign) -> Option<String> {
    Some(match sign {
        Sign::Registering => "registers".into(),
        Sign::Listening => "listens for jobs".into(),
        Sign::JobStarted(name) => format!("runs job {name}"),
        Sign::JobFinished { name, result } => format!("job {name}: {result}"),
        Sign::SessionConflict => "Azure still holds an earlier session".into(),
        Sign::ConnectError(why) | Sign::Complaint(why) => why.clone(),
        Sign::Registered(_) | Sign::Reconnected | Sign::JobAnnounced | Sign::JobAnnouncedOver => {
            return None;
        }
    })
}

fn tell(words: &str) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Status(words)]);
}
