//! The page for machines: `/metrics` and `/healthz`. No secrets and nothing to change here, so it
//! needs no certificate; by default it listens on the loopback only.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{fleet_loop::FleetHandle, metrics::Metrics};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the page shows.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) handle: FleetHandle,
    pub(crate) metrics: Arc<Metrics>,
}

/// The page's routes.
pub(crate) fn router(page: Page) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(page)
}

async fn metrics(State(page): State<Page>) -> Response {
    let summary = match page.handle.summary().await {
        Ok(summary) => summary,
        Err(denied) => return unavailable(&denied.to_string()),
    };
    match page.metrics.render(&summary) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => unavailable("the figures could not be written"),
    }
}

/// Healthy: the loop answers and the last commit was good. Read-only is a state to look at, not an
/// illness that a restart would heal.
async fn healthz(State(page): State<Page>) -> Response {
    match page.handle.summary().await {
        Ok(summary) => match summary.store_trouble {
            None if summary.read_only => (StatusCode::OK, "ok, but read-only\n").into_response(),
            None => (StatusCode::OK, "ok\n").into_response(),
            Some(trouble) => unavailable(&trouble),
        },
        Err(denied) => unavailable(&denied.to_string()),
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
