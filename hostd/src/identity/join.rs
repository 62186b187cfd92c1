//! Joining a fleet: a one-time token and a fresh key become this host's first certificate. Also
//! coming back: a known key whose certificate expired is given a new one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fleet_model::HostName;
use fleet_proto::{
    logging::Report,
    pki::{self, PkiError},
    tls::{self, Proxy, TlsError, Trouble},
    v1::{self, enroll_service_client::EnrollServiceClient},
};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tonic::{Status, transport::Channel};

use super::{Identity, IdentityError, IdentityStore, Place, folder};
use crate::only_one::{OnlyOne, OnlyOneError};

/// Limit of one call, connecting included.
const LIMIT: Duration = Duration::from_secs(20);

/// What `hostd join` was told.
#[derive(Debug)]
pub struct Invitation {
    /// HOST:PORT of the enrolment port.
    pub coordinator: String,
    /// The name that the host was invited under.
    pub name: HostName,
    /// SHA-256 of the CA's certificate, hex, with or without `sha256:` before it.
    pub ca_pin: String,
    /// The one-time token.
    pub token: SecretString,
    /// The state directory.
    pub data: PathBuf,
    /// Give up the identity that is there.
    pub force: bool,
    /// How to get there.
    pub proxy: Option<Proxy>,
}

