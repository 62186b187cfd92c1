//! Inviting a host: a one-time token, shown once.

use aws_lc_rs::rand;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use fleet_model::{HostName, Labels, numbers::JOIN_TOKEN_LIFE};
use fleet_proto::{
    convert::{WireError, duration, timestamp},
    sha256_hex, v1,
};
use tonic::Status;
use zeroize::Zeroizing;

use super::Shared;
use crate::fleet_loop::{Invitation, Request as Ask};

/// Enough that nobody guesses one in ten minutes, or ever.
const TOKEN_BYTES: usize = 32;

pub(super) async fn invite(
    shared: &Shared,
    request: v1::InviteHostRequest,
    by: String,
) -> Result<v1::InviteHostResponse, Status> {
    let host: HostName = request.host.parse().map_err(|error| WireError::new("host", error))?;
    let labels = labels(request.labels, request.lab)?;
    let valid_for = request.valid_for.map(|span| duration("valid_for", Some(span))).transpose()?;
    let valid_for = valid_for.unwrap_or(JOIN_TOKEN_LIFE);
    if valid_for.is_zero() || valid_for > JOIN_TOKEN_LIFE {
        return Err(Status::invalid_argument(
            "an invitation is valid for at most 10 minutes; invite again when the host is ready",
        ));
    }
    let mut token = Zeroizing::new([0; TOKEN_BYTES]);
    rand::fill(token.as_mut()).map_err(|_| Status::internal("the system gave no randomness"))?;
    let expires = shared.clock.now() + valid_for;
    let token_hash = sha256_hex(token.as_ref());
    let invitation = Box::new(Invitation { host, labels, token_hash, expires });
    shared.handle.ask(|reply| Ask::Invite { invitation, by, reply }).await?;
    let ca_pin = shared.ca.fingerprint().map_err(|error| Status::internal(error.to_string()))?;
    Ok(v1::InviteHostResponse {
        token: BASE64_URL_SAFE_NO_PAD.encode(token.as_ref()),
        expires: Some(timestamp(expires)),
        enroll_endpoint: shared.places.enroll.clone(),
        ca_pin,
    })
}

fn labels(
    given: impl IntoIterator<Item = (String, String)>,
    lab: String,
) -> Result<Labels, WireError> {
    let parse = |(key, value): (String, String)| {
        Ok((key.parse().map_err(|error| WireError::new("labels", error))?, value))
    };
    let mut labels: Labels = given.into_iter().map(parse).collect::<Result<_, WireError>>()?;
    let key = "lab".parse().map_err(|error| WireError::new("lab", error))?;
    if lab.is_empty() {
        return Err(WireError::new("lab", "is missing; name the lab with --lab"));
    }
    labels.insert(key, lab);
    Ok(labels)
}
