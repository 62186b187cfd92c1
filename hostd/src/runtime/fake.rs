//! A runtime in memory, for tests of what uses a runtime: agents that register and listen after
//! settable delays, jobs on demand, an engine that fails when told to, and counters of what was
//! asked of it. Time is tokio's, so a paused clock drives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{AgentName, GroupName, ImageRef, Mode, PoolName, RuntimeKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Exhibit, RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError, RuntimeEvent, Sign,
    StartWith, WorkerCheck,
    handover::Files,
    hub::Hub,
    log::{LogQuery, LogStream},
    tape::Tape,
};

/// How fast agents are, and what goes wrong. Change it at any time by [`FakeRuntime::script`].
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// How long a start takes.
    pub start: Duration,
    /// From the start to the registration, for runs that begin with a token.
    pub register: Duration,
    /// From there to listening.
    pub listen: Duration,
    /// From an interrupt to the end.
    pub stop: Duration,
    /// Exit code of the configuration run, when it is refused.
    pub refuse_registration: Option<i32>,
    /// The engine does not answer, with this cause.
    pub engine_down: Option<String>,
    /// Starts fail with these words.
    pub fail_starts: Option<String>,
    /// Images that are nowhere.
    pub missing_images: BTreeSet<ImageRef>,
    /// The process list cannot be read.
    pub blind: Option<String>,
    /// Once-mode listeners do not end after their job.
    pub hang_after_job: bool,
}

/// What was asked of it so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Questions whether an image is here.
    pub looks: u64,
    /// Pulls.
    pub pulls: u64,
    /// Containers made.
    pub creates: u64,
    /// Containers started.
    pub starts: u64,
    /// Interrupts.
    pub interrupts: u64,
    /// Ends by force.
    pub kills: u64,
    /// Removals.
    pub removes: u64,
    /// Lists.
    pub lists: u64,
    /// Looks for a worker.
    pub worker_checks: u64,
    /// Registrations that agents made.
    pub registrations: u64,
}

/// The runtime; clones share everything.
#[derive(Clone, Default)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    hub: Hub,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    script: Script,
    calls: Calls,
    runs: BTreeMap<RunId, Run>,
}

struct Run {
    pool: PoolName,
    group: GroupName,
    slot: u16,
    mode: Mode,
    state: RunState,
    job: Option<String>,
    tape: Tape,
    /// Which of its starts: what an earlier one had planned is void.
    life: u32,
}

