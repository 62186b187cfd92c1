//! A job's lock at the server: taken with the first renewal, kept by more of them, given back with the result.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use crate::api::{ApiError, Call};
use crate::job::{Job, JobResult};

/// Tries for the first renewal, and for the finish.
const TRIES: u32 = 5;
/// Time after the lock has run out in which a renewal may still come through.
const AFTER_EXPIRY: Duration = Duration::from_secs(300);
/// Validity assumed when the server does not tell.
const VALIDITY: Duration = Duration::from_secs(600);

/// Is the request gone for good?
fn lost(error: &ApiError) -> bool {
    error.is("TaskAgentJobTokenExpiredException")
        || error.is("TaskAgentJobNotFoundException")
        || matches!(error, ApiError::Revoked(_))
}

async fn patch(context: &Context, job: &Job, body: Value) -> Result<Value, ApiError> {
    let path = context.connection.pool(&format!("jobrequests/{}", job.request_id));
    let call = Call::new(Method::PATCH, path).query("lockToken", &job.lock_token).body(body);
    context.connection.send(&call).await
}

/// Patches up to five times; an answer that the request is gone ends it at once.
async fn patch_with_tries(
    context: &Context,
    job: &Job,
    body: Value,
    what: &str,
) -> Result<Value, ApiError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match patch(context, job, body.clone()).await {
            Err(error) if tries < TRIES && !lost(&error) => {
                context.diag.log(&format!("{what} of request {} failed: {error}", job.request_id));
                tokio::time::sleep(context.settings.request_retry).await;
            }
            other => return other,
        }
    }
}

/// First renewal. An error means that the job must not be run here.
pub(crate) async fn take(context: &Context, job: &Job) -> Result<Instant, ApiError> {
    let body = json!({"requestId": job.request_id});
    patch_with_tries(context, job, body, "First renewal").await.map(|answer| locked_until(&answer))
}

/// Renews until the lock is lost; only then it returns.
pub(crate) async fn keep(context: &Context, job: &Job, mut until: Instant) {
    let mut pause = context.settings.renew;
    loop {
        tokio::time::sleep(pause).await;
        match patch(context, job, json!({"requestId": job.request_id})).await {
            Ok(answer) => {
                until = locked_until(&answer);
                pause = context.settings.renew;
            }
            Err(error) => {
                context.diag.log(&format!("Renewal of request {} failed: {error}", job.request_id));
                if lost(&error) || Instant::now() > until + AFTER_EXPIRY {
                    return;
                }
                pause = context.settings.request_retry;
            }
        }
    }
}

/// Reports the end. In once mode the server hears in the same breath that no further job is wanted here: with
/// two requests it could assign one in between, to an agent that is about to leave.
pub(crate) async fn finish(context: &Context, job: &Job, result: JobResult) {
    let mut body =
        json!({"requestId": job.request_id, "finishTime": Timestamp::now(), "result": result});
    if context.once {
        body["agentShuttingDown"] = json!(true);
    }
    if let Err(error) = patch_with_tries(context, job, body, "Finish").await {
        context.diag.log(&format!("Finish of request {} was not taken: {error}", job.request_id));
    }
}

fn locked_until(answer: &Value) -> Instant {
    let told = answer["lockedUntil"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let left =
        told.and_then(|until| Duration::try_from(until.duration_since(Timestamp::now())).ok());
    Instant::now() + left.unwrap_or(VALIDITY)
}
