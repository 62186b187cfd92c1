//! HTTP as the agent speaks it: JSON in and out, every call with a limit, errors told apart by `typeKey`.
//! On purpose not the fleet's own client: the stub stands for foreign software, and shares no mistakes with us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::settings::Settings;

/// Version asked for; the agent's own endpoints were never released, hence a preview.
const API_VERSION: &str = "7.1-preview.1";

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Name of the error, empty when the body was not the usual JSON.
        type_key: String,
        /// Text for people.
        message: String,
    },
    /// 401, a sign-in page, or a redirect to one. The text is the client library's, not the server's.
    #[error("VS30063: You are not authorized to access {0}.")]
    Unauthorized(String),
    /// The token service does not know this key any more: replaced, or the agent is deleted.
    #[error("the agent's registration has been revoked: {0}")]
    Revoked(String),
    /// No answer within the limit.
    #[error("the request timed out")]
    Timeout,
    /// No connection, or it broke.
    #[error("cannot reach the server: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// Something on this side, such as a damaged key file.
    #[error("{0:#}")]
    Local(anyhow::Error),
}

impl ApiError {
    /// Is it this error of the server?
    pub(crate) fn is(&self, key: &str) -> bool {
        matches!(self, Self::Refused { type_key, .. } if type_key == key)
    }
}

impl From<reqwest::Error> for ApiError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unreachable(error) }
    }
}

/// What proves who asks.
pub(crate) enum Auth<'a> {
    /// Personal access token of a person, for registering.
    Pat(&'a SecretString),
    /// The listener's own token.
    Bearer(&'a SecretString),
}

impl Auth<'_> {
    fn header(&self) -> String {
        match self {
            Self::Pat(pat) => {
                format!("Basic {}", STANDARD.encode(format!("VstsAgent:{}", pat.expose_secret())))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose_secret()),
        }
    }
}

/// One request, before it is sent.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    body: Option<Value>,
}

impl<'a> Call<'a> {
    /// `path` is relative to the organization: `_apis/…`.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn query(mut self, name: &'a str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// A server and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    /// `base` = `http(s)://host/org`, slashes at its end are dropped.
    pub(crate) fn new(base: &str, settings: &Settings) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("stub-agent")
            .timeout(settings.http_timeout)
            .no_proxy();
        if let Some(found) = &settings.proxy {
            let bypass = reqwest::NoProxy::from_string(&found.bypass);
            builder = builder.proxy(reqwest::Proxy::all(&found.url)?.no_proxy(bypass));
        }
        // Without TLS the system's certificates are not read: an image without any is fine, and starts faster.
        if !base.starts_with("https:") {
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { http: builder.build()?, base })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; an empty answer is `Null`.
    pub(crate) async fn send(&self, call: &Call<'_>, auth: &Auth<'_>) -> Result<Value, ApiError> {
        let url = format!("{}/{}", self.base, call.path);
        let mut parsed = Url::parse(&url).map_err(|e| ApiError::Local(e.into()))?;
        for (name, value) in &call.query {
            parsed.query_pairs_mut().append_pair(name, value);
        }
        parsed.query_pairs_mut().append_pair("api-version", API_VERSION);
        let mut request = self
            .http
            .request(call.method.clone(), parsed)
            .header(AUTHORIZATION, auth.header())
            .header("X-TFS-FedAuthRedirect", "Suppress");
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await?;
        answer(response, &url).await
    }

    /// Posts a form without credentials (they are in the form): the token endpoint.
    pub(crate) async fn post_form(
        &self,
        url: &str,
        fields: &[(&str, &str)],
    ) -> Result<Value, ApiError> {
        let mut form = Url::parse("http://form/").map_err(|e| ApiError::Local(e.into()))?;
        form.query_pairs_mut().extend_pairs(fields);
        let body = form.query().unwrap_or_default().to_owned();
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let response = request.send().await?;
        let status = response.status();
        let body: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        match (status.is_success(), text("error").as_str()) {
            (true, _) => Ok(body),
            (false, "invalid_client") => Err(ApiError::Revoked(text("error_description"))),
            (false, error) => {
                Err(refused(status.as_u16(), "", &format!("{error} {}", text("error_description"))))
            }
        }
    }

    /// Reads a file into `path`, piece by piece, and gives its SHA-256 in hex.
    pub(crate) async fn download(
        &self,
        url: &str,
        path: &std::path::Path,
    ) -> anyhow::Result<String> {
        use std::io::Write as _;
        let mut response = self.http.get(url).send().await?.error_for_status()?;
        let mut file = std::fs::File::create(path)?;
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        while let Some(piece) = response.chunk().await? {
            digest.update(&piece);
            file.write_all(&piece)?;
        }
        Ok(digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

async fn answer(response: reqwest::Response, url: &str) -> Result<Value, ApiError> {
    let status = response.status().as_u16();
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("json"));
    let bytes = response.bytes().await?;
    if matches!(status, 401 | 203 | 302) || (status == 200 && !json) {
        return Err(ApiError::Unauthorized(url.to_owned()));
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let fallback = format!("the server answered {status}");
    let message = if text("message").is_empty() { &fallback } else { text("message") };
    Err(refused(status, text("typeKey"), message))
}

fn refused(status: u16, type_key: &str, message: &str) -> ApiError {
    ApiError::Refused { status, type_key: type_key.to_owned(), message: message.to_owned() }
}