impl FakeRuntime {
    /// An engine in good health, with fast agents.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, event: RuntimeEvent) {
        self.shared.hub.say(event);
    }

    fn sign(&self, run: &RunId, sign: Sign) {
        if let Some(text) = said(&sign) {
            self.writes(run, &text);
        }
        self.say(RuntimeEvent::Sign(run.clone(), sign));
    }

    /// Changes the script; an engine that comes or goes says so.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        let (before, after) = {
            let mut state = self.state();
            let before = state.script.engine_down.clone();
            change(&mut state.script);
            (before, state.script.engine_down.clone())
        };
        match (before, after) {
            (None, Some(why)) => self.say(RuntimeEvent::EngineDown(why)),
            (Some(_), None) => self.say(RuntimeEvent::EngineUp),
            _ => {}
        }
    }

    /// What was asked of it so far.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// A running agent gets a job: announces it, then says so.
    pub fn job_starts(&self, run: &RunId, name: &str) {
        self.job_starts_silently(run, name);
        self.sign(run, Sign::JobStarted(name.to_owned()));
    }

    /// A running agent gets a job and announces it; its log does not come through.
    pub fn job_starts_silently(&self, run: &RunId, name: &str) {
        if let Some(it) = self.state().runs.get_mut(run) {
            it.job = Some(name.to_owned());
        }
        self.sign(run, Sign::JobAnnounced);
    }

    /// Its job ends, and so much is announced; its listener goes on.
    pub fn job_ends_silently(&self, run: &RunId) {
        if let Some(it) = self.state().runs.get_mut(run) {
            it.job = None;
        }
        self.sign(run, Sign::JobAnnouncedOver);
    }

    /// Its job ends; in once mode so does the run, unless the script makes it hang.
    pub fn job_ends(&self, run: &RunId, result: &str) {
        let (name, over) = {
            let mut state = self.state();
            let hangs = state.script.hang_after_job;
            let Some(it) = state.runs.get_mut(run) else { return };
            (it.job.take().unwrap_or_default(), it.mode == Mode::Once && !hangs)
        };
        self.sign(run, Sign::JobFinished { name, result: result.to_owned() });
        self.sign(run, Sign::JobAnnouncedOver);
        if over {
            self.exit(run, 0);
        }
    }

    /// The listener ends.
    pub fn exit(&self, run: &RunId, code: i32) {
        {
            let mut state = self.state();
            let Some(it) = state.runs.get_mut(run) else { return };
            if it.state != RunState::Running {
                return;
            }
            (it.state, it.job) = (RunState::Ended(Some(code)), None);
            it.tape.set_over(true);
        }
        self.say(RuntimeEvent::Ended(run.clone(), Some(code)));
    }

    /// Somebody else removed the container.
    pub fn vanish(&self, run: &RunId) {
        let gone = self.state().runs.remove(run);
        if let Some(it) = gone {
            it.tape.set_over(true);
            self.say(RuntimeEvent::Gone(run.clone()));
        }
    }

    /// The listener writes a line that means nothing.
    pub fn writes(&self, run: &RunId, text: &str) {
        if let Some(it) = self.state().runs.get(run) {
            it.tape.write(text);
        }
    }

    /// How many follow the log of this run at this moment.
    pub fn log_readers(&self, run: &RunId) -> usize {
        self.state().runs.get(run).map_or(0, |it| it.tape.readers())
    }

    /// The listener says something.
    pub fn says(&self, run: &RunId, sign: Sign) {
        self.sign(run, sign);
    }

    /// An image came.
    pub fn image_comes(&self, image: &ImageRef) {
        self.state().script.missing_images.remove(image);
        self.say(RuntimeEvent::ImageCame);
    }

    fn check_engine(&self, count: impl FnOnce(&mut Calls)) -> Result<Script, RuntimeError> {
        let mut state = self.state();
        count(&mut state.calls);
        match &state.script.engine_down {
            Some(why) => Err(RuntimeError::EngineDown { engine: "fake", why: why.clone() }),
            None => Ok(state.script.clone()),
        }
    }

    /// Registration and listening, each unless the run is over by then.
    async fn live(self, run: RunId, life: u32, with_token: bool) {
        let script = self.state().script.clone();
        if with_token {
            self.sign(&run, Sign::Registering);
            tokio::time::sleep(script.register).await;
            if !self.lives(&run, life) {
                return;
            }
            if let Some(code) = script.refuse_registration {
                self.sign(&run, Sign::Complaint("the registration was refused".into()));
                return self.exit(&run, code);
            }
            let files = self.register(&run);
            self.sign(&run, Sign::Registered(files));
        }
        tokio::time::sleep(script.listen).await;
        if self.lives(&run, life) {
            self.sign(&run, Sign::Listening);
        }
    }

    fn lives(&self, run: &RunId, life: u32) -> bool {
        let state = self.state();
        state.runs.get(run).is_some_and(|it| it.state == RunState::Running && it.life == life)
    }

    /// Files as an agent writes them, with its byte order mark.
    fn register(&self, run: &RunId) -> Files {
        let mut state = self.state();
        state.calls.registrations += 1;
        let agent = serde_json::json!({
            "agentId": state.calls.registrations, "agentName": run.agent.as_str(), "poolId": 1,
            "serverUrl": "https://fake.example/org",
        });
        let file = |name: &str, text: String| (name.to_owned(), format!("\u{feff}{text}").into());
        Files::from([
            file(".agent", agent.to_string()),
            file(".credentials", "{}".to_owned()),
            file(".credentials_rsaparams", "{}".to_owned()),
        ])
    }

    /// Marks the run as running; none when it runs already.
    fn make(&self, spec: &RunSpec) -> Result<Option<u32>, RuntimeError> {
        let mut state = self.state();
        let State { calls, runs, .. } = &mut *state;
        if let Some(it) = runs.get_mut(&spec.run) {
            return match it.state {
                RunState::Running => Ok(None),
                RunState::Created | RunState::Ended(Some(3 | 4)) => {
                    calls.starts += 1;
                    (it.state, it.life) = (RunState::Running, it.life + 1);
                    it.tape.set_over(false);
                    Ok(Some(it.life))
                }
                RunState::Ended(code) => Err(RuntimeError::Refused {
                    doing: "starting",
                    why: format!("{} has ended already (exit code {code:?})", spec.run),
                }),
            };
        }
        calls.creates += 1;
        calls.starts += 1;
        let run = Run {
            pool: spec.pool.clone(),
            group: spec.group.clone(),
            slot: spec.slot,
            mode: spec.template.mode,
            state: RunState::Running,
            job: None,
            tape: Tape::default(),
            life: 1,
        };
        runs.insert(spec.run.clone(), run);
        Ok(Some(1))
    }
}

