//! One task per container: it says what the run does, in the order in which it happened.
//!
//! ```text
//!             Started                 Died, or the log says so
//!    New ───────────────► Running ───────────────────────────► Ended
//!     │  Seen(Running)      ▲                                    │
//!     ├─────────────────────┤   Started (again, after an update) │
//!     │  Seen(Ended)        └────────────────────────────────────┤
//!     └──────────────────────────────────────────────────────────┘
//! ```
//!
//! The engine's events and the log arrive on two connections. An end is held back until the log is
//! read to its end, so that nobody hears why a run failed after hearing that it ended.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use fleet_model::Entry;
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    DockerRuntime,
    engine::EngineError,
    keepers,
    logs::{self, Line, Lines},
};
use crate::runtime::{
    RunId, RunState, RuntimeEvent, Sign,
    signs::{Heard, Standing, hear},
};

/// How long an end waits for the log's end.
const DRAIN: Duration = Duration::from_secs(2);
/// A log that ended, or could not be opened, while the container should live is looked at again
/// after this long.
const RECHECK: Duration = Duration::from_secs(2);

/// What the engine's events and lists say about a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Note {
    Started,
    Died(Option<i32>),
    Gone,
    /// A list, after the engine came (back).
    Seen(RunState),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    New,
    Running,
    Ended,
}

/// Nobody listens any more.
struct Deaf;

type Step<T = ()> = Result<T, Deaf>;

