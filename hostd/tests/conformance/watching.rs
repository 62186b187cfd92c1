//! Waiting for what a runtime says, with a limit.

use std::{sync::Arc, time::Duration};

use hostd::runtime::{RunId, Runtime, RuntimeEvent, Sign};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Far more than anything takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A runtime that is watched until this is dropped.
pub(crate) struct Watching {
    events: mpsc::Receiver<RuntimeEvent>,
    seen: Vec<RuntimeEvent>,
    _stop: DropGuard,
}

impl Watching {
    /// Begins, and waits until the engine is said to be up.
    pub(crate) async fn begin(runtime: Arc<dyn Runtime>) -> Self {
        let mut watching = Self::begin_with_any_engine(runtime);
        watching.until("EngineUp", |event| *event == RuntimeEvent::EngineUp).await;
        watching
    }

    pub(crate) fn begin_with_any_engine(runtime: Arc<dyn Runtime>) -> Self {
        let (sender, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        tokio::spawn(runtime.watch(sender, stop.clone()));
        Self { events, seen: Vec::new(), _stop: stop.drop_guard() }
    }

    /// Waits for an event; those before it are kept in [`Self::seen`].
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&RuntimeEvent) -> bool,
    ) -> RuntimeEvent {
        let waiting = async {
            while let Some(event) = self.events.recv().await {
                self.seen.push(event.clone());
                if wanted(&event) {
                    return event;
                }
            }
            panic!("the watch ended before {what}");
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(event) => event,
            Err(_) => panic!("{what} did not come; what came: {:#?}", self.seen),
        }
    }

    /// As [`Self::until`], but it may have come already: runs are told of in no order.
    pub(crate) async fn once(&mut self, what: &str, wanted: impl Fn(&RuntimeEvent) -> bool) {
        if !self.seen.iter().any(&wanted) {
            self.until(what, wanted).await;
        }
    }

    /// Waits for a sign of a run.
    pub(crate) async fn sign(
        &mut self,
        run: &RunId,
        what: &str,
        wanted: impl Fn(&Sign) -> bool,
    ) -> Sign {
        let of_run = |event: &RuntimeEvent| matches!(event, RuntimeEvent::Sign(r, s) if r == run && wanted(s));
        match self.until(&format!("{what} of {run}"), of_run).await {
            RuntimeEvent::Sign(_, sign) => sign,
            other => panic!("{other:?} is no sign"),
        }
    }

    pub(crate) async fn listening(&mut self, run: &RunId) {
        self.sign(run, "Listening", |sign| *sign == Sign::Listening).await;
    }

    /// As [`Self::listening`], but it may have come already.
    pub(crate) async fn once_listening(&mut self, run: &RunId) {
        let listening = RuntimeEvent::Sign(run.clone(), Sign::Listening);
        self.once(&format!("Listening of {run}"), |event| *event == listening).await;
    }

    pub(crate) async fn busy(&mut self, run: &RunId) {
        self.sign(run, "JobStarted", |sign| matches!(sign, Sign::JobStarted(_))).await;
    }

    /// Waits for the end of a run.
    pub(crate) async fn ended(&mut self, run: &RunId) -> Option<i32> {
        let is_end = |event: &RuntimeEvent| matches!(event, RuntimeEvent::Ended(r, _) if r == run);
        match self.until(&format!("the end of {run}"), is_end).await {
            RuntimeEvent::Ended(_, code) => code,
            other => panic!("{other:?} is no end"),
        }
    }

    pub(crate) async fn gone(&mut self, run: &RunId) {
        self.until(&format!("Gone of {run}"), |e| *e == RuntimeEvent::Gone(run.clone())).await;
    }

    /// Everything of one run so far, in the order in which it was said.
    pub(crate) fn seen(&self, run: &RunId) -> Vec<&RuntimeEvent> {
        self.seen.iter().filter(|event| crate::suite::run_of(event) == Some(run)).collect()
    }
}
