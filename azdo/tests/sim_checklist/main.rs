//! What the simulator must reproduce, each line of the list by a test of its name. Over the wire.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod bad_days;
mod refusals;
mod rules;
mod shapes;
#[expect(dead_code, reason = "every test file uses another part")]
#[path = "../sim_support/mod.rs"]
mod sim_support;

use azdo::sim::{JobForm, SimHandle};
use serde_json::Value;
use sim_support::{Http, job};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn demanding(demand: &str) -> JobForm {
    JobForm { demands: vec![demand.to_owned()], ..job(1) }
}

async fn agents(sim: &SimHandle, query: &str) -> Value {
    Http::manager(sim)
        .task(&format!("pools/{}/agents{query}", sim.pool_id("nightly").unwrap()))
        .await
}

async fn requests(sim: &SimHandle, query: &str) -> Value {
    Http::manager(sim)
        .task(&format!("pools/{}/jobrequests{query}", sim.pool_id("nightly").unwrap()))
        .await
}

fn state(sim: &SimHandle, job: i64) -> (String, Option<String>) {
    let view = sim.job(job).unwrap();
    (view.state, view.result)
}
