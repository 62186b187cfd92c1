//! What the coordinator says, read and passed on. What cannot be read is told and left out: a bad
//! message is no reason to lose the session.

use std::sync::Arc;

use fleet_model::{AgentOrder, Assignment, CredentialRef};
use fleet_proto::{
    convert::{Row, WireError},
    logging::Report,
    v1::{self, session_request::Message as Said},
};
use tokio::sync::{
    mpsc::{self, error::SendError},
    oneshot,
};
use zeroize::Zeroizing;

use super::Parts;
use crate::{host_loop::Input, secrets::SecretError};

type Passed = Result<(), SendError<Input>>;

pub(super) async fn assignment(parts: &Parts, wire: v1::Assignment) -> Passed {
    match Assignment::try_from(wire) {
        Ok(assignment) => parts.inbox.send(Input::Assignment(assignment)).await,
        Err(error) => {
            tracing::error!(error = %Report(&error), "an assignment cannot be read; the last one holds");
            Ok(())
        }
    }
}

pub(super) async fn rows(parts: &Parts, wire: v1::Rows) -> Passed {
    let read = |row| match Row::try_from(row) {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::warn!(error = %Report(&error), "a row cannot be read");
            None
        }
    };
    let rows: Vec<Row> = wire.rows.into_iter().filter_map(read).collect();
    parts.inbox.send(Input::Rows(rows)).await
}

/// An operator's order for one agent. The answer goes back by itself, whenever the loop has it: the
/// session goes on meanwhile.
pub(super) async fn agent_order(
    parts: &Parts,
    to: &mpsc::Sender<v1::SessionRequest>,
    wire: v1::AgentOrder,
) -> Passed {
    let (id, to) = (wire.id, to.clone());
    let done = move |refused: String| v1::SessionRequest {
        message: Some(Said::AgentOrderDone(v1::AgentOrderDone { id, refused })),
    };
    let order = match AgentOrder::try_from(wire) {
        Ok(order) => order,
        Err(error) => {
            let why = format!("the host cannot read the order: {}", Report(&error));
            // A session that is over needs no answer, here and below.
            let _ = to.send(done(why)).await;
            return Ok(());
        }
    };
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async move {
        let refused = match answered.await {
            Ok(Ok(())) => String::new(),
            Ok(Err(why)) => why,
            Err(_) => "hostd ended before it took the order".to_owned(),
        };
        let _ = to.send(done(refused)).await;
    });
    parts.inbox.send(Input::Order(order, answer)).await
}

pub(super) async fn credential(parts: &Parts, wire: v1::Credential) -> Passed {
    let secret = Zeroizing::new(wire.secret);
    let announced = wire.credential.ok_or_else(|| WireError::new("credential", "is missing"));
    let announced = match announced.and_then(CredentialRef::try_from) {
        Ok(announced) => announced,
        Err(error) => {
            tracing::error!(error = %Report(&error), "a credential cannot be read");
            return Ok(());
        }
    };
    let name = announced.name.clone();
    let secrets = Arc::clone(&parts.secrets);
    let put = tokio::task::spawn_blocking(move || secrets.put(&announced, &secret)).await;
    match put {
        Ok(Ok(())) => tracing::info!(credential = %name, "credential received"),
        Ok(Err(error @ (SecretError::Fingerprint(_) | SecretError::NotText(_)))) => {
            tracing::error!(error = %Report(&error), "not taken");
            return Ok(());
        }
        Ok(Err(error)) => {
            tracing::error!(error = %Report(&error), "credential received; it does not survive a restart");
        }
        Err(_) => return Ok(()),
    }
    parts.inbox.send(Input::CredentialsChanged).await
}
