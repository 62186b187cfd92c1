//! From what a runtime sees to what the loop is told. A registration is stored before anybody hears
//! of it.

use std::{sync::Arc, time::Duration};

use fleet_model::RuntimeKind;
use fleet_proto::logging::Report;
use hostd_plan::{Event, Heard};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    host_loop::Input,
    runtime::{RunId, Runtime, RuntimeEvent, Sign},
    slots::{SlotError, SlotStore},
};

/// Room for what a runtime sees while the loop writes its ledger.
const ROOM: usize = 1024;
/// A registration that could not be stored is tried again after this.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// Watches one runtime until `stop`. A watch that ends by itself is begun again.
pub async fn watch(
    runtime: Arc<dyn Runtime>,
    slots: SlotStore,
    inbox: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let kind = runtime.kind();
    while !stop.is_cancelled() {
        let (seen, mut events) = mpsc::channel(ROOM);
        let watching = tokio::spawn(Arc::clone(&runtime).watch(seen, stop.clone()));
        while let Some(event) = events.recv().await {
            if pass_on(kind, event, &slots, &inbox, &stop).await.is_err() {
                break;
            }
        }
        let ended = watching.await;
        if stop.is_cancelled() || inbox.is_closed() {
            return;
        }
        tracing::error!(runtime = %kind, broke_off = ended.is_err(), "its watch ended by itself");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn pass_on(
    kind: RuntimeKind,
    event: RuntimeEvent,
    slots: &SlotStore,
    inbox: &mpsc::Sender<Input>,
    stop: &CancellationToken,
) -> Result<(), mpsc::error::SendError<Input>> {
    let input = match event {
        RuntimeEvent::Sign(run, Sign::Registered(files)) => {
            return registered(run, files, slots, inbox, stop).await;
        }
        RuntimeEvent::Started(RunId { agent, attempt }) => {
            Input::Seen(Event::RunStarted { agent, attempt })
        }
        RuntimeEvent::Ended(RunId { agent, attempt }, code) => {
            Input::Seen(Event::RunEnded { agent, attempt, code })
        }
        RuntimeEvent::Gone(RunId { agent, attempt }) => {
            Input::Seen(Event::RunGone { agent, attempt })
        }
        RuntimeEvent::Sign(RunId { agent, attempt }, sign) => match heard(sign) {
            Some(heard) => Input::Seen(Event::Heard { agent, attempt, heard }),
            None => return Ok(()),
        },
        RuntimeEvent::ImageCame => Input::Seen(Event::ImageCame { kind }),
        RuntimeEvent::EngineUp => Input::EngineUp(kind),
        RuntimeEvent::EngineDown(why) => Input::EngineDown(kind, why),
    };
    inbox.send(input).await
}

fn heard(sign: Sign) -> Option<Heard> {
    Some(match sign {
        Sign::Registering => Heard::Registering,
        Sign::Listening => Heard::Listening,
        Sign::JobStarted(name) => Heard::JobStarted(name),
        Sign::JobFinished { .. } => Heard::JobFinished,
        Sign::JobAnnounced => Heard::JobAnnounced,
        Sign::JobAnnouncedOver => Heard::JobAnnouncedOver,
        Sign::SessionConflict => Heard::SessionConflict,
        Sign::ConnectError(why) => Heard::ConnectError(why),
        // The trouble is over, and nothing is left to say about it.
        Sign::Reconnected => Heard::Complaint(String::new()),
        Sign::Complaint(why) => Heard::Complaint(why),
        // Goes its own way: the files come first.
        Sign::Registered(_) => return None,
    })
}

type Files = std::collections::BTreeMap<String, Vec<u8>>;

/// Stores it first. On a full disk that is tried until it succeeds, beside everything else that
/// the runtime sees.
async fn registered(
    run: RunId,
    files: Files,
    slots: &SlotStore,
    inbox: &mpsc::Sender<Input>,
    stop: &CancellationToken,
) -> Result<(), mpsc::error::SendError<Input>> {
    match store(slots, &run, &files).await {
        Ok(row) => inbox.send(Input::Registered(run, row)).await,
        Err(error @ (SlotError::File { .. } | SlotError::Seal { .. })) => {
            tracing::error!(%run, error = %Report(&error), "tried again until it succeeds");
            let (slots, inbox, stop) = (slots.clone(), inbox.clone(), stop.clone());
            tokio::spawn(async move {
                while stop.run_until_cancelled(tokio::time::sleep(STORE_AGAIN)).await.is_some() {
                    if let Ok(row) = store(&slots, &run, &files).await {
                        let _ = inbox.send(Input::Registered(run, row)).await;
                        return;
                    }
                }
            });
            Ok(())
        }
        Err(error @ SlotError::Content { .. }) => {
            // What the run handed out is no registration of its agent: as if it had none.
            let why = Report(&error).to_string();
            tracing::error!(%run, why, "not taken");
            let heard = Heard::Complaint(why);
            let RunId { agent, attempt } = run;
            inbox.send(Input::Seen(Event::Heard { agent, attempt, heard })).await
        }
    }
}

async fn store(
    slots: &SlotStore,
    run: &RunId,
    files: &Files,
) -> Result<hostd_plan::RowId, SlotError> {
    let (slots, own, copy) = (slots.clone(), run.clone(), files.clone());
    let stored =
        tokio::task::spawn_blocking(move || slots.store(&own.agent, own.attempt, &copy)).await;
    stored.unwrap_or_else(|_| {
        let why = "storing it was broken off".to_owned();
        Err(SlotError::Content { agent: run.agent.clone(), why })
    })
}
