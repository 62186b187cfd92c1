//! The way to the coordinator: one channel, made from the credential file, and one place where a
//! failed call becomes a [`Failure`].

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fleet_proto::{
    exit::Exit,
    pki,
    tls::{self, Identity, TlsError},
    v1::fleet_service_client::FleetServiceClient,
};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tonic::{Response, Status, transport::Channel};

use crate::{
    cli::Global,
    config::Config,
    diagnose,
    error::{Failure, chain},
    when,
};

/// One call may take this long; the coordinator answers from memory and its own disk.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Half a million agents in one answer are about 150 MB.
const MESSAGE_LIMIT: usize = 512 << 20;

/// A coordinator and the right to ask it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    channel: Channel,
    target: Arc<Target>,
}

/// Where the coordinator is, for diagnosis.
pub(crate) struct Target {
    pub(crate) endpoint: String,
    pub(crate) server_name: String,
    pub(crate) fleet: String,
    /// Behind a proxy its steps cannot be walked from here.
    pub(crate) by_proxy: bool,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

impl Session {
    /// Reads the credential and prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// When there is no usable credential, or its certificate has expired.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        let config = Config::load(global.config.as_deref())?;
        check_expiry(&config, SystemTime::now())?;
        let endpoint = global.endpoint.clone().unwrap_or(config.endpoint);
        let identity = Identity::new(config.certificate, config.key);
        let tls = tls::client_config(&identity, &config.ca).map_err(|e| unusable(&e))?;
        let shared = Arc::new(ArcSwap::from(tls.clone()));
        let proxy = config.proxy.map(|url| tls::Proxy::parse(url.expose_secret())).transpose();
        let proxy = proxy.map_err(|e| unusable(&e))?;
        let by_proxy = proxy.is_some();
        let channel = tls::channel(&endpoint, &config.server_name, shared, proxy)
            .map_err(|e| unusable(&e))?;
        let target = Target {
            endpoint,
            server_name: config.server_name,
            fleet: config.fleet,
            by_proxy,
            tls,
        };
        Ok(Self { channel, target: Arc::new(target) })
    }

    /// A client; each call needs its own, and they share the connection.
    pub(crate) fn client(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Makes one call. `what` completes the sentence "cannot …".
    ///
    /// # Errors
    /// Whatever went wrong, explained.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match self.within_limit(call).await {
            Ok(answer) => Ok(answer),
            Err(status) => Err(self.explain(what, status).await),
        }
    }

    /// The answer, or `DEADLINE_EXCEEDED` after [`CALL_LIMIT`].
    pub(crate) async fn within_limit<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "the coordinator did not answer within {} s",
                CALL_LIMIT.as_secs()
            ))),
        }
    }

    /// The failure behind a status. `what` completes the sentence "cannot …".
    pub(crate) async fn explain(&self, what: &str, status: Status) -> Failure {
        diagnose::failure(&self.target, what, &status).await
    }
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let step = match error.downcast_ref() {
        Some(TlsError::Endpoint(_)) => "write it like coordinator.example:7443, without https://",
        Some(TlsError::Proxy(_)) => "put `proxy` in the credential file right, or take it out",
        _ => "copy the credential file that `coordinator init` wrote once more",
    };
    Failure::error("no usable way to the coordinator").because(chain(error)).next(step)
}

/// Asked here first: the coordinator refuses an expired certificate without a word.
fn check_expiry(config: &Config, now: SystemTime) -> Result<(), Failure> {
    let until = pki::expiry(&config.certificate).map_err(|_| {
        Failure::error("no usable credential")
            .because("`certificate` in the credential file is not a certificate in PEM form")
            .next("copy the credential file that `coordinator init` wrote once more")
    })?;
    if now < until {
        return Ok(());
    }
    let ago = now.duration_since(until).unwrap_or_default();
    let at = Timestamp::try_from(until).map(|t| t.to_string()).unwrap_or_default();
    let ago = when::short(ago.try_into().unwrap_or_default());
    Err(Failure::new(Exit::Refused, "your credential has expired")
        .because(format!(
            "the certificate of operator {} ended at {at}, {ago} ago",
            config.operator
        ))
        .next(format!(
            "on the coordinator's machine, `coordinator operator --name {} --out FILE` makes a new one",
            config.operator
        )))
}
