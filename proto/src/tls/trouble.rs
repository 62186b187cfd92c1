//! Why a call did not reach the server, in words that say what to look at.
//!
//! In TLS 1.3 the client believes the handshake done before the server has judged its certificate.
//! A refusal therefore shows up at the first call, as an alert or, when the connection was reset
//! before the alert was read, as a broken connection without any reason.

use std::{error::Error, fmt, io};

use rustls::CertificateError;
use tonic::{Code, Status};

/// What became of a call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The server was reached: the status is its own answer.
    Answered,
    /// The server does not accept the certificate shown to it.
    Refused(String),
    /// The server does not show the certificate it should have.
    Untrusted(String),
    /// No connection could be made.
    Unreachable(String),
    /// The connection broke, or no answer came in time.
    Lost(String),
}

impl Trouble {
    /// Reads it from a failed call's status.
    pub fn of(status: &Status) -> Self {
        let Some(first) = status.source() else { return Self::Answered };
        let causes = || std::iter::successors(Some(first), |cause| (*cause).source());
        if let Some(dial) = causes().find_map(|cause| cause.downcast_ref::<DialError>()) {
            return dial.trouble();
        }
        match causes().find_map(|cause| alert(&cause.to_string())) {
            Some(why) => Self::Refused(why),
            None => Self::Lost(lost(status, causes().last())),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("the server answered"),
            Self::Refused(why) | Self::Untrusted(why) => f.write_str(why),
            Self::Unreachable(why) | Self::Lost(why) => f.write_str(why),
        }
    }
}

/// A connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect to {endpoint}")]
    Tcp { endpoint: String, source: io::Error },
    #[error("cannot connect to {endpoint} by proxy")]
    Proxy { endpoint: String, source: io::Error },
    #[error("no connection to {endpoint} within 10 s")]
    Slow { endpoint: String },
    #[error("{endpoint} is not trusted: {why}")]
    Untrusted { endpoint: String, why: String },
    #[error("no TLS with {endpoint}")]
    Tls { endpoint: String, source: io::Error },
}

impl DialError {
    /// Of a handshake that failed on this side.
    pub(super) fn handshake(endpoint: String, source: io::Error) -> Self {
        let inner = source.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(error)) => {
                Self::Untrusted { endpoint, why: distrust(error) }
            }
            _ => Self::Tls { endpoint, source },
        }
    }

    fn trouble(&self) -> Trouble {
        let text = crate::logging::Report(self).to_string();
        match self {
            Self::Untrusted { .. } => Trouble::Untrusted(text),
            Self::Tls { source, .. } => match alert(&source.to_string()) {
                Some(why) => Trouble::Refused(why),
                None => Trouble::Unreachable(text),
            },
            Self::Tcp { .. } | Self::Proxy { .. } | Self::Slow { .. } => Trouble::Unreachable(text),
        }
    }
}

fn distrust(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Other(other) => other.0.to_string(),
        E::UnknownIssuer | E::BadSignature => "its certificate is not from this fleet's CA".into(),
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not valid yet; compare the clocks of both machines".into()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "its certificate is for another name".into()
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its certificate is not one for a server".into()
        }
        other => format!("its certificate is not good: {other}"),
    }
}

/// The reason in an alert that the server sent. The error that carries it was turned into text on
/// its way through HTTP/2, so the text is all there is (checked by the handshake tests).
fn alert(text: &str) -> Option<String> {
    let name = text.split_once("received fatal alert: ")?.1;
    let why = match name.trim_end() {
        "CertificateRequired" => "the server wants a certificate, and none was shown".into(),
        "CertificateExpired" => "the certificate shown to the server has expired".into(),
        "CertificateRevoked" => "the certificate shown to the server was revoked".into(),
        "UnsupportedCertificate" => "the certificate shown is not one for a client".into(),
        "UnknownCA" | "DecryptError" | "BadCertificate" | "CertificateUnknown" => {
            "the certificate shown to the server is not from its fleet's CA".into()
        }
        other => format!("the server refuses the connection: {other}"),
    };
    Some(why)
}

fn lost(status: &Status, root: Option<&(dyn Error + 'static)>) -> String {
    let root = root.map_or_else(|| status.message().to_owned(), ToString::to_string);
    match status.code() {
        // What a reset connection looks like; see the top of this file.
        Code::Unknown => format!(
            "the connection broke ({root}); if it always does, the server may not accept the \
             certificate shown: its log has the reason"
        ),
        _ => format!("no answer ({root})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_answer_is_no_trouble_with_the_connection() {
        for code in [Code::Unavailable, Code::Unauthenticated, Code::Unknown] {
            assert_eq!(Trouble::of(&Status::new(code, "transport error")), Trouble::Answered);
        }
    }

    #[test]
    fn an_unread_refusal_still_leads_to_the_certificates() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let trouble = Trouble::of(&Status::from_error(Box::new(broken)));
        let Trouble::Lost(why) = trouble else { panic!("{trouble:?}") };
        assert!(why.contains("broken pipe") && why.contains("certificate"), "{why}");
    }

    #[test]
    fn alerts_are_found_in_any_text() {
        let text = "connection error: received fatal alert: CertificateExpired";
        assert!(alert(text).is_some_and(|why| why.contains("expired")));
        assert_eq!(alert("broken pipe"), None);
    }
}
