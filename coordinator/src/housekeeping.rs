//! What has to be done now and then: forgetting old events.

use std::{sync::Arc, time::Duration};

use fleet_model::{At, numbers::EVENTS_KEPT};
use fleet_proto::logging::Report;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, store::Store};

const EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Until stopped.
pub(crate) async fn run(store: Arc<dyn Store>, clock: Clock, stop: CancellationToken) {
    // The first pass comes a little after the start, when the fleet has come back.
    let mut wait = Duration::from_secs(60);
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let kept = u64::try_from(EVENTS_KEPT.as_millis()).unwrap_or(u64::MAX);
        match store.prune_events(At(clock.now().0.saturating_sub(kept))).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "forgot events older than 90 days"),
            Err(error) => tracing::warn!(error = %Report(&error), "old events stay"),
        }
        wait = EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, EventQuery, MemoryStore, NewEvent};

    #[tokio::test(start_paused = true)]
    async fn events_are_kept_for_ninety_days() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let clock = Clock::start();
        let event = NewEvent::new(clock.now(), "test", "tester");
        let batch = Batch { events: vec![event], ..Batch::default() };
        store.commit(batch).await.expect("stored");
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(Arc::clone(&store), clock, stop.clone()));
        let count = async || {
            let query = EventQuery { limit: 9, ..EventQuery::default() };
            store.events(query).await.expect("readable").len()
        };
        tokio::time::sleep(EVENTS_KEPT - EVERY).await;
        assert_eq!(count().await, 1);
        tokio::time::sleep(EVERY * 3).await;
        assert_eq!(count().await, 0);
        stop.cancel();
        task.await.expect("it ends when told");
    }
}
