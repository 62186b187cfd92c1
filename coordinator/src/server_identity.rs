//! The coordinator's own certificate: made from the CA at each start, replaced while running long
//! before it ends. Its key is never written anywhere.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fleet_proto::{
    logging::Report,
    pki::{Ca, Life, PkiError},
    tls::{self, TlsError},
};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

/// Life of a server certificate.
const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// When it is replaced. Many tries are left after this.
const RENEW_AFTER: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// Until the next try when a new one could not be made.
const RETRY: Duration = Duration::from_secs(60 * 60);

/// A certificate that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The CA refused.
    #[error("cannot make the server's certificate")]
    Pki(#[from] PkiError),
    /// TLS refused.
    #[error("cannot use the server's certificate")]
    Tls(#[from] TlsError),
}

/// The TLS settings of both ports; replaced whole, seen by new connections.
#[derive(Clone)]
pub(crate) struct ServerIdentity {
    pub(crate) mutual: Arc<ArcSwap<ServerConfig>>,
    pub(crate) plain: Arc<ArcSwap<ServerConfig>>,
}

impl ServerIdentity {
    pub(crate) fn make(ca: &Ca, names: &[String]) -> Result<Self, IdentityError> {
        let (mutual, plain) = configs(ca, names)?;
        Ok(Self { mutual: Arc::new(ArcSwap::new(mutual)), plain: Arc::new(ArcSwap::new(plain)) })
    }

    /// Replaces the certificate in good time, until stopped.
    pub(crate) async fn keep_fresh(self, ca: Arc<Ca>, names: Vec<String>, stop: CancellationToken) {
        let mut wait = RENEW_AFTER;
        while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            match configs(&ca, &names) {
                Ok((mutual, plain)) => {
                    self.mutual.store(mutual);
                    self.plain.store(plain);
                    tracing::info!("the server's certificate was replaced");
                    wait = RENEW_AFTER;
                }
                Err(error) => {
                    tracing::error!(error = %Report(&error), "the server's certificate stays as it is");
                    wait = RETRY;
                }
            }
        }
    }
}

type Configs = (Arc<ServerConfig>, Arc<ServerConfig>);

fn configs(ca: &Ca, names: &[String]) -> Result<Configs, IdentityError> {
    let identity = ca.server_certificate(names, Life::of(LIFE))?;
    let mutual = tls::server_config_mutual(&identity, ca.certificate_pem())?;
    Ok((mutual, tls::server_config_plain(&identity)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_certificate_is_replaced_in_good_time_and_for_ever() {
        let ca = Arc::new(Ca::create("test").expect("a CA"));
        let names = vec!["127.0.0.1".to_owned()];
        let identity = ServerIdentity::make(&ca, &names).expect("a certificate");
        let stop = CancellationToken::new();
        let task = tokio::spawn(identity.clone().keep_fresh(ca, names, stop.clone()));
        for _ in 0..3 {
            let before = identity.mutual.load_full();
            tokio::time::sleep(RENEW_AFTER + Duration::from_secs(1)).await;
            assert!(!Arc::ptr_eq(&before, &identity.mutual.load_full()));
        }
        stop.cancel();
        task.await.expect("it ends when told");
    }
}
