//! What the tests of the simulator share: a simulator with known tokens, plain HTTP, and an actor
//! that plays a listener over the wire. Nothing of the client library is used here, so that an
//! error of the client cannot hide one of the simulator.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use azdo::sim::{JobForm, PatForm, Role, Settings, Sim, SimConfig, SimHandle};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

/// Longest wait for anything; reached only by a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const MANAGER: &str = "manager-token";
pub(crate) const READER: &str = "reader-token";
pub(crate) const NOBODY: &str = "nobody-token";
pub(crate) const EXPIRED: &str = "expired-token";

/// Delivery at once, polls of two seconds, one pool `nightly`.
pub(crate) async fn start() -> SimHandle {
    start_with(Settings::brisk()).await
}

pub(crate) async fn start_with(settings: Settings) -> SimHandle {
    let pat = |token: &str, role: Role| PatForm { role, ..PatForm::manager(token) };
    let expired =
        PatForm { expires: Some(jiff::Timestamp::UNIX_EPOCH), ..PatForm::manager(EXPIRED) };
    let pats = vec![
        PatForm::manager(MANAGER),
        pat(READER, Role::Reader),
        pat(NOBODY, Role::None),
        expired,
    ];
    Sim::start(SimConfig { pats, settings, ..SimConfig::default() }).await.unwrap()
}

pub(crate) fn job(ms: u64) -> JobForm {
    JobForm { duration_ms: ms, ..JobForm::default() }
}

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|e| panic!("{e}: {} {:?}", self.status, self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub(crate) fn type_key(&self) -> (u16, String) {
        (self.status, self.json()["typeKey"].as_str().unwrap_or_default().to_owned())
    }
}

/// Plain HTTP against one simulator.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) base: String,
    client: reqwest::Client,
    authorization: String,
    suppress: bool,
}

impl Http {
    pub(crate) fn new(sim: &SimHandle, pat: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
        let authorization = format!("Basic {}", STANDARD.encode(format!(":{pat}")));
        Self { base: sim.base_url(), client, authorization, suppress: true }
    }

    pub(crate) fn manager(sim: &SimHandle) -> Self {
        Self::new(sim, MANAGER)
    }

    pub(crate) fn with(mut self, authorization: &str) -> Self {
        authorization.clone_into(&mut self.authorization);
        self
    }

    /// Like a client that does not ask for plain refusals.
    pub(crate) fn like_a_browser(mut self) -> Self {
        self.suppress = false;
        self
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Got> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        request = request.header("Accept", "application/json;api-version=7.1");
        if !self.authorization.is_empty() {
            request = request.header("Authorization", &self.authorization);
        }
        if self.suppress {
            request = request.header("X-TFS-FedAuthRedirect", "Suppress");
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Got { status, headers, text: response.text().await? })
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Got {
        self.try_send(method, path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, None).await
    }

    /// Under the task area, where nearly everything is.
    pub(crate) async fn task(&self, path: &str) -> Value {
        let got = self.get(&format!("/_apis/distributedtask/{path}")).await;
        assert_eq!(got.status, 200, "{got:?}");
        got.json()
    }

    pub(crate) async fn form(&self, url: &str, form: &[(&str, &str)]) -> Got {
        let pairs: Vec<String> =
            form.iter().map(|(k, v)| format!("{k}={}", v.replace(':', "%3A"))).collect();
        let request =
            self.client.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        let response = request.body(pairs.join("&")).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Got { status, headers, text: response.text().await.unwrap() }
    }
}

/// Plays a listener: registered with a real key, signs for its tokens.
pub(crate) struct Actor {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) pool: i64,
    http: Http,
    key: KeyPair,
    client_id: String,
    token_url: String,
    pub(crate) session: Option<String>,
}

impl Actor {
    pub(crate) async fn register(
        sim: &SimHandle,
        pool: &str,
        name: &str,
        capabilities: Value,
    ) -> Self {
        let (http, pool) = (Http::manager(sim), sim.pool_id(pool).unwrap());
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let body = registration(name, &key, capabilities);
        let got = http
            .send(Method::POST, &format!("/_apis/distributedtask/pools/{pool}/agents"), Some(body))
            .await;
        assert_eq!(got.status, 200, "{got:?}");
        Self::from_answer(http, pool, key, &got.json())
    }

    fn from_answer(http: Http, pool: i64, key: KeyPair, answer: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        Self {
            id: answer["id"].as_i64().unwrap(),
            name: text(&answer["name"]),
            pool,
            http,
            key,
            client_id: text(&answer["authorization"]["clientId"]),
            token_url: text(&answer["authorization"]["authorizationUrl"]),
            session: None,
        }
    }

    /// Registered, signed in and online.
    pub(crate) async fn online(sim: &SimHandle, pool: &str, name: &str) -> Self {
        let mut actor =
            Self::register(sim, pool, name, json!({ "Agent.Version": "4.260.0" })).await;
        let opened = actor.open().await;
        assert_eq!(opened.status, 200, "{opened:?}");
        actor
    }

