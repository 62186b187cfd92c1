//! `coordinator recover`: the way out of read-only mode, with the coordinator stopped.
//!
//! It raises the term above anything that was ever given out, and marks the hosts' next reports for
//! adoption: what they run becomes what is wanted. Nothing on any host is touched by it.

use std::path::Path;

use fleet_model::Order;

use crate::{
    book::{Book, Changes},
    clock::Clock,
    data_dir::{DataDir, DataError},
    store::{NewEvent, Store as _},
};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The store's newest order before.
    pub before: Order,
    /// And now.
    pub after: Order,
    /// Hosts whose reports are waited for.
    pub hosts: usize,
    /// Pools that the store knows.
    pub pools: usize,
}

/// Prepares the next start.
///
/// # Errors
/// When the directory holds no fleet, a coordinator runs on it, or the store cannot be used.
pub async fn recover(data: &Path) -> Result<Recovered, DataError> {
    let data = DataDir::open(data)?;
    let store = data.store()?;
    let (mut book, saved) = Book::load(store.load_all().await?)?;
    let before = book.meta.order;
    // The highest order a host was seen with; hosts not seen yet may be ahead of it, but not in a
    // later term: terms rise only here.
    let seen = book.meta.ahead.as_ref().map_or(before, |ahead| ahead.order.max(before));
    book.meta.order = Order::new(seen.term.saturating_add(1), 0);
    book.meta.ahead = None;
    book.meta.adopt = true;
    let mut changes = Changes::default();
    book.put_meta(&mut changes);
    let said =
        format!("order {before} → {}; the hosts' reports will be taken over", book.meta.order);
    changes.event(NewEvent::new(Clock::start().now(), "fleet.recover", "console").says(said));
    let (batch, _, _) = book.outgoing(changes).split();
    store.commit(batch).await?;
    store.close().await?;
    let hosts = saved.hosts.iter().filter(|host| host.joined.is_some()).count();
    Ok(Recovered { before, after: book.meta.order, hosts, pools: saved.pools.len() })
}
