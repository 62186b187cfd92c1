//! The engine's events → what the runs do. Events are hints, the list is the truth: whenever the
//! connection is new, everything is listed again.
//!
//! ```text
//!   connect ──► subscribe ──► list ──► EngineUp ──► events … ──► the stream ends
//!      ▲                                                             │
//!      └──────────── wait, longer each time ◄──── EngineDown ◄───────┘
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bollard::{models::EventMessage, query_parameters::EventsOptionsBuilder};
use fleet_model::Entry;
use futures_util::StreamExt;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    DockerRuntime,
    engine::in_full,
    follow::{Follow, Note},
    labels,
};
use crate::runtime::{RunId, RuntimeEvent, again::Again};

/// Events that may wait for us; the engine keeps about as many itself.
const WAITING: usize = 256;

/// What the two event streams bring.
enum Heard {
    Run { run: RunId, entry: Entry, note: Note },
    Image,
    End(String),
}

pub(super) struct Watch {
    docker: Arc<DockerRuntime>,
    out: mpsc::Sender<RuntimeEvent>,
    /// One task per run; they outlive a restart of the engine, and with it the log's position.
    followers: JoinSet<()>,
    notes: BTreeMap<RunId, mpsc::UnboundedSender<Note>>,
}

impl Watch {
    pub(super) fn new(docker: Arc<DockerRuntime>, out: mpsc::Sender<RuntimeEvent>) -> Self {
        Self { docker, out, followers: JoinSet::new(), notes: BTreeMap::new() }
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
        let mut again = Again::of("the Docker engine");
        loop {
            let mut up = false;
            let why = self.session(&mut up).await;
            again.broke(why, up, &self.out).await;
        }
    }

    /// One connection's life; returns why it ended.
    async fn session(&mut self, up: &mut bool) -> String {
        // Events from before the list are part of the list.
        let since = SystemTime::now();
        if let Err(error) = self.docker.engine.renegotiate().await {
            return error.to_string();
        }
        let (sender, mut heard) = mpsc::channel(WAITING);
        let _streams = self.subscribe(since, sender).await;
        let listed = match self.docker.listed().await {
            Ok(listed) => listed,
            Err(error) => return error.to_string(),
        };
        self.docker.images.forget();
        self.reconcile(&listed);
        *up = true;
        let _ = self.out.send(RuntimeEvent::EngineUp).await;
        while let Some(next) = heard.recv().await {
            match next {
                Heard::Run { run, entry, note } => self.tell(run, entry, note),
                Heard::Image => {
                    self.docker.images.forget();
                    let _ = self.out.send(RuntimeEvent::ImageCame).await;
                }
                Heard::End(why) => return why,
            }
        }
        "the event streams ended".to_owned()
    }

    /// The streams are lazy, so each is polled by a task at once: whatever happens while the list is
    /// made is in a stream.
    async fn subscribe(&self, since: SystemTime, sender: mpsc::Sender<Heard>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let containers = labels::filter(&self.docker.settings.host);
        for (kind, actions, filters) in [
            ("container", ["start", "die", "destroy"].as_slice(), containers),
            ("image", ["pull", "load", "tag", "import"].as_slice(), HashMap::new()),
        ] {
            let filters = with(filters, kind, actions);
            let (sender, docker) = (sender.clone(), self.docker.clone());
            tasks.spawn(async move {
                let why = listen(&docker, since, filters, &sender).await;
                let _ = sender.send(Heard::End(why)).await;
            });
        }
        tasks
    }

    fn reconcile(&mut self, listed: &[(crate::runtime::RunSeen, Entry)]) {
        for (seen, entry) in listed {
            self.tell(seen.run.clone(), *entry, Note::Seen(seen.state));
        }
        let gone: Vec<RunId> = self
            .notes
            .keys()
            .filter(|run| !listed.iter().any(|(seen, _)| seen.run == **run))
            .cloned()
            .collect();
        for run in gone {
            self.tell(run, Entry::Own, Note::Gone);
        }
    }

    /// Hands a note to the run's task, which is made when there is none.
    fn tell(&mut self, run: RunId, entry: Entry, note: Note) {
        while self.followers.try_join_next().is_some() {}
        let is_last = matches!(note, Note::Gone);
        let told = self.notes.get(&run).is_some_and(|notes| notes.send(note).is_ok());
        if !told && !is_last {
            let (sender, notes) = mpsc::unbounded_channel();
            let _ = sender.send(note);
            self.notes.insert(run.clone(), sender);
            let follow = Follow::new(self.docker.clone(), run, entry, self.out.clone());
            self.followers.spawn(follow.run(notes));
        } else if is_last {
            self.notes.remove(&run);
        }
    }
}

fn with(
    mut filters: HashMap<String, Vec<String>>,
    kind: &str,
    actions: &[&str],
) -> HashMap<String, Vec<String>> {
    filters.insert("type".to_owned(), vec![kind.to_owned()]);
    filters.insert("event".to_owned(), actions.iter().map(|a| (*a).to_owned()).collect());
    filters
}

/// Hands on one stream's events; returns why it ended.
async fn listen(
    docker: &DockerRuntime,
    since: SystemTime,
    filters: HashMap<String, Vec<String>>,
    sender: &mpsc::Sender<Heard>,
) -> String {
    let client = match docker.engine.client().await {
        Ok(client) => client,
        Err(error) => return error.to_string(),
    };
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let options =
        EventsOptionsBuilder::default().since(&since.as_secs().to_string()).filters(&filters);
    let mut stream = std::pin::pin!(client.events(Some(options.build())));
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return format!("the event stream broke: {}", in_full(&error)),
        };
        let too_old = event.time_nano.is_some_and(|at| i128::from(at) < since.as_nanos() as i128);
        let heard = if too_old { None } else { understand(event) };
        if let Some(heard) = heard
            && sender.send(heard).await.is_err()
        {
            break;
        }
    }
    "the event stream ended".to_owned()
}

fn understand(event: EventMessage) -> Option<Heard> {
    let action = event.action?;
    let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let note = match action.as_str() {
        "start" => Note::Started,
        "die" => Note::Died(attributes.get("exitCode").and_then(|code| code.parse().ok())),
        "destroy" => Note::Gone,
        _ => return Some(Heard::Image),
    };
    Some(Heard::Run { run: labels::run(&attributes)?, entry: labels::entry(&attributes), note })
}
