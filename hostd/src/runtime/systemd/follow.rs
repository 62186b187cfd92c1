//! What runs say → what hostd is told. One watch on the kernel's word for all of them; nothing is
//! looked at again and again.
//!
//! ```text
//!   rule ──► listen to runs and units ──► read every log ──► EngineUp ──► changes … ──► bus lost
//!    ▲                                                                                     │
//!    └───────────────── wait, longer each time ◄──── EngineDown ◄──────────────────────────┘
//! ```

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::SystemdRuntime;
use crate::{
    agent_run::{
        attended::Held,
        record::{LogLine, passage},
    },
    disk::blocking,
    runtime::{
        RunId, RunState, RuntimeEvent, Sign,
        again::Again,
        signs::{Heard, Standing, hear},
    },
};

/// Room for the kernel's words; an event is 16 bytes and a short name.
const BUFFER: usize = 16 * 1024;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("nobody listens any more")]
    Deaf,
    #[error("{0}")]
    Over(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Step<T = ()> = Result<T, Broken>;

/// How far a run's log is read.
#[derive(Default)]
struct Reader {
    offset: u64,
    /// A line whose end is not written yet.
    half: Vec<u8>,
    started: bool,
    ended: bool,
}

pub(super) struct Follow {
    systemd: Arc<SystemdRuntime>,
    out: mpsc::Sender<RuntimeEvent>,
    readers: BTreeMap<RunId, Reader>,
    dirs: BTreeMap<WatchDescriptor, RunId>,
}

impl Follow {
    pub(super) fn new(systemd: Arc<SystemdRuntime>, out: mpsc::Sender<RuntimeEvent>) -> Self {
        Self { systemd, out, readers: BTreeMap::new(), dirs: BTreeMap::new() }
    }

    /// Until `stop`, or until nobody listens.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let out = self.out.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = out.closed() => {}
            () = self.go_on() => {}
        }
    }

    async fn go_on(&mut self) {
        let mut again = Again::of("systemd");
        // Held for as long as this watches: agents' processes leave decisions to hostd meanwhile.
        let mut ruling = None;
        loop {
            let mut up = false;
            let Err(broken) = self.session(&mut ruling, &mut up).await;
            again.broke(broken.to_string(), up, &self.out).await;
        }
    }

    /// One connection's life, until it breaks.
    async fn session(&mut self, ruling: &mut Option<Held>, up: &mut bool) -> Step<Infallible> {
        passage(&self.systemd.settings.runs_dir)?;
        if ruling.is_none() {
            let place = self.systemd.attended.clone();
            *ruling = Some(blocking(move || place.rule()).await?);
        }
        let removed = self.systemd.bus.removed().await;
        let mut removed = removed.map_err(|error| Broken::Over(error.to_string()))?;
        // Before the list: what changes meanwhile is in it or comes after it.
        let mut changes = self.listen()?;
        let mut watches = changes.0;
        self.reconcile(&mut watches).await?;
        *up = true;
        let _ = self.out.send(RuntimeEvent::EngineUp).await;
        let over = |what: &str| Broken::Over(format!("{what} ended"));
        loop {
            tokio::select! {
                change = changes.1.next() => {
                    let change = change.ok_or_else(|| over("the kernel's word on files"))??;
                    self.changed(&mut watches, change).await?;
                }
                unit = removed.next() => {
                    unit.ok_or_else(|| over("the connection to the system bus"))?;
                    // A unit that went with everything in it wrote no word about that.
                    self.systemd.settle_dead().await;
                }
            }
        }
    }

    fn listen(&mut self) -> Step<(Watches, EventStream<Vec<u8>>)> {
        let inotify = Inotify::init()?;
        let mut watches = inotify.watches();
        let comes_and_goes = WatchMask::CREATE | WatchMask::MOVED_FROM | WatchMask::MOVED_TO;
        watches.add(&self.systemd.settings.runs_dir, comes_and_goes | WatchMask::DELETE)?;
        self.dirs.clear();
        Ok((watches, inotify.into_event_stream(vec![0; BUFFER])?))
    }

    /// Everything that is there, and everything that is not any more.
    async fn reconcile(&mut self, watches: &mut Watches) -> Step {
        let there = self.systemd.run_dirs()?;
        for run in &there {
            self.watch_dir(watches, run)?;
        }
        self.systemd.settle_dead().await;
        for run in &there {
            match self.readers.contains_key(run) {
                true => self.read(run).await?,
                false => self.adopt(run).await?,
            }
        }
        let gone: Vec<RunId> =
            self.readers.keys().filter(|run| !there.contains(run)).cloned().collect();
        for run in gone {
            self.gone(&run).await?;
        }
        Ok(())
    }

    fn watch_dir(&mut self, watches: &mut Watches, run: &RunId) -> Step {
        let dir = self.systemd.run_dir(run);
        match watches.add(dir.path(), WatchMask::MODIFY | WatchMask::CREATE | WatchMask::ONLYDIR) {
            Ok(descriptor) => {
                self.dirs.insert(descriptor, run.clone());
                Ok(())
            }
            // It is gone again already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn changed(
        &mut self,
        watches: &mut Watches,
        change: inotify::Event<std::ffi::OsString>,
    ) -> Step {
        if change.mask.contains(EventMask::Q_OVERFLOW) {
            return self.reconcile(watches).await;
        }
        if let Some(run) = self.dirs.get(&change.wd).cloned() {
            if change.mask.contains(EventMask::IGNORED) {
                self.dirs.remove(&change.wd);
                return Ok(());
            }
            return match change.name.as_deref().is_some_and(|name| name == "log") {
                true => self.read(&run).await,
                false => Ok(()),
            };
        }
        let name = change.name.unwrap_or_default();
        let Some(run) = super::run_of_dir(&name.to_string_lossy()) else { return Ok(()) };
        if change.mask.intersects(EventMask::MOVED_FROM | EventMask::DELETE) {
            return self.gone(&run).await;
        }
        self.watch_dir(watches, &run)?;
        self.readers.entry(run.clone()).or_default();
        self.read(&run).await
    }

    async fn gone(&mut self, run: &RunId) -> Step {
        self.systemd.notices.close(run);
        let Some(reader) = self.readers.remove(run) else { return Ok(()) };
        // It was removed before the word of its end was read.
        if reader.started && !reader.ended {
            self.say(RuntimeEvent::Ended(run.clone(), None)).await?;
        }
        self.say(RuntimeEvent::Gone(run.clone())).await
    }

    /// A run that ran before we watched: its registration and its newest state, no history.
    async fn adopt(&mut self, run: &RunId) -> Step {
        let mut reader = Reader::default();
        let lines = self.new_lines(run, &mut reader)?;
        let (mut standing, mut ended) = (Standing::default(), None);
        for line in &lines {
            match LogLine::parse(line) {
                Some(LogLine::Started) => (reader.started, ended) = (true, None),
                Some(LogLine::Said(said)) => {
                    if let Some(heard) = hear(said) {
                        standing.take(heard);
                    }
                }
                Some(LogLine::Ended(code)) => ended = Some(code),
                None => {}
            }
        }
        reader.ended = ended.is_some();
        self.readers.insert(run.clone(), reader);
        let registered = match standing.registered() {
            true => self.registered(run, true).await,
            false => None,
        };
        let signs = registered.into_iter().chain(standing.signs());
        let signs = signs.map(|sign| RuntimeEvent::Sign(run.clone(), sign));
        let ended = ended.map(|code| RuntimeEvent::Ended(run.clone(), code));
        for event in signs.chain(ended) {
            self.say(event).await?;
        }
        Ok(())
    }

    /// What was written since the last time.
    async fn read(&mut self, run: &RunId) -> Step {
        let mut reader = self.readers.remove(run).unwrap_or_default();
        let lines = self.new_lines(run, &mut reader)?;
        let mut events = Vec::new();
        for line in &lines {
            match LogLine::parse(line) {
                Some(LogLine::Started) => {
                    (reader.started, reader.ended) = (true, false);
                    events.push(RuntimeEvent::Started(run.clone()));
                }
                Some(LogLine::Said(said)) => match hear(said) {
                    Some(Heard::Sign(sign)) => events.push(RuntimeEvent::Sign(run.clone(), sign)),
                    Some(Heard::Registered) => {
                        let files = self.registered(run, false).await;
                        events.extend(files.map(|sign| RuntimeEvent::Sign(run.clone(), sign)));
                    }
                    None => {}
                },
                Some(LogLine::Ended(code)) if !reader.ended => {
                    reader.ended = true;
                    self.systemd.handover.forget_token(run).await;
                    self.systemd.notices.ended(run, code);
                    events.push(RuntimeEvent::Ended(run.clone(), code));
                }
                Some(LogLine::Ended(_)) | None => {}
            }
        }
        self.readers.insert(run.clone(), reader);
        for event in events {
            self.say(event).await?;
        }
        Ok(())
    }

    fn new_lines(&self, run: &RunId, reader: &mut Reader) -> io::Result<Vec<String>> {
        let mut log = match File::open(self.systemd.run_dir(run).log()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            log => log?,
        };
        // It was cut: what is in it now is new.
        if log.metadata()?.len() < reader.offset {
            let Reader { started, ended, .. } = *reader;
            *reader = Reader { started, ended, ..Reader::default() };
        }
        log.seek(SeekFrom::Start(reader.offset))?;
        let mut bytes = std::mem::take(&mut reader.half);
        let read = log.read_to_end(&mut bytes)?;
        reader.offset += u64::try_from(read).unwrap_or(0);
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        reader.half = bytes.split_off(end);
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    async fn registered(&self, run: &RunId, also_taken_before: bool) -> Option<Sign> {
        match self.systemd.handover.registration(run, also_taken_before).await {
            Ok(files) => files.map(Sign::Registered),
            Err(error) => {
                Some(Sign::Complaint(format!("the registration cannot be fetched: {error}")))
            }
        }
    }

    async fn say(&self, event: RuntimeEvent) -> Step {
        self.out.send(event).await.map_err(|_| Broken::Deaf)
    }
}

/// As `list` says it.
pub(super) fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Created => "was not started",
        RunState::Running => "runs",
        RunState::Ended(_) => "has ended",
    }
}
