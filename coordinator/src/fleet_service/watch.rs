//! Watching: the present state, a mark, then every change.

use std::sync::Arc;

use fleet_proto::v1::{self, watch_response::Change};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{ON_THE_WAY, Shared, given};
use crate::{
    fleet_loop::{Changed, Filter, Kinds, Request as Ask},
    mailbox::Mailbox,
};

type Stream = ReceiverStream<Result<v1::WatchResponse, Status>>;

pub(super) async fn watch(
    shared: &Arc<Shared>,
    request: v1::WatchRequest,
) -> Result<Stream, Status> {
    let v1::WatchRequest { pools, hosts, agents, pool, host } = request;
    if !(pools || hosts || agents) {
        return Err(Status::invalid_argument("say what to watch: pools, hosts or agents"));
    }
    let kinds = Kinds { pools, hosts, agents };
    let filter = Filter { pool: given(pool), host: given(host), agent: None };
    let mailbox = shared.handle.ask(|reply| Ask::Watch { filter, kinds, reply }).await?;
    let (outgoing, stream) = mpsc::channel(ON_THE_WAY);
    let stop = shared.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = pump(mailbox, &outgoing) => {}
            () = outgoing.closed() => {}
            () = stop.cancelled() => {
                let _ = outgoing.send(Err(Status::unavailable("the coordinator stops"))).await;
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Empties the mailbox as fast as the operator reads; what changes meanwhile is coalesced in it.
async fn pump(
    mailbox: Mailbox<Changed>,
    outgoing: &mpsc::Sender<Result<v1::WatchResponse, Status>>,
) {
    loop {
        mailbox.changed().await;
        let changed = mailbox.take();
        let synced = v1::WatchResponse { change: Some(Change::Synced(v1::Synced {})) };
        let mark = changed.synced.then(|| Arc::new(synced));
        for response in changed.objects.into_values().chain(mark) {
            if outgoing.send(Ok(Arc::unwrap_or_clone(response))).await.is_err() {
                return;
            }
        }
    }
}