    /// `config.sh --replace` from another directory: a new key for the same row.
    pub(crate) async fn replace(&self) -> Self {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let mut body = registration(&self.name, &key, json!({}));
        body["id"] = json!(self.id);
        let path = format!("/_apis/distributedtask/pools/{}/agents/{}", self.pool, self.id);
        let manager = format!("Basic {}", STANDARD.encode(format!(":{MANAGER}")));
        let http = self.http.clone().with(&manager);
        let got = http.send(Method::PUT, &path, Some(body)).await;
        assert_eq!(got.status, 200, "{got:?}");
        Self::from_answer(http, self.pool, key, &got.json())
    }

    pub(crate) fn assertion(&self, audience: &str, life_secs: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "sub": self.client_id, "iss": self.client_id, "aud": audience,
            "nbf": now - 5, "exp": now + life_secs, "jti": format!("{now}"),
        });
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let signed =
            format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) async fn ask_token(&self, assertion: &str) -> Got {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        self.http.form(&self.token_url, &form).await
    }

    pub(crate) async fn sign_in(&mut self) -> Got {
        let got = self.ask_token(&self.assertion(&self.token_url, 300)).await;
        if let Some(token) = got.json()["access_token"].as_str() {
            self.http = self.http.clone().with(&format!("Bearer {token}"));
        }
        got
    }

    pub(crate) async fn open(&mut self) -> Got {
        let signed_in = self.sign_in().await;
        if signed_in.status != 200 {
            return signed_in;
        }
        let body = json!({
            "ownerName": "host1", "agent": { "id": self.id, "name": self.name, "version": "4.260.0" },
            "systemCapabilities": { "Agent.Version": "4.260.0", "Agent.Name": self.name },
        });
        let got = self.send(Method::POST, "sessions", Some(body)).await;
        if got.status == 200 {
            self.session = got.json()["sessionId"].as_str().map(str::to_owned);
        }
        got
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Got {
        self.http
            .send(method, &format!("/_apis/distributedtask/pools/{}/{path}", self.pool), body)
            .await
    }

    fn session(&self) -> &str {
        self.session.as_deref().expect("the actor is online")
    }

    pub(crate) async fn poll(&self, last: i64) -> Got {
        self.send(
            Method::GET,
            &format!("messages?sessionId={}&lastMessageId={last}", self.session()),
            None,
        )
        .await
    }

    /// Waits for the next message and reads its body.
    pub(crate) async fn message(&self, last: i64) -> (Value, Value) {
        loop {
            let got = self.poll(last).await;
            if got.status == 200 {
                let message = got.json();
                let body = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
                return (message, body);
            }
            assert_eq!(got.status, 202, "{got:?}");
        }
    }

    pub(crate) async fn acknowledge(&self, message: i64) -> Got {
        self.send(Method::DELETE, &format!("messages/{message}?sessionId={}", self.session()), None)
            .await
    }

    pub(crate) async fn renew(&self, request: i64) -> Got {
        let body = json!({ "requestId": request });
        self.send(
            Method::PATCH,
            &format!("jobrequests/{request}?lockToken={}", uuid::Uuid::nil()),
            Some(body),
        )
        .await
    }

    pub(crate) async fn finish(&self, request: i64, result: &str) -> Got {
        let body =
            json!({ "requestId": request, "finishTime": "2026-01-01T00:00:00Z", "result": result });
        self.send(
            Method::PATCH,
            &format!("jobrequests/{request}?lockToken={}", uuid::Uuid::nil()),
            Some(body),
        )
        .await
    }

    /// Takes the next job as far as "running".
    pub(crate) async fn take_job(&self) -> i64 {
        let (message, body) = self.message(0).await;
        assert_eq!(message["messageType"], "PipelineAgentJobRequest");
        let request = body["requestId"].as_i64().unwrap();
        assert_eq!(self.acknowledge(message["messageId"].as_i64().unwrap()).await.status, 204);
        assert_eq!(self.renew(request).await.status, 200);
        request
    }

    pub(crate) async fn close(&self) -> Got {
        self.send(Method::DELETE, &format!("sessions/{}", self.session()), None).await
    }

    pub(crate) async fn post_record(&self, sim: &SimHandle, request: i64, record: Value) -> Got {
        let mut http = self.http.clone();
        http.base = sim.base_url();
        http.send(Method::POST, &format!("/_sim/jobs/{request}/record"), Some(record)).await
    }
}

fn registration(name: &str, key: &KeyPair, capabilities: Value) -> Value {
    // PKCS#1 of a 2048-bit key: a fixed head of 9 bytes, 256 bytes of modulus, then the exponent.
    let modulus = key.public_key().as_ref().get(9..265).unwrap().to_vec();
    let public = json!({ "exponent": "AQAB", "modulus": STANDARD.encode(modulus) });
    json!({
        "name": name, "version": "4.260.0", "osDescription": "Linux 6.8.0", "maxParallelism": 1,
        "authorization": { "publicKey": public }, "systemCapabilities": capabilities,
    })
}
