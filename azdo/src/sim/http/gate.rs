//! Before a request is served: its version, its credential, its right to act.

use std::fmt;

use http::request::Parts;
use http::{Method, header};

use super::super::faults::Fault;
use super::super::shell::Shell;
use super::super::{AuthFailure, Caller, Refusal, Role};
use super::Ask;
use super::answer::Answer;
use super::route::Route;
use crate::types::compare_versions;

/// The api-version a request asks for, by query or by `Accept`.
pub(super) struct Version(Option<String>);

impl Version {
    pub(super) fn of(parts: &Parts) -> Self {
        let find = |text: &str, stops: &[char]| -> Option<String> {
            let at = text.to_ascii_lowercase().find("api-version=")? + "api-version=".len();
            let value = text.get(at..)?.split(stops).next()?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let accept = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
        let query = parts.uri.query().and_then(|q| find(q, &['&']));
        Self(query.or_else(|| accept.and_then(|a| find(a, &[';', ',']))))
    }

    /// Reading works without a version; changing does not, and nothing newer than we are is known.
    fn check(&self, method: &Method) -> Result<(), Refusal> {
        let Some(version) = &self.0 else {
            return match *method {
                Method::GET | Method::HEAD => Ok(()),
                _ => Err(Refusal::new(
                    400,
                    "VssVersionNotSpecifiedException",
                    format!(
                        "No api-version was supplied for the \"{method}\" request. The version must be supplied either as \
                     part of the Accept header (e.g. \"application/json; api-version=1.0\") or as a query parameter \
                     (e.g. \"?api-version=1.0\")."
                    ),
                )),
            };
        };
        let (number, preview) =
            version.split_once('-').map_or((version.as_str(), false), |(n, _)| (n, true));
        if compare_versions(number, "7.2").is_gt()
            || !number.starts_with(|c: char| c.is_ascii_digit())
        {
            let words = format!(
                "The requested REST API version of {version} is out of range for this server. The latest REST API version this server supports is 7.2."
            );
            return Err(Refusal::new(400, "VssVersionOutOfRangeException", words));
        }
        if !preview && compare_versions(number, "7.1").is_gt() {
            let words = format!(
                "The requested version \"{version}\" of the resource is under preview. The -preview flag must be supplied in the api-version for such requests. For example: \"{version}-preview\""
            );
            return Err(Refusal::new(400, "VssInvalidPreviewVersionException", words));
        }
        Ok(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("7.1"))
    }
}

/// May this request pass? Who sent it?
pub(super) fn enter(shell: &Shell, parts: &Parts, ask: &Ask) -> Result<Option<Caller>, Answer> {
    if matches!(ask.route, Route::Locations(_) | Route::Token) {
        return Ok(None);
    }
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let known = shell.step(|core, now| {
        let known = core.state.authenticate(header, now);
        if let Ok(Caller::Listener { pool, agent }) = known {
            core.state.touch(pool, agent, now);
        }
        known
    });
    let caller = known.map_err(|failure| stranger(failure, parts))?;
    Version::of(parts).check(&ask.method)?;
    permit(&caller, ask)?;
    Ok(Some(caller))
}

/// What a stranger is shown: plain words to who asked for them, the sign-in page to the others.
fn stranger(failure: AuthFailure, parts: &Parts) -> Answer {
    let suppressed = parts
        .headers
        .get("x-tfs-fedauthredirect")
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"suppress"));
    let page = match failure {
        AuthFailure::Unknown => parts.method == Method::GET,
        AuthFailure::BadBearer => parts.method == Method::GET || parts.method == Method::POST,
        AuthFailure::Missing | AuthFailure::ExpiredPat => false,
    };
    if page && !suppressed {
        return Answer::sign_in_page();
    }
    let (key, words) = match failure {
        AuthFailure::ExpiredPat => {
            ("AccessCheckException", "Access Denied: The Personal Access Token used has expired.")
        }
        _ => (
            "UnauthorizedRequestException",
            "TF400813: The user '' is not authorized to access this resource.",
        ),
    };
    challenge(Refusal::new(401, key, words))
}

fn challenge(refusal: Refusal) -> Answer {
    Answer::from(refusal)
        .with("WWW-Authenticate", "Bearer authorization_uri=https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000")
        .with("WWW-Authenticate", "Basic realm=\"http://azdo-sim/\"")
}

/// Roles: listeners act as themselves only, people look with any role and change as managers.
fn permit(caller: &Caller, ask: &Ask) -> Result<(), Refusal> {
    let listeners_own = match ask.route {
        Route::Sessions(_) | Route::Session(..) | Route::Message(..) | Route::Updates(..) => true,
        Route::Messages(_) => ask.method == Method::GET,
        Route::JobRequest(..) => ask.method != Method::GET,
        _ => false,
    };
    let anybody = matches!(ask.route, Route::ConnectionData | Route::ResourceAreas(_));
    let reads = ask.method == Method::GET;
    match caller {
        Caller::Listener { .. } if listeners_own || reads => Ok(()),
        Caller::Listener { agent, .. } => Err(Refusal::no_role(&format!("agent {agent}"))),
        Caller::Person { name, .. } if listeners_own => Err(Refusal::no_role(name)),
        Caller::Person { role: Role::Manager, .. } => Ok(()),
        Caller::Person { role: Role::Reader, .. } if reads => Ok(()),
        Caller::Person { .. } if anybody => Ok(()),
        Caller::Person { name, .. } => Err(Refusal::no_role(name)),
    }
}

/// The answer a fault gives in place of the real one.
pub(super) fn instead(fault: &Fault, parts: &Parts) -> Option<Answer> {
    if fault.html203 {
        return Some(Answer::sign_in_page());
    }
    Some(match fault.status? {
        401 => stranger(AuthFailure::ExpiredPat, parts),
        403 => Refusal::no_role("fabrikam user").into(),
        429 => throttled(fault).into(),
        status => {
            let words = format!(
                "TF400898: An Internal Error Occurred. Activity Id: {}.",
                uuid::Uuid::new_v4()
            );
            Answer::from(Refusal::new(status, "", words))
        }
    })
}

fn throttled(_: &Fault) -> Refusal {
    let words = "TF400733: The request has been canceled: Request was blocked due to exceeding usage of resource \
                 DistributedTask in namespace azdo-sim.";
    Refusal::new(429, "", words)
}
