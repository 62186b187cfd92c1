//! The control API of a running simulator.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Which simulator.
#[derive(clap::Args)]
pub(crate) struct Remote {
    /// Address of the simulator, with or without the organisation.
    #[arg(long, env = "AZDO_SIM", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    sim: String,
}

impl Remote {
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.send(http::Method::GET, path, query, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(http::Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(http::Method::DELETE, path, &[], None).await
    }

    async fn send(
        &self,
        method: http::Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let address = if self.sim.contains("://") {
            self.sim.clone()
        } else {
            format!("http://{}", self.sim)
        };
        let mut url =
            reqwest::Url::parse(&address).with_context(|| format!("{address} is no address"))?;
        url.set_path(&format!("/_sim/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()?;
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("no simulator at {address}; is `azdo-sim serve` running?"))?;
        let status = response.status();
        let body: Value = response.json().await.context("the answer is not JSON")?;
        if !status.is_success() {
            bail!("{}", body["message"].as_str().unwrap_or("refused"));
        }
        Ok(body)
    }
}

/// Shows columns, each as wide as its widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count());
        cells.chain(head.get(column).map(|h| h.len())).max().unwrap_or(0)
    };
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(i, c)| format!("{c:<w$}", w = width(i)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    outln!("{}", line(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()))?;
    for row in rows {
        outln!("{}", line(row))?;
    }
    Ok(())
}