/// As a listener would write it.
fn said(sign: &Sign) -> Option<String> {
    Some(match sign {
        Sign::Registering => "fleet-entry: registering".to_owned(),
        Sign::Registered(_) => "fleet-entry: registered".to_owned(),
        Sign::Listening => "Listening for Jobs".to_owned(),
        Sign::JobStarted(name) => format!("Running job: {name}"),
        Sign::JobFinished { name, result } => format!("Job {name} completed with result: {result}"),
        _ => return None,
    })
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Fake
    }

    async fn describe(&self) -> Result<String, RuntimeError> {
        self.check_engine(|_| ()).map(|_| "fake engine".to_owned())
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        let script = self.check_engine(|calls| calls.looks += 1)?;
        if script.missing_images.contains(image) {
            self.state().calls.pulls += 1;
            let why = "no such image anywhere".to_owned();
            return Err(RuntimeError::ImageMissing { image: image.clone(), why });
        }
        Ok(())
    }

    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        let script = self.check_engine(|_| ())?;
        tokio::time::sleep(script.start).await;
        let script = self.check_engine(|_| ())?;
        if let Some(image) =
            spec.template.image.as_ref().filter(|i| script.missing_images.contains(*i))
        {
            self.state().calls.creates += 1;
            let why = "no such image".to_owned();
            return Err(RuntimeError::ImageMissing { image: image.clone(), why });
        }
        if let Some(why) = script.fail_starts {
            self.state().calls.creates += 1;
            return Err(RuntimeError::Refused { doing: "starting", why });
        }
        if let Some(life) = self.make(spec)? {
            self.say(RuntimeEvent::Started(spec.run.clone()));
            let with_token = life == 1 && matches!(spec.start, StartWith::Token(_));
            tokio::spawn(self.clone().live(spec.run.clone(), life, with_token));
        }
        Ok(())
    }

    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError> {
        let script = self.check_engine(|calls| calls.interrupts += 1)?;
        let (it, run) = (self.clone(), run.clone());
        tokio::spawn(async move {
            tokio::time::sleep(script.stop).await;
            let job = it.state().runs.get_mut(&run).and_then(|it| it.job.take());
            if let Some(name) = job {
                it.sign(&run, Sign::JobFinished { name, result: "Canceled".into() });
            }
            it.exit(&run, 0);
        });
        Ok(())
    }

    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.check_engine(|calls| calls.kills += 1)?;
        self.exit(run, 137);
        Ok(())
    }

    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.check_engine(|calls| calls.removes += 1)?;
        if self.state().runs.get(run).is_some_and(|it| it.state == RunState::Running) {
            return Err(RuntimeError::StillRuns(run.clone()));
        }
        self.vanish(run);
        Ok(())
    }

    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        self.check_engine(|_| ())?;
        Ok(vec![Exhibit { name: "engine.txt", text: format!("{run} ended") }])
    }

    async fn forget_slot(&self, _: &AgentName, _: &Path) -> Result<(), RuntimeError> {
        self.check_engine(|_| ()).map(drop)
    }

    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError> {
        self.check_engine(|calls| calls.lists += 1)?;
        let seen = |(run, it): (&RunId, &Run)| RunSeen {
            run: run.clone(),
            pool: it.pool.clone(),
            group: it.group.clone(),
            slot: it.slot,
            state: it.state,
        };
        Ok(self.state().runs.iter().map(seen).collect())
    }

    async fn worker(&self, run: &RunId) -> WorkerCheck {
        let script = match self.check_engine(|calls| calls.worker_checks += 1) {
            Ok(script) => script,
            Err(error) => return WorkerCheck::Unknown(error.to_string()),
        };
        if let Some(why) = script.blind {
            return WorkerCheck::Unknown(why);
        }
        match self.state().runs.get(run).and_then(|it| it.job.as_ref()) {
            Some(_) => WorkerCheck::Present,
            None => WorkerCheck::None,
        }
    }

    async fn logs(&self, run: &RunId, query: &LogQuery) -> Result<LogStream, RuntimeError> {
        self.check_engine(|_| ())?;
        let state = self.state();
        let it = state.runs.get(run).ok_or_else(|| RuntimeError::NoRun(run.clone()))?;
        Ok(it.tape.read(query))
    }

    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        self.shared.hub.watch(events, stop).await;
    }
}
