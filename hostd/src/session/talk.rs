//! One conversation, from Hello to its end.

use std::{sync::Arc, time::Duration};

use fleet_model::{HostFacts, numbers::HEARTBEAT, numbers::HOST_LEASE};
use fleet_proto::{
    convert::{self, Hello},
    v1::{
        self, SessionRequest, host_service_client::HostServiceClient,
        session_request::Message as Said, session_response::Message as Heard,
    },
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Channel};

use super::{End, Parts, Talked, ended, heard, logs::Uploads, spread};
use crate::view::{Happened, View};

/// Until the coordinator's first word, connecting included.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Messages on their way to the wire. Small: what waits here is old when it leaves.
const ROOM: usize = 16;
/// Two reports have at least this much between them: a burst of changes is one report.
const REPORT_GAP: Duration = Duration::from_millis(50);
/// A report of a thousand agents has about a megabyte.
const MESSAGE_MAX: usize = 32 << 20;

struct Talk<'a> {
    parts: &'a mut Parts,
    to: mpsc::Sender<SessionRequest>,
    /// What the coordinator was told last.
    shown: Arc<View>,
    lease: Duration,
    /// The connection.
    channel: Channel,
    uploads: Uploads,
}

pub(super) async fn talk(
    parts: &mut Parts,
    channel: Channel,
    facts: HostFacts,
    stop: &CancellationToken,
) -> Talked {
    let not_begun = |end| Talked { end, welcomed: false };
    let (to, outgoing) = mpsc::channel(ROOM);
    let shown = Arc::clone(&parts.view.borrow_and_update());
    let hello = Hello {
        host: parts.identity.current().place.host.clone(),
        instance_id: parts.instance_id.clone(),
        highest: shown.applied,
        facts,
    };
    // In the channel before the call: a server may say nothing before it was spoken to.
    for first in [Said::Hello(hello.into()), Said::Report(shown.full().into())] {
        if to.try_send(SessionRequest { message: Some(first) }).is_err() {
            return not_begun(End::Lost("no room for the first words".into()));
        }
    }
    let mut client = HostServiceClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let begun = begin(client.session(ReceiverStream::new(outgoing)));
    let (from, welcome) = tokio::select! {
        () = stop.cancelled() => return not_begun(End::Stopped),
        begun = timeout(ANSWER_LIMIT, begun) => match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(end)) => return not_begun(end),
            Err(_) => {
                let why = format!("no answer within {} s", ANSWER_LIMIT.as_secs());
                return not_begun(End::Lost(why));
            }
        },
    };
    parts.channel.send_replace(Some(channel.clone()));
    parts.in_session.send_replace(true);
    let (heartbeat, lease) = pace(&welcome);
    greet(parts, &welcome);
    let talk = Talk { parts, to, shown, lease, channel, uploads: Uploads::default() };
    Talked { end: talk.go_on(from, heartbeat, stop).await, welcomed: true }
}

async fn begin(
    call: impl Future<Output = Result<tonic::Response<Streaming<v1::SessionResponse>>, tonic::Status>>,
) -> Result<(Streaming<v1::SessionResponse>, v1::Welcome), End> {
    let mut from = call.await.map_err(|status| ended(&status))?.into_inner();
    match from.message().await {
        Ok(Some(v1::SessionResponse { message: Some(Heard::Welcome(welcome)) })) => {
            Ok((from, welcome))
        }
        Ok(Some(_)) => Err(End::Lost("the coordinator did not begin with a welcome".into())),
        Ok(None) => Err(End::Lost("the coordinator closed the session at once".into())),
        Err(status) => Err(ended(&status)),
    }
}

/// The coordinator's pace, within reason.
fn pace(welcome: &v1::Welcome) -> (Duration, Duration) {
    let read = |wire, usual: Duration| convert::duration("pace", wire).unwrap_or(usual);
    let heartbeat = read(welcome.heartbeat, HEARTBEAT);
    let heartbeat = heartbeat.clamp(Duration::from_millis(100), HEARTBEAT * 12);
    let lease = read(welcome.lease, HOST_LEASE).max(heartbeat * 3);
    (heartbeat, lease)
}

