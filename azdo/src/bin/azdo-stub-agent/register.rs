//! Adding a row to a pool, or taking over the one of the same name. Where the real agent loops for ever, so
//! does this one: supervisors must put a limit around it.

use anyhow::{Context as _, bail};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, Auth, Call};
use crate::files::{Credentials, CredentialsData};
use crate::key::RsaParams;
use crate::term;

/// Tries for a replace that times out.
const TIMEOUT_TRIES: u32 = 3;

/// What is to stand in the row.
pub(crate) struct Wish<'a> {
    /// Name of the row.
    pub(crate) name: &'a str,
    /// Version of the agent.
    pub(crate) version: String,
    /// Everything else of the row but the key.
    pub(crate) capabilities: Value,
    /// Its public half goes into the row.
    pub(crate) key: &'a RsaParams,
}

impl Wish<'_> {
    fn apply(&self, row: &mut Value) {
        row["name"] = json!(self.name);
        row["version"] = json!(self.version);
        row["osDescription"] = json!(crate::capabilities::os_description());
        row["maxParallelism"] = json!(1);
        row["authorization"] =
            json!({"publicKey": {"exponent": self.key.exponent, "modulus": self.key.modulus}});
        row["systemCapabilities"] = self.capabilities.clone();
    }
}

/// A pool's door for one person's token.
pub(crate) struct Registrar<'a> {
    /// The server.
    pub(crate) api: &'a Api,
    /// Who asks.
    pub(crate) token: &'a SecretString,
    /// In which pool.
    pub(crate) pool_id: i64,
}

impl Registrar<'_> {
    fn path(&self, rest: &str) -> String {
        format!("_apis/distributedtask/pools/{}/agents{rest}", self.pool_id)
    }

    async fn send(&self, call: Call<'_>) -> Result<Value, ApiError> {
        self.api.send(&call, &Auth::Pat(self.token)).await
    }

    /// The row of this name, if there is one.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Value>, ApiError> {
        let call =
            Call::get(self.path("")).query("agentName", name).query("includeCapabilities", true);
        let list = self.send(call).await?;
        Ok(list["value"].as_array().and_then(|rows| rows.first()).cloned())
    }

    pub(crate) async fn delete(&self, id: i64) -> Result<(), ApiError> {
        self.send(Call::new(Method::DELETE, self.path(&format!("/{id}")))).await.map(drop)
    }

    /// Adds the row, or replaces it when that is wished; the answer is the row as the server has it now.
    pub(crate) async fn register(&self, wish: &Wish<'_>, replace: bool) -> anyhow::Result<Value> {
        loop {
            let Some(row) = self.find(wish.name).await? else {
                let row = self.add(wish).await?;
                term::line("Successfully added the agent");
                return Ok(row);
            };
            if !replace {
                bail!("Pool {} already contains an agent with name {}.", self.pool_id, wish.name);
            }
            match self.replace(wish, row).await {
                Ok(row) => {
                    term::line("Successfully replaced the agent");
                    return Ok(row);
                }
                Err(ApiError::Timeout) => bail!("the server did not answer {TIMEOUT_TRIES} times"),
                // No pause and no end, as the real one: a 403 here spins until somebody kills it.
                Err(error) => term::error(&format!(
                    "{error}\nFailed to replace the agent. Try again or ctrl-c to quit"
                )),
            }
        }
    }

    async fn add(&self, wish: &Wish<'_>) -> Result<Value, ApiError> {
        let mut row = json!({"enabled": true, "provisioningState": "Provisioned"});
        wish.apply(&mut row);
        self.send(Call::new(Method::POST, self.path("")).body(row)).await
    }

    /// The row as it was read goes back with the changes, so `enabled` and user capabilities stay what they are.
    pub(crate) async fn replace(&self, wish: &Wish<'_>, mut row: Value) -> Result<Value, ApiError> {
        let path = self.path(&format!("/{}", row["id"]));
        wish.apply(&mut row);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.send(Call::new(Method::PUT, path.clone()).body(row.clone())).await {
                Err(ApiError::Timeout) if tries < TIMEOUT_TRIES => {}
                other => return other,
            }
        }
    }
}

/// What the row says about getting tokens.
pub(crate) fn credentials(row: &Value) -> anyhow::Result<Credentials> {
    let part = |key: &str| {
        let text = row["authorization"][key].as_str().map(str::to_owned);
        text.with_context(|| format!("the server's answer has no authorization.{key}"))
    };
    let url = part("authorizationUrl")?;
    Ok(Credentials {
        scheme: "OAuth".to_owned(),
        data: CredentialsData {
            client_id: part("clientId")?,
            authorization_url: url.clone(),
            oauth_endpoint_url: url,
        },
    })
}
