//! Keeping the certificate fresh: renewed at half of its life over the open connection, so that
//! nobody notices.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleet_proto::{
    pki::{self, PkiError},
    v1::{RenewRequest, host_service_client::HostServiceClient},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    IdentityStore,
    join::{JoinError, renewed, said},
};
use crate::clock::jittered;

/// Longest sleep: a wall clock that jumps is noticed after it.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// After a failure; then doubling.
const AGAIN_FIRST: Duration = Duration::from_secs(20);
/// Longest wait after failures.
const AGAIN_MAX: Duration = Duration::from_secs(15 * 60);
const LIMIT: Duration = Duration::from_secs(30);

/// How long until a certificate is renewed: at half of its life, give or take a tenth by `spread`
/// (0 to 1), so that hosts that joined together do not come together.
pub fn due_in(
    not_before: SystemTime,
    not_after: SystemTime,
    spread: f64,
    now: SystemTime,
) -> Duration {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let due = not_before + life.mul_f64(0.45 + 0.1 * spread.clamp(0.0, 1.0));
    due.duration_since(now).unwrap_or_default()
}

/// Renews until `stop`. `channel`: the connection of the session, while there is one.
pub async fn keep_fresh(
    store: Arc<IdentityStore>,
    mut channel: watch::Receiver<Option<Channel>>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    let mut spread = rand::random();
    let work = async {
        loop {
            let wait = match wait(&store, spread) {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(error = %fleet_proto::logging::Report(&error), "the certificate cannot be read");
                    LONGEST
                }
            };
            if !wait.is_zero() {
                sleep(wait.min(LONGEST)).await;
                continue;
            }
            let Ok(open) = channel.wait_for(Option::is_some).await.map(|open| open.clone()) else {
                return;
            };
            let Some(open) = open else { continue };
            match renew(&store, open).await {
                Ok(()) => {
                    failures = 0;
                    spread = rand::random();
                    tracing::info!("the certificate of this host is renewed");
                }
                Err(error) => {
                    tracing::warn!(
                        error = said(&error),
                        "the certificate is not renewed; tried again"
                    );
                    let wait = AGAIN_FIRST.saturating_mul(1 << failures.min(6)).min(AGAIN_MAX);
                    failures += 1;
                    sleep(jittered(wait)).await;
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

fn wait(store: &IdentityStore, spread: f64) -> Result<Duration, PkiError> {
    let (from, until) = store.current().life()?;
    Ok(due_in(from, until, spread, SystemTime::now()))
}

async fn renew(store: &IdentityStore, channel: Channel) -> Result<(), JoinError> {
    let old = store.current();
    let (key_pem, csr_pem) = pki::key_and_csr(&old.place.host)?;
    let mut client = HostServiceClient::new(channel);
    let answer = timeout(LIMIT, client.renew(RenewRequest { csr_pem: csr_pem.clone() })).await;
    let answer = answer
        .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")))
        .map_err(|status| JoinError::Refused(Box::new(status)))?
        .into_inner();
    renewed(store, &old, key_pem, &csr_pem, answer.certificate_pem, answer.ca_pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_around_half_of_its_life() {
        let from = SystemTime::UNIX_EPOCH;
        let day = Duration::from_secs(24 * 3600);
        for step in 0..=10_u32 {
            let due = due_in(from, from + day, f64::from(step) / 10.0, from);
            assert!(due >= day.mul_f64(0.449) && due <= day.mul_f64(0.551), "{due:?}");
        }
        assert_eq!(due_in(from, from + day, 0.5, from + day), Duration::ZERO);
    }
}
