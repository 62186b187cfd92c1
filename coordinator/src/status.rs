//! Refusals as gRPC says them. The text is for people and goes through unchanged.

use fleet_proto::tls::{Peer, PeerCertificate};
use tonic::{Request, Status};

use crate::fleet_loop::Denied;

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::UnknownPool { .. }
            | Denied::UnknownHost { .. }
            | Denied::UnknownLab { .. }
            | Denied::Nothing(_)
            | Denied::NeitherHostNorPool { .. }
            | Denied::UnknownAgent(_) => Self::not_found(text),
            Denied::Replicas(_) | Denied::Invalid(_) => Self::invalid_argument(text),
            Denied::Exists(_) | Denied::SecondInstance(_) => Self::already_exists(text),
            Denied::NotNow(_)
            | Denied::ReadOnly { .. }
            | Denied::Adopting { .. }
            | Denied::BeingDeleted(_) => Self::failed_precondition(text),
            Denied::NotAdmitted(_) => Self::permission_denied(text),
            Denied::Store(_) | Denied::Away(_) | Denied::HostAway { .. } | Denied::HostLost(_) => {
                Self::unavailable(text)
            }
        }
    }
}

/// The operator who calls. Roles within the operators would be looked at here.
pub(crate) fn operator<T>(request: &Request<T>) -> Result<String, Status> {
    match Peer::of(request)? {
        Peer::Operator(name) => Ok(name),
        Peer::Host(name) => Err(Status::permission_denied(format!(
            "this is for operators, and the certificate is that of host {name}; use an operator's credential"
        ))),
    }
}

/// The host who calls, with its certificate.
pub(crate) fn host<T>(
    request: &Request<T>,
) -> Result<(fleet_model::HostName, PeerCertificate), Status> {
    let certificate = PeerCertificate::of(request)?;
    match certificate.peer.clone() {
        Peer::Host(name) => Ok((name, certificate)),
        Peer::Operator(name) => Err(Status::permission_denied(format!(
            "this is for hosts, and the certificate is that of operator {name}"
        ))),
    }
}
