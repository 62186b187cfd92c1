//! Events of runtimes that have no engine to ask: whoever watches gets every event from then on,
//! and first what stands for those before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    RunId, RuntimeEvent, Sign,
    handover::Files,
    signs::{Heard, Standing},
};

#[derive(Default)]
pub(super) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    watchers: Vec<mpsc::UnboundedSender<RuntimeEvent>>,
    newest: BTreeMap<RunId, Newest>,
    down: Option<String>,
}

/// What a run's history comes down to.
#[derive(Default)]
struct Newest {
    standing: Standing,
    files: Option<Files>,
    ended: Option<Option<i32>>,
}

impl Hub {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change is one step; what a panic leaves is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everyone, in one order for all.
    pub(super) fn say(&self, event: RuntimeEvent) {
        let mut inner = self.inner();
        inner.note(&event);
        inner.watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
    }

    /// Hands everything on until `stop`.
    pub(super) async fn watch(&self, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        let mut from = self.subscribe();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => None,
                next = from.recv() => next,
            };
            let Some(event) = next else { return };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let mut inner = self.inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        for event in inner.so_far() {
            // The receiver is in our hands.
            let _ = sender.send(event);
        }
        inner.watchers.push(sender);
        receiver
    }
}

impl Inner {
    fn note(&mut self, event: &RuntimeEvent) {
        match event {
            RuntimeEvent::Started(run) => self.newest.entry(run.clone()).or_default().ended = None,
            RuntimeEvent::Ended(run, code) => {
                self.newest.entry(run.clone()).or_default().ended = Some(*code);
            }
            RuntimeEvent::Gone(run) => {
                self.newest.remove(run);
            }
            RuntimeEvent::Sign(run, sign) => {
                let newest = self.newest.entry(run.clone()).or_default();
                if let Sign::Registered(files) = sign {
                    newest.files = Some(files.clone());
                }
                newest.standing.take(Heard::Sign(sign.clone()));
            }
            RuntimeEvent::EngineDown(why) => self.down = Some(why.clone()),
            RuntimeEvent::EngineUp => self.down = None,
            RuntimeEvent::ImageCame => {}
        }
    }

    fn so_far(&self) -> Vec<RuntimeEvent> {
        let engine = match &self.down {
            Some(why) => RuntimeEvent::EngineDown(why.clone()),
            None => RuntimeEvent::EngineUp,
        };
        let runs = self.newest.iter().flat_map(|(run, newest)| {
            let files = newest.files.clone().map(Sign::Registered);
            let signs = files.into_iter().chain(newest.standing.clone().signs());
            let ended = newest.ended.map(|code| RuntimeEvent::Ended(run.clone(), code));
            signs.map(|sign| RuntimeEvent::Sign(run.clone(), sign)).chain(ended)
        });
        std::iter::once(engine).chain(runs).collect()
    }
}