/// Why a host was not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// See the text.
    #[error("the token is empty; it comes on standard input, as in the line that was printed")]
    NoToken,
    /// What it has, or what it would write.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A hostd runs, and would go on as who it was.
    #[error(transparent)]
    Runs(#[from] OnlyOneError),
    /// Key or certificate.
    #[error("no certificate could be made")]
    Pki(#[from] PkiError),
    /// Address, pin or name.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It did not get there.
    #[error("{endpoint}: {why}")]
    Unreached {
        /// Where it called.
        endpoint: String,
        /// What happened there, and what to look at.
        why: String,
        /// As it was reported.
        source: Box<Status>,
    },
    /// The coordinator said no.
    #[error("the coordinator refuses: {}", .0.message())]
    Refused(Box<Status>),
    /// Its answer is not what it should be.
    #[error("the coordinator's answer is not usable: {0}")]
    Answer(&'static str),
}

impl JoinError {
    fn of(endpoint: &str, status: Status) -> Self {
        match Trouble::of(&status) {
            Trouble::Answered => Self::Refused(Box::new(status)),
            trouble => Self::Unreached {
                endpoint: endpoint.to_owned(),
                why: trouble.to_string(),
                source: Box::new(status),
            },
        }
    }
}

/// Joins. Writes the identity, or nothing.
///
/// # Errors
/// Each with its cause; a token that was refused is used up or wrong, and a new one is needed.
pub async fn join(invitation: Invitation) -> Result<Place, JoinError> {
    let Invitation { coordinator, name, ca_pin, token, data, force, proxy } = invitation;
    if token.expose_secret().trim().is_empty() {
        return Err(JoinError::NoToken);
    }
    // Asked before the token is spent.
    match folder::read(&data) {
        Ok(there) if !force => {
            let Place { host, fleet, .. } = there.place;
            let path = folder::path(&data);
            return Err(IdentityError::Present { host, fleet, path }.into());
        }
        _ => {}
    }
    let _alone = OnlyOne::if_ever(&data)?;
    let pin = ca_pin.trim().trim_start_matches("sha256:").to_ascii_lowercase();
    let config = tls::client_config_pinned(&pin)?;
    let (key_pem, csr_pem) = pki::key_and_csr(&name)?;
    let request = v1::JoinRequest {
        host: name.to_string(),
        token: token.expose_secret().trim().as_bytes().to_vec(),
        csr_pem: csr_pem.clone(),
    };
    let mut client = EnrollServiceClient::new(channel(&coordinator, config, proxy)?);
    let answer = within(&coordinator, client.join(request)).await?;
    let place = Place {
        host: name,
        fleet: answer.fleet,
        endpoint: answer.endpoint,
        server_name: answer.server_name,
        enroll_endpoint: coordinator,
    };
    let identity = Identity {
        place: place.clone(),
        certificate_pem: answer.certificate_pem,
        key_pem,
        ca_pem: answer.ca_pem,
    };
    check(&identity, &csr_pem)?;
    if pki::fingerprint(&identity.ca_pem)? != pin {
        return Err(JoinError::Answer("its CA is not the one of the pin"));
    }
    folder::write(&data, &identity)?;
    Ok(place)
}

/// A new certificate for a host whose certificate expired: the old key proves who it is.
///
/// # Errors
/// When the coordinator does not know the key, or it expired too long ago.
pub async fn readmit(store: &IdentityStore, proxy: Option<Proxy>) -> Result<(), JoinError> {
    let old = store.current();
    let place = &old.place;
    let (key_pem, csr_pem) = pki::key_and_csr(&place.host)?;
    let config = tls::client_config_anonymous(&old.ca_pem)?;
    let channel = channel(&place.enroll_endpoint, config, proxy)?;
    let mut client = EnrollServiceClient::new(channel);
    let mut request = v1::ReadmitRequest {
        host: place.host.to_string(),
        csr_pem: csr_pem.clone(),
        certificate_pem: old.certificate_pem.clone(),
        proof: Vec::new(),
        challenge: Vec::new(),
    };
    let asked = within(&place.enroll_endpoint, client.readmit(request.clone())).await?;
    if asked.challenge.is_empty() {
        return Err(JoinError::Answer("it asks for no proof"));
    }
    request.proof = pki::sign(&old.key_pem, &asked.challenge)?;
    request.challenge = asked.challenge;
    let answer = within(&place.enroll_endpoint, client.readmit(request)).await?;
    renewed(store, &old, key_pem, &csr_pem, answer.certificate_pem, answer.ca_pem)
}

/// Takes a new certificate into use, after a look at it.
pub(super) fn renewed(
    store: &IdentityStore,
    old: &Identity,
    key_pem: SecretString,
    csr_pem: &str,
    certificate_pem: String,
    ca_pem: String,
) -> Result<(), JoinError> {
    let identity = Identity { place: old.place.clone(), certificate_pem, key_pem, ca_pem };
    check(&identity, csr_pem)?;
    Ok(store.replace(identity)?)
}

/// The certificate is over the key that was asked for, and the parts fit.
fn check(identity: &Identity, csr_pem: &str) -> Result<(), JoinError> {
    let wanted = pki::public_key_sha256(csr_pem)?;
    if pki::public_key_sha256(&identity.certificate_pem)? != wanted {
        return Err(JoinError::Answer("its certificate is over another key"));
    }
    identity.client_config()?;
    Ok(())
}

fn channel(
    endpoint: &str,
    config: Arc<ClientConfig>,
    proxy: Option<Proxy>,
) -> Result<Channel, TlsError> {
    let config = Arc::new(ArcSwap::new(config));
    tls::channel(endpoint, host_of(endpoint), config, proxy)
}

/// The name that a server at this address must carry.
fn host_of(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _port)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn within<T>(
    endpoint: &str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, JoinError> {
    match timeout(LIMIT, call).await {
        Ok(answer) => {
            answer.map(tonic::Response::into_inner).map_err(|s| JoinError::of(endpoint, s))
        }
        Err(_) => {
            let why = format!("no answer within {} s; check address and firewall", LIMIT.as_secs());
            let source = Box::new(Status::deadline_exceeded("no answer"));
            Err(JoinError::Unreached { endpoint: endpoint.to_owned(), why, source })
        }
    }
}

impl From<&JoinError> for fleet_proto::exit::Exit {
    fn from(error: &JoinError) -> Self {
        match error {
            JoinError::Refused(status) => Self::of(status),
            JoinError::Unreached { source, .. } => match Trouble::of(source) {
                Trouble::Answered => Self::Unreachable,
                _ => Self::of(source),
            },
            JoinError::Identity(IdentityError::Present { .. }) => Self::Refused,
            _ => Self::Error,
        }
    }
}

/// For a log line.
pub(super) fn said(error: &JoinError) -> String {
    Report(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_name_is_the_host_of_its_address() {
        for (endpoint, host) in [("c.example:7444", "c.example"), ("[::1]:7444", "::1"), ("c", "c")]
        {
            assert_eq!(host_of(endpoint), host);
        }
    }
}
