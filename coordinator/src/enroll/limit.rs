//! How often one address may ask for admission. Guessing a token is hopeless anyway; this keeps the
//! log readable and the signing cheap.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::Status;

/// Asked at once. Whole labs may sit behind one address and join or come back together.
const BURST: f64 = 500.0;
/// Given back each second; each costs about a millisecond.
const REFILL: f64 = 50.0;
/// Addresses remembered; more than that at a time is an attack, and then the fullest go.
const ADDRESSES: usize = 10_000;

/// A small token bucket per address.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<IpAddr, Bucket>>);

struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    pub(super) fn admit(&self, peer: Option<SocketAddr>) -> Result<(), Status> {
        let Some(peer) = peer else { return Ok(()) };
        // A panic inside leaves at worst one wrong count.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if buckets.len() >= ADDRESSES {
            buckets.retain(|_, bucket| bucket.level(now) < BURST);
        }
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&peer.ip()) {
            return Err(too_often());
        }
        let bucket = buckets.entry(peer.ip()).or_insert(Bucket { left: BURST, at: now });
        bucket.left = bucket.level(now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(too_often());
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn level(&self, now: Instant) -> f64 {
        let since: Duration = now.saturating_duration_since(self.at);
        (self.left + since.as_secs_f64() * REFILL).min(BURST)
    }
}

fn too_often() -> Status {
    Status::resource_exhausted("too many requests from this address; wait a minute and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_too_often_waits_and_others_do_not() {
        let limiter = Limiter::default();
        let peer = |last: u8| Some(SocketAddr::from(([127, 0, 0, last], 1)));
        let granted = (0..1000).filter(|_| limiter.admit(peer(1)).is_ok()).count();
        assert_eq!(granted, 500);
        assert!(limiter.admit(peer(2)).is_ok());
        tokio::time::advance(Duration::from_secs(3)).await;
        let granted = (0..1000).filter(|_| limiter.admit(peer(1)).is_ok()).count();
        assert_eq!(granted, 150);
    }
}
