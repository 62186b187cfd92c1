//! Events since a point, and those to come. Read from the store in pages: a slow reader holds back
//! nobody and costs one page of memory.

use std::sync::Arc;

use fleet_proto::{
    convert::{at, timestamp},
    v1,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{ON_THE_WAY, Shared, given};
use crate::store::{EventQuery, Keep, StoredEvent};

/// Events read at a time.
const PAGE: usize = 500;
/// Events told when no number is asked for.
const USUAL: usize = 100;

type Outgoing = mpsc::Sender<Result<v1::ListEventsResponse, Status>>;

pub(super) fn list(
    shared: &Arc<Shared>,
    request: v1::ListEventsRequest,
) -> Result<ReceiverStream<Result<v1::ListEventsResponse, Status>>, Status> {
    let since = request.since.map(|since| at("since", Some(since))).transpose()?;
    let limit = match request.limit {
        0 => USUAL,
        limit => limit as usize,
    };
    let query = EventQuery {
        after: request.after_seq,
        since,
        limit,
        // From a known place one reads on; without one, the newest are of interest.
        keep: if request.after_seq > 0 { Keep::Oldest } else { Keep::Newest },
        pool: given(request.pool),
        host: given(request.host),
        agent: given(request.agent),
    };
    let follow = request.follow;
    let (outgoing, stream) = mpsc::channel(ON_THE_WAY);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let stop = shared.stop.clone();
        let told = tokio::select! {
            told = tell(&shared, query, follow, &outgoing) => told,
            () = outgoing.closed() => return,
            () = stop.cancelled() => Err(Status::unavailable("the coordinator stops")),
        };
        if let Err(status) = told {
            let _ = outgoing.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn tell(
    shared: &Shared,
    query: EventQuery,
    follow: bool,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let mut newest = shared.handle.newest_event();
    // What is newer than this look is told by the next one.
    let newest_now = *newest.borrow_and_update();
    let events = read(shared, query.clone()).await?;
    // A first page that was cut off at its end is read on from there, any other from the newest.
    let cut = query.keep == Keep::Oldest && events.len() == query.limit;
    let told = events.last().map_or(query.after, |event| event.seq);
    let mut last = if cut { told } else { told.max(newest_now) };
    if send(outgoing, events).await.is_err() {
        return Ok(());
    }
    let mut page = EventQuery { since: None, limit: PAGE, keep: Keep::Oldest, ..query };
    if !follow {
        return Ok(());
    }
    loop {
        page.after = last;
        let events = read(shared, page.clone()).await?;
        let full = events.len() == PAGE;
        last = events.last().map_or(last, |event| event.seq);
        if send(outgoing, events).await.is_err() {
            return Ok(());
        }
        if !full && newest.changed().await.is_err() {
            return Err(Status::unavailable("the coordinator stops"));
        }
    }
}

/// An error means that nobody reads any more.
async fn send(outgoing: &Outgoing, events: Vec<StoredEvent>) -> Result<(), ()> {
    for event in events {
        outgoing.send(Ok(response(event))).await.map_err(drop)?;
    }
    Ok(())
}

async fn read(shared: &Shared, query: EventQuery) -> Result<Vec<StoredEvent>, Status> {
    shared.store.events(query).await.map_err(|error| Status::unavailable(error.to_string()))
}

fn response(event: StoredEvent) -> v1::ListEventsResponse {
    let event = v1::Event {
        seq: event.seq,
        at: Some(timestamp(event.at)),
        kind: event.kind,
        actor: event.actor,
        pool: event.pool,
        host: event.host,
        agent: event.agent,
        message: event.message,
    };
    v1::ListEventsResponse { event: Some(event) }
}