pub(super) struct Follow {
    docker: Arc<DockerRuntime>,
    run: RunId,
    entry: Entry,
    out: mpsc::Sender<RuntimeEvent>,
    life: Life,
    lines: Option<Lines>,
    /// Time of the last line heard.
    last: Option<String>,
    recheck: Option<Instant>,
    /// Ends when nothing is left that makes an agent of this container; see [`keepers`].
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Follow {
    pub(super) fn new(
        docker: Arc<DockerRuntime>,
        run: RunId,
        entry: Entry,
        out: mpsc::Sender<RuntimeEvent>,
    ) -> Self {
        let (life, lines, last, recheck, over) = (Life::New, None, None, None, None);
        Self { docker, run, entry, out, life, lines, last, recheck, over }
    }

    /// Until the run is gone, or nobody listens.
    pub(super) async fn run(mut self, mut notes: mpsc::UnboundedReceiver<Note>) {
        loop {
            let step = tokio::select! {
                biased;
                note = notes.recv() => match note {
                    None => return,
                    Some(Note::Gone) => {
                        self.gone().await;
                        let _ = self.say(RuntimeEvent::Gone(self.run.clone())).await;
                        return;
                    }
                    Some(note) => self.take(note).await,
                },
                line = next(&mut self.lines) => self.heard(line).await,
                () = maybe(&mut self.over) => self.agent_is_over().await,
                () = at(self.recheck) => self.look_again().await,
            };
            if step.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, note: Note) -> Step {
        match (note, self.life) {
            (Note::Started, Life::New | Life::Ended)
            | (Note::Seen(RunState::Running), Life::Ended) => self.started().await,
            (Note::Seen(RunState::Running), Life::New) => self.adopt().await,
            (Note::Seen(RunState::Running), Life::Running) if self.lines.is_none() => {
                self.open().await;
                Ok(())
            }
            (Note::Seen(RunState::Ended(code)), Life::New) => {
                self.catch_up().await?;
                self.ended(code).await
            }
            (Note::Seen(RunState::Ended(code)) | Note::Died(code), Life::New | Life::Running) => {
                self.drain().await?;
                self.ended(code).await
            }
            _ => Ok(()),
        }
    }

    async fn started(&mut self) -> Step {
        self.life = Life::Running;
        self.docker.memory.begins(&self.run);
        self.say(RuntimeEvent::Started(self.run.clone())).await?;
        self.open().await;
        Ok(())
    }

    /// It ran before anybody listened: what it does now stands for what it did.
    async fn adopt(&mut self) -> Step {
        self.life = Life::Running;
        self.catch_up().await?;
        self.open().await;
        Ok(())
    }

    async fn catch_up(&mut self) -> Step {
        let Ok(client) = self.docker.engine.client().await else { return Ok(()) };
        let mut history = logs::history(client, &self.run.to_string());
        let mut standing = Standing::default();
        // What cannot be read in time comes by following; only its order is lost.
        let reading = async {
            while let Some(Ok(line)) = history.next().await {
                hear(&line.text).into_iter().for_each(|heard| standing.take(heard));
                self.last = Some(line.at);
            }
        };
        let _ = timeout(super::engine::ASK, reading).await;
        if standing.registered() && self.entry == Entry::Own {
            self.registered(true).await?;
        }
        if standing.listened() {
            self.listened().await;
        }
        for sign in standing.signs() {
            self.sign(sign).await?;
        }
        Ok(())
    }

    async fn open(&mut self) {
        self.recheck = None;
        self.lines = match self.docker.engine.client().await {
            Ok(client) => Some(logs::follow(client, &self.run.to_string(), self.last.as_deref())),
            Err(_) => None,
        };
        if self.lines.is_none() {
            self.recheck = Some(Instant::now() + RECHECK);
        }
    }

    async fn heard(&mut self, line: Option<Result<Line, bollard::errors::Error>>) -> Step {
        match line {
            Some(Ok(line)) => self.line(line).await,
            // As a rule its container ended, and the engine says so in a moment.
            Some(Err(_)) | None => {
                self.lines = None;
                self.recheck = Some(Instant::now() + RECHECK);
                Ok(())
            }
        }
    }

    async fn line(&mut self, line: Line) -> Step {
        self.last = Some(line.at);
        match hear(&line.text) {
            None => Ok(()),
            Some(Heard::Registered) => self.registered(false).await,
            Some(Heard::Sign(sign)) => {
                match sign {
                    Sign::Complaint(_) => self.docker.handover.forget_token(&self.run).await,
                    Sign::Listening => self.listened().await,
                    _ => {}
                }
                self.sign(sign).await
            }
        }
    }

    /// The listener has its registration: no token is needed any more, and jobs may come, which
    /// would find it.
    async fn listened(&mut self) {
        self.docker.handover.forget_token(&self.run).await;
        if self.entry == Entry::Image && self.over.is_none() {
            self.over = Some(Box::pin(keepers::gone(self.docker.clone(), self.run.clone())));
        }
    }

    async fn registered(&mut self, also_taken_before: bool) -> Step {
        match self.docker.handover.registration(&self.run, also_taken_before).await {
            Ok(Some(files)) => self.sign(Sign::Registered(files)).await,
            Ok(None) => Ok(()),
            Err(error) => {
                let why = format!("the registration cannot be fetched: {error}");
                self.sign(Sign::Complaint(why)).await
            }
        }
    }

    async fn drain(&mut self) -> Step {
        if self.lines.is_none() {
            self.open().await;
        }
        let deadline = Instant::now() + DRAIN;
        while let Some(lines) = self.lines.as_mut() {
            match tokio::time::timeout_at(deadline, lines.next()).await {
                Ok(Some(Ok(line))) => self.line(line).await?,
                _ => self.lines = None,
            }
        }
        Ok(())
    }

    async fn ended(&mut self, code: Option<i32>) -> Step {
        self.life = Life::Ended;
        (self.lines, self.recheck, self.over) = (None, None, None);
        self.docker.handover.forget_token(&self.run).await;
        self.docker.memory.ends(&self.run, code);
        self.docker.notices.ended(&self.run, code);
        self.say(RuntimeEvent::Ended(self.run.clone(), code)).await
    }

    /// Whoever removed it, what was handed over to it serves nobody any more.
    async fn gone(&mut self) {
        self.docker.memory.forget(&self.run);
        if let Err(error) = self.docker.drop_handover(&self.run).await {
            tracing::error!(run = %self.run, %error, "a hand-over is left behind");
        }
    }

    /// The image's own script may go on for ever; the agent does not.
    async fn agent_is_over(&mut self) -> Step {
        self.ended(None).await
    }

    async fn look_again(&mut self) -> Step {
        self.recheck = None;
        match self.docker.state(&self.run.to_string()).await {
            Ok(RunState::Ended(code)) => self.take(Note::Died(code)).await,
            Ok(_) => {
                self.open().await;
                Ok(())
            }
            Err(EngineError::Absent(_)) => self.take(Note::Died(None)).await,
            // The engine is gone: when it is back, a list tells.
            Err(_) => Ok(()),
        }
    }

    async fn sign(&mut self, sign: Sign) -> Step {
        self.say(RuntimeEvent::Sign(self.run.clone(), sign)).await
    }

    async fn say(&mut self, event: RuntimeEvent) -> Step {
        self.out.send(event).await.map_err(|_| Deaf)
    }
}

async fn next(lines: &mut Option<Lines>) -> Option<Result<Line, bollard::errors::Error>> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

async fn maybe(over: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match over {
        Some(over) => over.await,
        None => std::future::pending().await,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