fn greet(parts: &Parts, welcome: &v1::Welcome) {
    let own = &parts.identity.current().place.fleet;
    if welcome.fleet != *own {
        tracing::warn!(
            fleet = welcome.fleet,
            joined = *own,
            "the coordinator's fleet has another name"
        );
    }
    tracing::info!(coordinator = welcome.coordinator_version, "in session");
}

impl Talk<'_> {
    async fn go_on(
        mut self,
        mut from: Streaming<v1::SessionResponse>,
        heartbeat: Duration,
        stop: &CancellationToken,
    ) -> End {
        let mut beat = beats(heartbeat);
        let mut silent_at = Instant::now() + self.lease;
        let mut report_at = Instant::now();
        let mut changed = false;
        loop {
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                message = from.message() => match message {
                    Ok(Some(message)) => {
                        silent_at = Instant::now() + self.lease;
                        self.hear(message).await
                    }
                    Ok(None) => Err(End::Lost("the coordinator closed the session".into())),
                    Err(status) => Err(ended(&status)),
                },
                () = sleep_until(silent_at) => {
                    let why = format!("nothing heard for {} s", self.lease.as_secs());
                    Err(End::Lost(why))
                }
                _ = beat.tick() => self.beat().await,
                seen = self.parts.view.changed(), if !changed => match seen {
                    Ok(()) => { changed = true; Ok(()) }
                    Err(_) => return End::Stopped,
                },
                () = sleep_until(report_at), if changed => {
                    (changed, report_at) = (false, Instant::now() + REPORT_GAP);
                    self.report().await
                }
                happened = self.parts.history.recv() => match happened {
                    Ok(happened) => self.tell(happened).await,
                    // Too much at once: the log has what is missing here.
                    Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => return End::Stopped,
                },
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn say(&self, said: Said) -> Result<(), End> {
        let message = SessionRequest { message: Some(said) };
        match timeout(self.lease, self.to.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Lost("the session is closed".into())),
            Err(_) => Err(End::Lost("the coordinator takes nothing any more".into())),
        }
    }

    async fn beat(&self) -> Result<(), End> {
        let applied = Some(self.shown.applied.into());
        self.say(Said::Heartbeat(v1::HostHeartbeat { applied })).await
    }

    async fn report(&mut self) -> Result<(), End> {
        let now = Arc::clone(&self.parts.view.borrow_and_update());
        if let Some(report) = now.since(&self.shown) {
            self.say(Said::Report(report.into())).await?;
        }
        self.shown = now;
        Ok(())
    }

    async fn report_all(&mut self) -> Result<(), End> {
        self.shown = Arc::clone(&self.parts.view.borrow_and_update());
        self.say(Said::Report(self.shown.full().into())).await
    }

    async fn tell(&self, happened: Happened) -> Result<(), End> {
        let Happened { at, kind, pool, agent, message } = happened;
        let event = v1::HostEvent {
            at: Some(convert::timestamp(at)),
            kind: kind.to_owned(),
            pool: pool.map(String::from).unwrap_or_default(),
            agent: agent.map(String::from).unwrap_or_default(),
            message,
        };
        self.say(Said::Event(event)).await
    }

    async fn hear(&mut self, message: v1::SessionResponse) -> Result<(), End> {
        let said = match message.message {
            Some(Heard::Assignment(assignment)) => heard::assignment(self.parts, assignment).await,
            Some(Heard::Credential(credential)) => heard::credential(self.parts, credential).await,
            Some(Heard::Rows(rows)) => heard::rows(self.parts, rows).await,
            Some(Heard::Command(command)) => match command.command {
                Some(v1::command::Command::SendFullReport(_)) => return self.report_all().await,
                Some(v1::command::Command::AgentOrder(order)) => {
                    heard::agent_order(self.parts, &self.to, order).await
                }
                Some(v1::command::Command::OpenLogs(open)) => {
                    self.uploads.begin(&self.parts.logs, &self.channel, open);
                    Ok(())
                }
                // Of a later version: it is not for us.
                None => Ok(()),
            },
            Some(Heard::Heartbeat(_) | Heard::Welcome(_)) | None => Ok(()),
        };
        // The loop is gone only when hostd ends.
        said.map_err(|_| End::Stopped)
    }
}

/// Spread from the first on, so that hosts that connected together do not beat together.
fn beats(every: Duration) -> Interval {
    let mut beat = interval(spread(every).min(every));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
