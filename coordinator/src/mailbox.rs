//! A mailbox that holds only the newest of everything.
//!
//! Between the fleet loop and somebody who may be slow (a host on a bad line, a person's terminal)
//! a queue would either grow without bound or hold up the loop. Here the loop *changes* what lies
//! in the box and never waits; whoever empties it gets the present state, however late.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// See the module. Clones are the same box.
#[derive(Debug, Default)]
pub(crate) struct Mailbox<T>(Arc<Inner<T>>);

#[derive(Debug, Default)]
struct Inner<T> {
    content: Mutex<T>,
    changed: Notify,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Mailbox<T> {
    /// Changes what lies in the box. Never waits for the reader.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.content());
        self.0.changed.notify_one();
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> T {
        mem::take(&mut *self.content())
    }

    /// Returns when something was changed since the last call. One reader only.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Nobody else holds this box any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn content(&self) -> MutexGuard<'_, T> {
        // A change that panicked half-way leaves at worst a box that says too little; the full
        // state is told again with the next session or watch.
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_reader_gets_the_newest_once() {
        let writer = Mailbox::<Option<u32>>::default();
        let reader = writer.clone();
        writer.change(|content| *content = Some(1));
        writer.change(|content| *content = Some(2));
        reader.changed().await;
        assert_eq!(reader.take(), Some(2));
        assert_eq!(reader.take(), None);
        drop(reader);
        assert!(writer.is_abandoned());
    }
}
