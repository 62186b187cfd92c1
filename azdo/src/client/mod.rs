//! The client: settings, credentials, and the one place where a request is sent.
//!
//! It never retries and never sleeps. Redirects are not followed and the sign-in page is asked to
//! stay away, so that a bad credential is a plain error and not a page of HTML.

mod agents;
mod answer;
mod jobs;
mod pools;
mod service;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, header};
use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

pub use agents::{AgentQuery, NewAgent};
pub use jobs::JobRequestQuery;

use crate::{Error, Pace, Reply};

/// Version asked for where the resource is released.
const RELEASED: &str = "7.1";
/// Version asked for where it never was (job requests, packages, capabilities).
const PREVIEW: &str = "7.1-preview.1";

/// How to reach one organisation.
#[derive(Clone)]
pub struct ClientConfig {
    /// `https://dev.azure.com/ORG`, or `http(s)://HOST[:PORT]/ORG`.
    pub base_url: String,
    /// Who asks.
    pub credential: Credential,
    /// Limit of one call, from the first byte sent to the last one read.
    pub timeout: Duration,
    /// The proxy to go through; `None`: directly, whatever the environment says.
    pub proxy: Option<ProxyConfig>,
}

impl ClientConfig {
    /// Settings with a limit of 30 s per call and no proxy.
    pub fn new(base_url: impl Into<String>, credential: Credential) -> Self {
        Self {
            base_url: base_url.into(),
            credential,
            timeout: Duration::from_secs(30),
            proxy: None,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy is left out: its address may hold a password.
        f.debug_struct("ClientConfig")
            .field("base_url", &self.base_url)
            .field("credential", &self.credential)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// An HTTP proxy and the hosts that are reached without it.
#[derive(Clone)]
pub struct ProxyConfig {
    /// `http://[user:password@]host:port`.
    pub url: String,
    /// Comma list in the form of `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// What the service knows us by.
#[derive(Clone)]
pub enum Credential {
    /// A personal access token.
    Pat(SecretString),
    /// An Entra access token.
    Bearer(SecretString),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pat(_) => "Pat(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

impl Credential {
    /// The `Authorization` header. A token read from a file often ends with a newline, which the
    /// service would answer with 401: white space around it is cut off.
    fn header(&self) -> Result<HeaderValue, Error> {
        let text = match self {
            Self::Pat(pat) => {
                format!("Basic {}", STANDARD.encode(format!(":{}", pat.expose_secret().trim())))
            }
            Self::Bearer(token) => format!("Bearer {}", token.expose_secret().trim()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Setting {
            what: "the token holds characters that no token has".into(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A client of one organisation with one credential. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client; nothing is sent.
    ///
    /// # Errors
    /// [`Error::Setting`] for an address, proxy or token that cannot be used.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(Duration::from_secs(10)))
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("fleet-azdo/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if let Some(proxy) = &config.proxy {
            builder = builder.proxy(proxy_rule(proxy)?);
        }
        let base = base_url(&config.base_url)?;
        if base.scheme() == "http" {
            // Without this a host that has no CA certificates could not even speak plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|e| Error::Setting { what: causes(&e) })?;
        Ok(Self { http, base, authorization: config.credential.header()?, timeout: config.timeout })
    }

    /// The same connections and address with another credential, e.g. after a rotation.
    ///
    /// # Errors
    /// [`Error::Setting`] when the token cannot be sent.
    pub fn with_credential(&self, credential: &Credential) -> Result<Self, Error> {
        Ok(Self { authorization: credential.header()?, ..self.clone() })
    }

    /// The organisation's address, without a slash at the end.
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends one request under the organisation and reads the JSON answer.
    async fn call<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<Reply<T>, Error> {
        let what = ask.what;
        let (raw, pace, continuation) = self.send(ask).await?;
        let value = answer::read_json(what, &raw)?;
        Ok(Reply { value, pace, continuation })
    }

    /// Sends one request whose answer has no body worth reading.
    async fn command(&self, ask: Ask<'_>) -> Result<Reply<()>, Error> {
        let (_, pace, continuation) = self.send(ask).await?;
        Ok(Reply { value: (), pace, continuation })
    }

    async fn send(&self, ask: Ask<'_>) -> Result<(Vec<u8>, Pace, Option<String>), Error> {
        let url = ask.url(&self.base);
        let mut request = self
            .http
            .request(ask.method, url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, format!("application/json;api-version={}", ask.version))
            .header("X-TFS-FedAuthRedirect", "Suppress");
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| self.transport(e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = answer::read_body(response).await.map_err(|e| self.transport(e))?;
        let pace = Pace::read(&headers, Timestamp::now());
        answer::judge(status, &headers, &body, &pace)?;
        Ok((body, pace, answer::continuation(&headers)))
    }

    fn transport(&self, error: reqwest::Error) -> Error {
        if error.is_timeout() {
            Error::Timeout { limit: self.timeout }
        } else {
            // The address may hold names that do not belong into logs of others; the host stays in the cause.
            Error::Unreachable(error.without_url())
        }
    }
}

/// One request, before it has an address.
struct Ask<'a> {
    method: Method,
    /// Path segments after the organisation.
    path: Vec<String>,
    query: Vec<(&'a str, String)>,
    version: &'static str,
    body: Option<serde_json::Value>,
    /// Named in the error when the answer cannot be read.
    what: &'static str,
}

impl<'a> Ask<'a> {
    fn new(method: Method, what: &'static str, path: &[&(dyn fmt::Display + Sync)]) -> Self {
        let path = path.iter().map(ToString::to_string).collect();
        Self { method, path, query: Vec::new(), version: RELEASED, body: None, what }
    }

    fn get(what: &'static str, path: &[&(dyn fmt::Display + Sync)]) -> Self {
        Self::new(Method::GET, what, path)
    }

    fn preview(mut self) -> Self {
        self.version = PREVIEW;
        self
    }

    fn body(mut self, body: serde_json::Value) -> Self {
        self.body = Some(body);
        self
    }

    fn query(mut self, name: &'a str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    fn flag(self, name: &'a str, on: bool) -> Self {
        if on { self.query(name, true) } else { self }
    }

    /// Segments and values are encoded here, once: a raw space in a pool name is a 400.
    fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("_apis").extend(&self.path);
        }
        let mut pairs = url.query_pairs_mut();
        pairs.extend_pairs(self.query.iter().map(|(k, v)| (*k, v.as_str())));
        pairs.append_pair("api-version", self.version);
        drop(pairs);
        url
    }
}

fn base_url(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| Error::Setting { what: format!("address {text:?}: {why}") };
    let url = Url::parse(text.trim()).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("must start with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not echoed: what stands there is a secret.
        return Err(Error::Setting {
            what: "the address holds a user or password; give the token by file".into(),
        });
    }
    if url.path().trim_matches('/').is_empty() && url.host_str() == Some("dev.azure.com") {
        return Err(bad("the organisation is missing, e.g. https://dev.azure.com/fabrikam"));
    }
    Ok(url)
}

/// A builder's own words are only "builder error"; what is wrong is said by its causes.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |e| e.source());
    let words: Vec<String> = chain.map(ToString::to_string).collect();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

fn proxy_rule(proxy: &ProxyConfig) -> Result<reqwest::Proxy, Error> {
    // The address is not echoed: it may hold a password.
    let rule = reqwest::Proxy::all(&proxy.url)
        .map_err(|_| Error::Setting { what: "the proxy address cannot be read".into() })?;
    Ok(rule.no_proxy(proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string)))
}

#[cfg(test)]
mod tests;
