//! SIGINT asks for an orderly end; SIGTERM asks for the same and leaves a limited time for it.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Take the time it needs.
    Interrupt,
    /// Within the limit.
    Terminate,
}

/// Both signals, caught from the moment this exists.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    /// Ends `limit` after a SIGTERM, at once counted when `first` was one. Never ends without SIGTERM.
    pub(crate) async fn unloaded(&mut self, first: Stop, limit: Duration) {
        if first == Stop::Interrupt {
            self.terminate.recv().await;
        }
        tokio::time::sleep(limit).await;
    }
}
