//! One session: a reader that tells the loop what the host says, and a writer that empties the
//! session's mailbox towards the host. Either one's end ends both.
//!
//! ```text
//!   Hello ──► granted by the loop ──► Welcome ──► reading │ writing ──► closed, the loop is told
//! ```

use std::{sync::Arc, time::Duration};

use fleet_model::{At, HostName, Order};
use fleet_proto::{
    convert::{Hello, wire_duration},
    logging::Report,
    v1::{self, session_request, session_response},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tonic::{Status, Streaming};

use super::Shared;
use crate::{
    fleet_loop::{Denied, Grant, Outbox, SessionEvent},
    mailbox::Mailbox,
    store::NewEvent,
};

type Outgoing = mpsc::Sender<Result<v1::SessionResponse, Status>>;

/// Time for the first message. It is sent with the opening of the stream.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Time for the reason of an end to go out.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(1);
/// Rows in one message; keeps a message far below the size limit.
const ROWS_PER_MESSAGE: usize = 500;
/// Longest text of a host's event that is kept.
const NOTE_MAX: usize = 1000;

/// Runs the session of a host to its end.
pub(super) async fn run(
    shared: Arc<Shared>,
    host: HostName,
    key: String,
    mut incoming: Streaming<v1::SessionRequest>,
    outgoing: Outgoing,
) {
    let grant = match open(&shared, &host, key, &mut incoming).await {
        Ok(grant) => grant,
        Err(status) => {
            // Fails only when the host has gone away already.
            let _ = outgoing.send(Err(status)).await;
            return;
        }
    };
    let session = grant.session;
    let why = tokio::select! {
        end = read(&shared, &host, session, incoming) => {
            let why = end.message().to_owned();
            // A host that reads nothing is not waited for.
            let _ = timeout(LAST_WORD_LIMIT, outgoing.send(Err(end))).await;
            why
        }
        why = write(&shared, grant.outbox, &outgoing) => why,
        () = outgoing.closed() => "the connection is gone".to_owned(),
    };
    shared.logs.session_ended(&host, session, &why);
    // Fails only when the daemon ends.
    let _ = shared.handle.tell(SessionEvent::Closed { host, session, why }).await;
}

async fn open(
    shared: &Shared,
    host: &HostName,
    key: String,
    incoming: &mut Streaming<v1::SessionRequest>,
) -> Result<Grant, Status> {
    let first = timeout(HELLO_LIMIT, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came within 10 s"))??;
    let Some(session_request::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message of a session must be Hello"));
    };
    let hello = Hello::try_from(hello).map_err(|error| Status::from(error.within("hello")))?;
    if hello.host != *host {
        let why = format!("host {host} spoke as {}; a host may only speak as itself", hello.host);
        tracing::warn!(%host, claimed = %hello.host, "a host spoke as another");
        let refused = SessionEvent::Refused { host: host.clone(), why: why.clone() };
        let _ = shared.handle.tell(refused).await;
        return Err(Status::permission_denied(why));
    }
    let hello = Box::new(hello);
    Ok(shared.handle.open(|reply| SessionEvent::Open { hello, key, reply }).await?)
}

/// Until the host is silent for longer than its lease, or says something that cannot be read.
async fn read(
    shared: &Shared,
    host: &HostName,
    session: u64,
    mut incoming: Streaming<v1::SessionRequest>,
) -> Status {
    loop {
        let message = match timeout(shared.settings.lease, incoming.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Status::cancelled("the host closed the session"),
            Ok(Err(status)) => {
                return Status::cancelled(format!("the connection broke: {}", Report(&status)));
            }
            Err(_) => {
                let silent = shared.settings.lease;
                return Status::deadline_exceeded(format!("not heard of for {silent:?}"));
            }
        };
        match event(shared, host, session, message) {
            Ok(Some(event)) => {
                if shared.handle.tell(event).await.is_err() {
                    return Status::unavailable("the coordinator stops");
                }
            }
            Ok(None) => {}
            Err(why) => return Status::invalid_argument(why),
        }
    }
}

/// What the loop is told of a message. A message of a newer hostd that is not known is passed over.
fn event(
    shared: &Shared,
    host: &HostName,
    session: u64,
    message: v1::SessionRequest,
) -> Result<Option<SessionEvent>, String> {
    let host = host.clone();
    Ok(match message.message {
        Some(session_request::Message::Report(report)) => {
            let report = report.try_into().map_err(|e| format!("a report cannot be read: {e}"))?;
            Some(SessionEvent::Reported { host, session, report: Box::new(report) })
        }
        Some(session_request::Message::Heartbeat(beat)) => {
            let applied = beat.applied.map(Order::from).unwrap_or_default();
            Some(SessionEvent::Heard { host, session, applied })
        }
        Some(session_request::Message::Event(note)) => {
            let event = history(&host, note, shared.clock.now());
            Some(SessionEvent::Note { host, session, event })
        }
        Some(session_request::Message::AgentOrderDone(done)) => {
            let refused: String = done.refused.chars().take(NOTE_MAX).collect();
            let refused = Some(refused).filter(|why| !why.is_empty());
            Some(SessionEvent::Ordered { host, session, id: done.id, refused })
        }
        Some(session_request::Message::Hello(_)) => {
            return Err("the host said Hello twice".to_owned());
        }
        None => None,
    })
}

/// A host's event as a line of the fleet's history. It speaks for itself only, whatever it writes.
fn history(host: &HostName, note: v1::HostEvent, now: At) -> NewEvent {
    let word = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let good = !note.kind.is_empty() && note.kind.len() <= 40 && note.kind.chars().all(word);
    let kind = if good { note.kind } else { "host.event".to_owned() };
    // Its own clock may be wrong; but a moment in the past is when it happened.
    let said = fleet_proto::convert::at("at", note.at).unwrap_or(now);
    NewEvent {
        pool: note.pool.chars().take(64).collect(),
        agent: note.agent.chars().take(140).collect(),
        ..NewEvent::new(said.min(now), kind, format!("host {host}"))
            .host(host)
            .says(note.message.chars().take(NOTE_MAX).collect::<String>())
    }
}

/// Until the session is ended from inside. Never returns because the host is slow: then `read`
/// ends it, when the lease is over.
async fn write(shared: &Shared, outbox: Mailbox<Outbox>, outgoing: &Outgoing) -> String {
    let every = shared.settings.heartbeat;
    // Hosts that came back together do not beat together.
    let mut beat = interval_at(Instant::now() + every.mul_f64(rand::random()), every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut newest = Order::default();
    let mut result = send(outgoing, welcome(shared)).await;
    while result.is_ok() {
        tokio::select! {
            () = outbox.changed() => {
                let content = outbox.take();
                newest = content.newest.unwrap_or(newest);
                if let Some(status) = content.end {
                    let why = status.message().to_owned();
                    let _ = outgoing.send(Err(status)).await;
                    return why;
                }
                result = send_all(shared, content, outgoing).await;
            }
            _ = beat.tick() => {
                let heartbeat = v1::CoordinatorHeartbeat { newest: Some(newest.into()) };
                result = send(outgoing, session_response::Message::Heartbeat(heartbeat)).await;
            }
        }
    }
    "the connection is gone".to_owned()
}

fn welcome(shared: &Shared) -> session_response::Message {
    session_response::Message::Welcome(v1::Welcome {
        heartbeat: Some(wire_duration(shared.settings.heartbeat)),
        lease: Some(wire_duration(shared.settings.lease)),
        coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
        fleet: shared.ca.fleet().to_owned(),
    })
}

/// Secrets before the assignment that needs them; rows last.
async fn send_all(shared: &Shared, content: Outbox, outgoing: &Outgoing) -> Result<(), Denied> {
    for credential in content.credentials.into_values() {
        match shared.vault.open(&credential) {
            Ok(Some(secret)) => {
                let secret = secret.to_vec();
                let message = v1::Credential { credential: Some(credential.into()), secret };
                send(outgoing, session_response::Message::Credential(message)).await?;
            }
            // A newer secret took its place; the assignment that names it is on its way.
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = %Report(&error), "a secret cannot be handed over")
            }
        }
    }
    if let Some(assignment) = content.assignment {
        let assignment = v1::Assignment::from(assignment.as_ref().clone());
        send(outgoing, session_response::Message::Assignment(assignment)).await?;
    }
    for (id, order) in content.agent_orders {
        let order = v1::AgentOrder { id, ..order.into() };
        let command = Some(v1::command::Command::AgentOrder(order));
        let command = v1::Command { command };
        send(outgoing, session_response::Message::Command(command)).await?;
    }
    for open in content.logs {
        let command = Some(v1::command::Command::OpenLogs(open));
        send(outgoing, session_response::Message::Command(v1::Command { command })).await?;
    }
    let rows: Vec<v1::Row> = content.rows.into_values().map(Into::into).collect();
    for rows in rows.chunks(ROWS_PER_MESSAGE) {
        let rows = v1::Rows { rows: rows.to_vec() };
        send(outgoing, session_response::Message::Rows(rows)).await?;
    }
    Ok(())
}

async fn send(outgoing: &Outgoing, message: session_response::Message) -> Result<(), Denied> {
    let response = v1::SessionResponse { message: Some(message) };
    outgoing.send(Ok(response)).await.map_err(|_| Denied::Away("gone"))
}
