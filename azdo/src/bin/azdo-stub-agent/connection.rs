//! The listener's own line to the server: calls with a token that is bought with the agent's key, kept in memory
//! and renewed before it ends. No PAT is needed here, nor known.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::api::{Api, ApiError, Auth, Call};
use crate::files::Registration;

/// A token is renewed when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A registered agent's line to its server.
pub(crate) struct Connection {
    /// Where and how.
    pub(crate) api: Api,
    /// Who.
    pub(crate) registration: Registration,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    renew_at: Instant,
}

impl Connection {
    pub(crate) fn new(api: Api, registration: Registration) -> Self {
        Self { api, registration, token: Mutex::new(None) }
    }

    /// Path of something in this agent's pool.
    pub(crate) fn pool(&self, rest: &str) -> String {
        format!("_apis/distributedtask/pools/{}/{rest}", self.registration.agent.pool_id)
    }

    /// Sends a call; a refused token is renewed once, as it may have been revoked early.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Value, ApiError> {
        let token = self.bearer().await?;
        match self.api.send(call, &Auth::Bearer(&token)).await {
            Err(ApiError::Unauthorized(_)) => {
                *self.token.lock().await = None;
                let token = self.bearer().await?;
                self.api.send(call, &Auth::Bearer(&token)).await
            }
            other => other,
        }
    }

    /// A token that is good for a while.
    pub(crate) async fn bearer(&self) -> Result<SecretString, ApiError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.text.clone());
        }
        let token = self.buy().await?;
        Ok(kept.insert(token).text.clone())
    }

    async fn buy(&self) -> Result<Token, ApiError> {
        let data = &self.registration.credentials.data;
        let assertion = self
            .registration
            .key
            .assertion(&data.client_id, &data.authorization_url, Timestamp::now())
            .map_err(ApiError::Local)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = self.api.post_form(&data.authorization_url, &form).await?;
        let text = answer["access_token"].as_str().ok_or_else(|| {
            ApiError::Local(anyhow::anyhow!("the token service answered without an access_token"))
        })?;
        let life = Duration::from_secs(answer["expires_in"].as_u64().unwrap_or(3_000));
        // A short life (tests) still gets half of it used.
        let use_for = life.saturating_sub(RENEW_BEFORE).max(life / 2);
        Ok(Token { text: SecretString::from(text.to_owned()), renew_at: Instant::now() + use_for })
    }
}
