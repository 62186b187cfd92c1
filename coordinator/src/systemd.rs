//! What systemd is told: ready, still alive, stopping. Elsewhere none of it does anything.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::fleet_loop::FleetHandle;

/// Connections are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the daemon is alive, as long as its loop answers. A loop that hangs is restarted by
/// systemd, which costs the fleet nothing: hosts go on with what they have.
pub async fn watchdog(handle: FleetHandle, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let every: Duration = limit / 3;
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        if handle.summary().await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a socket this does nothing; with a broken one there is nobody to tell it to.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
