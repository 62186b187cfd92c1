//! What the rest of the daemon holds of the loop.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    denied::Denied,
    event::{AzureEvent, Enrol, Event, Reply, Request, SessionEvent},
    summary::Summary,
};

/// The loop answers within milliseconds; a disk that hangs for longer than this is broken.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Asks the loop and tells it things. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    events: mpsc::Sender<Event>,
    last_seq: watch::Receiver<u64>,
}

impl FleetHandle {
    pub(super) fn new(events: mpsc::Sender<Event>, last_seq: watch::Receiver<u64>) -> Self {
        Self { events, last_seq }
    }

    /// Figures for metrics and health.
    ///
    /// # Errors
    /// When the loop has ended or hangs.
    pub async fn summary(&self) -> Result<Summary, Denied> {
        self.ask(|reply| Request::Summary { reply }).await
    }

    /// The newest event's number; changes when the history grows.
    pub fn newest_event(&self) -> watch::Receiver<u64> {
        self.last_seq.clone()
    }

    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Denied> {
        self.answer(|reply| Event::Request(request(reply))).await
    }

    pub(crate) async fn enrol(&self, enrol: impl FnOnce(Reply<()>) -> Enrol) -> Result<(), Denied> {
        self.answer(|reply| Event::Enrol(enrol(reply))).await
    }

    /// A session is granted or refused; with a contest that takes longer than other answers.
    pub(crate) async fn open<T>(
        &self,
        open: impl FnOnce(Reply<T>) -> SessionEvent,
    ) -> Result<T, Denied> {
        self.answer(|reply| Event::Session(open(reply))).await
    }

    /// Tells what a session said. Waits while the loop has too much to do, which slows the host
    /// down and nobody else.
    pub(crate) async fn tell(&self, event: SessionEvent) -> Result<(), Denied> {
        self.events.send(Event::Session(event)).await.map_err(|_| Denied::Away("stopping"))
    }

    pub(crate) async fn azure(&self, event: AzureEvent) -> Result<(), Denied> {
        self.events.send(Event::Azure(event)).await.map_err(|_| Denied::Away("stopping"))
    }

    async fn answer<T>(&self, event: impl FnOnce(Reply<T>) -> Event) -> Result<T, Denied> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.events.send(event(reply)).await.map_err(|_| Denied::Away("stopping"))?;
            answer.await.map_err(|_| Denied::Away("stopping"))?
        };
        timeout(ANSWER_LIMIT, asked).await.map_err(|_| Denied::Away("too slow to answer"))?
    }
}
