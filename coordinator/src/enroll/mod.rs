//! `EnrollService`, on the port that authenticates the server only: for hosts that have no
//! certificate yet, or an expired one. Everybody can reach it, so it does little and counts.

mod challenge;
mod limit;

use std::{sync::Arc, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use fleet_model::{HostName, numbers::READMIT_WINDOW};
use fleet_proto::{
    convert::WireError,
    pki::{self, Ca},
    sha256_hex,
    tls::Peer,
    v1::{self, enroll_service_server::EnrollService},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tonic::{Request, Response, Status};

use crate::{
    fleet_loop::{Enrol, FleetHandle},
    metrics::Metrics,
    places::Places,
    signer,
};
use challenge::Challenges;
use limit::Limiter;

/// A token is 32 bytes, or their 43 letters.
const TOKEN_BYTES: usize = 32;

/// What the methods need.
pub(crate) struct Shared {
    pub(crate) handle: FleetHandle,
    pub(crate) ca: Arc<Ca>,
    pub(crate) places: Places,
    pub(crate) metrics: Arc<Metrics>,
    limiter: Limiter,
    challenges: Challenges,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Enrolment(Arc<Shared>);

impl Enrolment {
    pub(crate) fn new(
        handle: FleetHandle,
        ca: Arc<Ca>,
        places: Places,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (limiter, challenges) = (Limiter::default(), Challenges::default());
        Self(Arc::new(Shared { handle, ca, places, metrics, limiter, challenges }))
    }

    /// Counts an outcome and logs a refusal with where it came from.
    fn noted<T>(
        &self,
        what: &'static str,
        peer: Option<std::net::SocketAddr>,
        outcome: Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        self.0.metrics.enrolment(what, if outcome.is_ok() { "ok" } else { "refused" });
        if let Err(status) = &outcome {
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(peer, reason = status.message(), "{what} refused");
        }
        outcome.map(Response::new)
    }
}

#[tonic::async_trait]
impl EnrollService for Enrolment {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let peer = request.remote_addr();
        let outcome = match self.0.limiter.admit(peer) {
            Ok(()) => self.0.join(request.into_inner()).await,
            Err(status) => Err(status),
        };
        self.noted("join", peer, outcome)
    }

    async fn readmit(
        &self,
        request: Request<v1::ReadmitRequest>,
    ) -> Result<Response<v1::ReadmitResponse>, Status> {
        let peer = request.remote_addr();
        let outcome = match self.0.limiter.admit(peer) {
            Ok(()) => self.0.readmit(request.into_inner()).await,
            Err(status) => Err(status),
        };
        self.noted("readmit", peer, outcome)
    }
}

impl Shared {
    async fn join(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
        let host: HostName = request.host.parse().map_err(|error| WireError::new("host", error))?;
        let token_hash = token_hash(&request.token)?;
        // Signed first and handed out last: when the token is used up, the certificate is there.
        let signed = signer::sign(&self.ca, &request.csr_pem, &host)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let key = signed.key;
        self.handle.enrol(|reply| Enrol::Join { host, token_hash, key, reply }).await?;
        Ok(v1::JoinResponse {
            certificate_pem: signed.certificate_pem,
            ca_pem: self.ca.certificate_pem().to_owned(),
            endpoint: self.places.sessions.clone(),
            server_name: self.places.server_name.clone(),
            fleet: self.ca.fleet().to_owned(),
        })
    }

    async fn readmit(&self, request: v1::ReadmitRequest) -> Result<v1::ReadmitResponse, Status> {
        let host: HostName = request.host.parse().map_err(|error| WireError::new("host", error))?;
        if request.proof.is_empty() {
            let challenge = self.challenges.give(&host)?;
            return Ok(v1::ReadmitResponse { challenge, ..Default::default() });
        }
        self.challenges.take(&host, &request.challenge)?;
        let old_key = self.proven(&host, &request)?;
        let signed = signer::sign(&self.ca, &request.csr_pem, &host)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let key = signed.key;
        self.handle.enrol(|reply| Enrol::Readmit { host, old_key, key, reply }).await?;
        Ok(v1::ReadmitResponse {
            challenge: Vec::new(),
            certificate_pem: signed.certificate_pem,
            ca_pem: self.ca.certificate_pem().to_owned(),
        })
    }

    /// The key of the certificate, after everything about it was checked: ours, this host's, not
    /// too old, and the caller has its private half.
    fn proven(&self, host: &HostName, request: &v1::ReadmitRequest) -> Result<String, Status> {
        let refuse = |why: String| Status::permission_denied(format!("readmission refused: {why}"));
        let pem = &request.certificate_pem;
        self.ca.issued(pem).map_err(|error| refuse(error.to_string()))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| refuse("the certificate cannot be read".into()))?;
        let peer = Peer::of_certificate(&der).map_err(refuse)?;
        if peer != Peer::Host(host.clone()) {
            return Err(refuse(format!("the certificate is that of {peer}, not of host {host}")));
        }
        let facts = pki::facts(pem).map_err(|error| refuse(error.to_string()))?;
        let age = SystemTime::now().duration_since(facts.not_after).unwrap_or_default();
        if age > READMIT_WINDOW {
            let days = age.as_secs() / (24 * 60 * 60);
            return Err(refuse(format!(
                "the certificate expired {days} days ago, more than 30; invite the host again with `agentctl host invite {host} --lab LAB`"
            )));
        }
        pki::verify(pem, &request.challenge, &request.proof)
            .map_err(|error| refuse(error.to_string()))?;
        Ok(facts.public_key_sha256)
    }
}

/// SHA-256 of the token, which comes as bytes or as the letters of the join line.
fn token_hash(token: &[u8]) -> Result<String, Status> {
    if token.len() == TOKEN_BYTES {
        return Ok(sha256_hex(token));
    }
    match BASE64_URL_SAFE_NO_PAD.decode(token.trim_ascii()) {
        Ok(bytes) if bytes.len() == TOKEN_BYTES => Ok(sha256_hex(&bytes)),
        _ => Err(Status::invalid_argument(
            "this is not a join token; copy the whole line that `agentctl host invite` printed",
        )),
    }
}
