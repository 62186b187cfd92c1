//! A host offers a log: brought to the operator who waits for it, or refused.

use std::sync::Arc;

use fleet_model::{HostName, numbers::LOG_OFFER_LIMIT};
use fleet_proto::v1::{self, upload_logs_request::Message};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use crate::logs::{LogDesk, Upload};

/// Reads which log it is and hands the stream over. Whoever gets it tells the host its end.
pub(super) async fn offered(
    desk: Arc<LogDesk>,
    host: HostName,
    mut incoming: Streaming<v1::UploadLogsRequest>,
    answer: mpsc::Sender<Result<v1::UploadLogsResponse, Status>>,
) {
    let refused = match first(&mut incoming).await {
        Ok(id) => match desk.claim(&id, &host) {
            // Fails when the operator went away at this moment; the host learns it by the end.
            Ok(waiting) => return drop(waiting.send(Upload { incoming, answer })),
            Err(status) => status,
        },
        Err(status) => status,
    };
    if refused.code() == tonic::Code::PermissionDenied {
        tracing::warn!(%host, why = refused.message(), "a host offered a log that is not its own");
    }
    // Fails only when the host has gone away already.
    let _ = answer.send(Err(refused)).await;
}

async fn first(incoming: &mut Streaming<v1::UploadLogsRequest>) -> Result<Vec<u8>, Status> {
    let first = timeout(LOG_OFFER_LIMIT, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("nothing was said about which log this is"))??;
    match first.and_then(|first| first.message) {
        Some(Message::Id(id)) => Ok(id),
        _ => Err(Status::invalid_argument("the first message of a log must be its id")),
    }
}
