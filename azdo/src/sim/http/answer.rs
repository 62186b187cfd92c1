//! Answers: a status, perhaps a body, and the headers the service decorates everything with.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use uuid::Uuid;

use super::super::Refusal;
use super::super::faults::Fault;
use super::gate::Version;

/// An answer before it is bytes.
pub(super) struct Answer {
    status: u16,
    body: Content,
    headers: Vec<(&'static str, String)>,
    slow: Option<Duration>,
}

enum Content {
    None,
    Json(Value),
    Html(&'static str),
    File(Bytes),
}

impl Answer {
    pub(super) fn json(value: Value) -> Self {
        Self::new(200, Content::Json(value))
    }

    pub(super) fn json_with(status: u16, value: Value) -> Self {
        Self::new(status, Content::Json(value))
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::None)
    }

    pub(super) fn file(content: Bytes) -> Self {
        Self::new(200, Content::File(content))
    }

    /// The sign-in page, as the service shows it to whom it takes for a browser.
    pub(super) fn sign_in_page() -> Self {
        const PAGE: &str = "<html><head><title>Azure DevOps Services | Sign In</title></head><body>Sign In</body></html>";
        Self::new(203, Content::Html(PAGE))
    }

    fn new(status: u16, body: Content) -> Self {
        Self { status, body, headers: Vec::new(), slow: None }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The rate-limit headers of an identity that is being slowed down or blocked.
    pub(super) fn held(self, fault: &Fault) -> Self {
        let Some(secs) = fault.retry_after_s else { return self };
        let delay = fault.latency_ms.unwrap_or(0) + fault.late_ms.unwrap_or(0);
        self.with("Retry-After", secs)
            .with("X-RateLimit-Resource", "DistributedTask")
            .with("X-RateLimit-Delay", format!("{}.{:03}", delay / 1000, delay % 1000))
            .with("X-RateLimit-Limit", 200)
            .with("X-RateLimit-Remaining", 0)
            .with(
                "X-RateLimit-Reset",
                jiff::Timestamp::now().as_second() + i64::try_from(secs).unwrap_or(0),
            )
    }

    pub(super) fn slow(mut self, over_ms: Option<u64>) -> Self {
        self.slow = over_ms.map(Duration::from_millis);
        self
    }

    pub(super) fn into_response(self, parts: &Parts, version: &Version) -> Response {
        let mut headers = decorations(parts);
        let (kind, bytes) = match self.body {
            Content::None => (None, Bytes::new()),
            Content::Json(value) => {
                let kind = format!("application/json; charset=utf-8; api-version={version}");
                (Some(kind), Bytes::from(value.to_string()))
            }
            Content::Html(text) => {
                (Some("text/html; charset=utf-8".to_owned()), Bytes::from_static(text.as_bytes()))
            }
            Content::File(content) => (Some("application/octet-stream".to_owned()), content),
        };
        if let Some(kind) = kind.and_then(|k| HeaderValue::from_str(&k).ok()) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(*name), HeaderValue::from_str(value))
            {
                headers.append(name, value);
            }
        }
        let body = match self.slow {
            Some(over) => super::slowly(bytes, over),
            None => Body::from(bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let body = refusal.body();
        // The words again as a header, URL-encoded: all that is left when a proxy eats the body.
        Self::json_with(refusal.status, body)
            .with("X-TFS-ServiceError", url_encoded(&refusal.message))
    }
}

/// What every answer of the service carries, useful in reports to its support.
fn decorations(parts: &Parts) -> HeaderMap {
    let activity = Uuid::new_v4();
    let session =
        parts.headers.get("x-tfs-session").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let pairs = [
        ("activityid", activity.to_string()),
        ("x-vss-e2eid", activity.to_string()),
        ("x-tfs-session", session.unwrap_or_else(|| activity.to_string())),
        ("x-tfs-processid", "8315de1a-d8a0-46cd-93cc-707f864fbd7d".to_owned()),
        ("x-vss-senderdeploymentid", "ed30ce5c-9d0a-f73c-3580-4315c7f84d83".to_owned()),
        ("x-vss-userdata", "22157d54-1821-6536-a446-928b06348385:user@example.com".to_owned()),
        (
            "x-msedge-ref",
            format!("Ref A: {} Ref B: SIM Ref C: {}", activity.simple(), jiff::Timestamp::now()),
        ),
        ("access-control-expose-headers", "Request-Context".to_owned()),
        ("request-context", "appId=cid-v1:azdo-sim".to_owned()),
        ("cache-control", "no-cache".to_owned()),
        ("pragma", "no-cache".to_owned()),
        ("expires", "-1".to_owned()),
        ("p3p", "CP=\"SIM\"".to_owned()),
        ("strict-transport-security", "max-age=31536000; includeSubDomains".to_owned()),
        ("vary", "Accept-Encoding".to_owned()),
        ("x-cache", "CONFIG_NOCACHE".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("x-frame-options", "SAMEORIGIN".to_owned()),
    ];
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    };
    pairs.into_iter().filter_map(header).collect()
}

fn url_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
