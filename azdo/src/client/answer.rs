//! From an HTTP answer to a value or an [`Error`]: pure but for the reading of the body.
//!
//! The rule: success is 2xx **with** JSON, or 204. The service shows its sign-in page as 203, as a
//! redirect, or as 200 with HTML; all three mean "not signed in". Everything else is sorted by the
//! error's `typeKey` first and by the status second, never by the message.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::types::lenient::without_bom;
use crate::{Error, Pace, percent_decode};

/// No answer of the service is larger in sane use; a pool of 10,000 agents with capabilities is half of it.
const BODY_LIMIT: usize = 64 << 20;

/// The service's error body, the same for all of its parts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wrapped {
    message: Option<String>,
    type_key: Option<String>,
}

/// Reads the body up to the limit; what lies beyond is cut, and then fails as malformed JSON.
pub(super) async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_LIMIT {
            break;
        }
    }
    Ok(body)
}

pub(super) fn read_json<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(without_bom(body))
        .map_err(|e| Error::Malformed { what, source: Box::new(e) })
}

/// Where the next page starts.
pub(super) fn continuation(headers: &HeaderMap) -> Option<String> {
    headers.get("x-ms-continuationtoken")?.to_str().ok().map(str::to_owned)
}

/// Is this answer a success? If not, which failure is it?
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    pace: &Pace,
) -> Result<(), Error> {
    if status == StatusCode::NO_CONTENT
        || (status.is_success() && status.as_u16() != 203 && is_json(headers))
    {
        return Ok(());
    }
    // An empty 2xx is how some deletes are answered.
    if status.is_success() && status.as_u16() != 203 && body.is_empty() {
        return Ok(());
    }
    if status.is_success() || status.is_redirection() {
        return Err(Error::NotAuthenticated {
            why: format!("the service showed its sign-in page (HTTP {})", status.as_u16()),
        });
    }
    Err(failure(status, headers, body, pace))
}

fn failure(status: StatusCode, headers: &HeaderMap, body: &[u8], pace: &Pace) -> Error {
    let wrapped: Wrapped = serde_json::from_slice(without_bom(body)).unwrap_or_default();
    let type_key = wrapped.type_key.unwrap_or_default();
    let message = wrapped
        .message
        .filter(|m| !m.is_empty())
        .or_else(|| service_error(headers))
        .unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
    by_type_key(&type_key, &message).unwrap_or_else(|| by_status(status, type_key, message, pace))
}

fn by_type_key(type_key: &str, message: &str) -> Option<Error> {
    let message = message.to_owned();
    Some(match type_key {
        "TaskAgentJobStillRunningException" => Error::JobStillRunning { message },
        "UnauthorizedRequestException"
        | "AccessCheckException"
        | "TaskAgentAccessTokenExpiredException" => Error::NotAuthenticated { why: message },
        "AccessDeniedException" => Error::Forbidden { message },
        "TaskAgentExistsException" | "TaskAgentSessionConflictException" => {
            Error::Conflict { type_key: type_key.to_owned(), message }
        }
        "TaskAgentNotFoundException"
        | "TaskAgentPoolNotFoundException"
        | "TaskAgentJobNotFoundException"
        | "TaskAgentSessionExpiredException" => {
            Error::NotFound { type_key: type_key.to_owned(), message }
        }
        _ => return None,
    })
}

fn by_status(status: StatusCode, type_key: String, message: String, pace: &Pace) -> Error {
    let retry_after = pace.retry_after;
    match status.as_u16() {
        401 => Error::NotAuthenticated { why: message },
        403 => Error::Forbidden { message },
        404 => Error::NotFound { type_key, message },
        409 => Error::Conflict { type_key, message },
        429 => Error::Throttled { retry_after, message },
        408 | 500..=599 => Error::Unavailable { status: status.as_u16(), retry_after },
        status => Error::Refused { status, type_key, message },
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content =
        headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    content.trim_start().to_ascii_lowercase().starts_with("application/json")
}

/// `X-TFS-ServiceError`: the message as URL-encoded text, the only one when the body is HTML.
fn service_error(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-tfs-serviceerror")?.to_str().ok()?;
    Some(percent_decode(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(
        status: u16,
        content: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<(), Error> {
        let mut map = HeaderMap::new();
        if !content.is_empty() {
            map.insert(header::CONTENT_TYPE, content.parse().expect("a header value"));
        }
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header value"));
        }
        let pace = Pace::read(&map, jiff::Timestamp::UNIX_EPOCH);
        judge(StatusCode::from_u16(status).expect("a status"), &map, body.as_bytes(), &pace)
    }

    #[test]
    fn json_and_no_content_are_success() {
        assert!(check(200, "application/json; charset=utf-8; api-version=7.1", &[], "{}").is_ok());
        assert!(check(204, "", &[], "").is_ok());
        assert!(check(200, "", &[], "").is_ok());
    }

    #[test]
    fn every_form_of_the_sign_in_page_is_not_authenticated() {
        for (status, content) in [
            (203, "text/html"),
            (203, "application/json"),
            (302, ""),
            (200, "text/html; charset=utf-8"),
        ] {
            let answer = check(status, content, &[], "<html>");
            assert!(
                matches!(answer, Err(Error::NotAuthenticated { .. })),
                "{status} {content}: {answer:?}"
            );
        }
    }

    #[test]
    fn the_type_key_wins_over_the_status() {
        let body = r#"{"typeKey":"TaskAgentJobStillRunningException","message":"Agent \"a\" is running a job"}"#;
        for status in [400, 409, 500] {
            assert!(matches!(
                check(status, "application/json", &[], body),
                Err(Error::JobStillRunning { .. })
            ));
        }
    }

    #[test]
    fn an_html_refusal_takes_its_words_from_the_header() {
        let answer = check(
            401,
            "text/html",
            &[("x-tfs-serviceerror", "Access%20Denied%3A%20expired.%")],
            "<html>",
        );
        assert!(
            matches!(&answer, Err(Error::NotAuthenticated { why }) if why == "Access Denied: expired.%"),
            "{answer:?}"
        );
    }

    #[test]
    fn throttling_and_illness_carry_the_wait() {
        for status in [429, 503] {
            let error = check(status, "application/json", &[("retry-after", "30")], "{}")
                .expect_err("refused");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
            assert!(error.is_transient());
        }
        let refused = check(400, "application/json", &[], r#"{"typeKey":"X","message":"m"}"#)
            .expect_err("refused");
        assert!(matches!(refused, Error::Refused { status: 400, .. }) && !refused.is_transient());
    }
}
