//! One log, from the host that tells it to the operator who reads it.

use std::time::Duration;

use fleet_model::numbers::{LOG_CHUNK_MAX, LOG_OFFER_LIMIT};
use fleet_proto::v1::{self, upload_logs_request::Message};
use prost::Message as _;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Asked, Upload};

/// Time for the reason of an end to go out to an operator who may read slowly.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(5);

/// Where the operator's stream is fed.
type Outgoing = mpsc::Sender<Result<v1::LogsResponse, Status>>;

/// Until the log is told, or one of the three is gone. Both ends are told why.
pub(crate) async fn relay(mut asked: Asked, outgoing: Outgoing, stop: CancellationToken) {
    let (host, mut lost) = (asked.place.host.clone(), asked.lost.clone());
    let mut upload = None;
    let told = tokio::select! {
        biased;
        () = outgoing.closed() => Ok(()),
        () = stop.cancelled() => Err(Status::unavailable("the coordinator stops; try again")),
        why = lost.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
            let next = "`agentctl get hosts` shows when it is back";
            Err(Status::unavailable(format!("host {host} was lost: {why}; {next}")))
        }
        told = told(&mut asked, &mut upload, &outgoing) => told,
    };
    // A host that still tells is to end at once; it may have gone, too.
    if let Some(Upload { answer, .. }) = upload {
        let _ = answer.try_send(Err(Status::cancelled("nobody reads this log any more")));
    }
    drop(asked);
    if let Err(status) = told {
        let _ = timeout(LAST_WORD_LIMIT, outgoing.send(Err(status))).await;
    }
}

async fn told(
    asked: &mut Asked,
    upload: &mut Option<Upload>,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let host = &asked.place.host;
    let offered = timeout(LOG_OFFER_LIMIT, &mut asked.offered).await;
    let Ok(Ok(offered)) = offered else {
        return Err(Status::unavailable(format!(
            "host {host} did not offer the log within {} s; is its hostd of this version?",
            LOG_OFFER_LIMIT.as_secs()
        )));
    };
    let Upload { incoming, .. } = upload.insert(offered);
    let broken = |why: String| {
        let next = "`agentctl get hosts` shows whether it is there";
        Status::unavailable(format!("host {host} broke the log off: {why}; {next}"))
    };
    loop {
        let message = incoming.message().await.map_err(|status| broken(what_broke(&status)))?;
        match message.map(|message| message.message) {
            Some(Some(Message::Lines(lines))) => {
                let v1::LogLines { lines } = checked(lines).map_err(broken)?;
                let response = v1::LogsResponse { lines };
                // The operator is gone: that is seen elsewhere.
                let _ = outgoing.send(Ok(response)).await;
            }
            Some(Some(Message::End(v1::LogsEnd { trouble }))) if trouble.is_empty() => {
                return Ok(());
            }
            Some(Some(Message::End(v1::LogsEnd { trouble }))) => {
                return Err(Status::failed_precondition(format!("host {host}: {trouble}")));
            }
            Some(Some(Message::Id(_))) => return Err(broken("it named an id twice".to_owned())),
            // Of a later version: not for us.
            Some(None) => {}
            None => return Err(broken("it ended without an end".to_owned())),
        }
    }
}

/// A connection's end in the words of the libraries below helps nobody at the other end.
fn what_broke(status: &Status) -> String {
    if std::error::Error::source(status).is_none() {
        return status.message().to_owned();
    }
    tracing::debug!(error = %fleet_proto::logging::Report(status), "a log broke off");
    "its connection ended".to_owned()
}

/// A host that sends more at once than was agreed would have it held here.
fn checked(lines: v1::LogLines) -> Result<v1::LogLines, String> {
    let size = lines.encoded_len();
    let fits = u32::try_from(size).is_ok_and(|size| size <= LOG_CHUNK_MAX);
    if fits { Ok(lines) } else { Err(format!("it sent {size} bytes at once")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{fleet_loop::LogPlace, logs::LogDesk};

    fn asked(desk: &Arc<LogDesk>) -> Asked {
        let host = "h1".parse().expect("a name");
        desk.ask(LogPlace { agent: "a-01".into(), host, session: 1 }).expect("room")
    }

    async fn end(mut log: mpsc::Receiver<Result<v1::LogsResponse, Status>>) -> Option<Status> {
        log.recv().await.and_then(Result::err)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_offer_the_log_is_not_waited_for() {
        let desk = Arc::new(LogDesk::default());
        let (outgoing, log) = mpsc::channel(1);
        tokio::spawn(relay(asked(&desk), outgoing, CancellationToken::new()));
        let began = tokio::time::Instant::now();
        let late = end(log).await.expect("it is told");
        assert!(late.message().contains("did not offer the log within 10 s"), "{late}");
        assert_eq!(began.elapsed().as_secs(), LOG_OFFER_LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_lost_ends_it_before_it_began() {
        let desk = Arc::new(LogDesk::default());
        let (outgoing, log) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let relayed = tokio::spawn(relay(asked(&desk), outgoing.clone(), stop.clone()));
        desk.session_ended(&"h1".parse().expect("a name"), 1, "it is off");
        let lost = end(log).await.expect("it is told");
        assert!(lost.message().starts_with("host h1 was lost: it is off; "), "{lost}");
        relayed.await.expect("it ended");
        // Nobody reads: nothing is left to do.
        relay(asked(&desk), outgoing, stop.clone()).await;
        let (outgoing, log) = mpsc::channel(1);
        stop.cancel();
        relay(asked(&desk), outgoing, stop).await;
        assert!(end(log).await.expect("it is told").message().contains("stops"));
    }
}
