//! An operator reads an agent's log: its host is asked, and what it tells is passed on.

use std::sync::Arc;

use fleet_proto::{convert::at, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Shared;
use crate::{fleet_loop::Request as Ask, logs::relay};

/// Messages of at most 64 KiB each on their way to one operator. What could be more stays with the
/// host.
const ON_THE_WAY: usize = 2;

pub(super) async fn open(
    shared: &Arc<Shared>,
    request: v1::LogsRequest,
    by: &str,
) -> Result<ReceiverStream<Result<v1::LogsResponse, Status>>, Status> {
    let v1::LogsRequest { agent, follow, tail, since } = request;
    // Refused here, where somebody can put it right, and not by the host.
    since.map(|since| at("since", Some(since))).transpose()?;
    let find = |reply| Ask::FindLog { agent: agent.clone(), reply };
    let place = shared.handle.ask(find).await?;
    let asked = shared.logs.ask(place.clone())?;
    let open = v1::OpenLogs { id: asked.id(), agent: agent.clone(), follow, tail, since };
    let open = Box::new(open);
    tracing::info!(by, agent, host = %place.host, follow, "a log is read");
    shared.handle.ask(|reply| Ask::OpenLog { place, open, reply }).await?;
    let (outgoing, stream) = mpsc::channel(ON_THE_WAY);
    tokio::spawn(relay(asked, outgoing, shared.stop.clone()));
    Ok(ReceiverStream::new(stream))
}
