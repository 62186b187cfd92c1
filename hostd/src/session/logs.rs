//! A log that the coordinator asked for, told on a stream of its own beside the session.

use std::sync::Arc;

use fleet_model::numbers::LOGS_PER_HOST;
use fleet_proto::{
    convert::WireError,
    logging::Report,
    v1::{self, host_service_client::HostServiceClient, upload_logs_request::Message},
};
use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{
    logs::{Asked, LogError, Logs, chunks},
    runtime::log::LogQuery,
};

/// Lines between the runtime and the message that is being filled.
const LINES: usize = 256;

/// The logs that are told in a session. They end with it: dropped, nothing of them is left.
#[derive(Default)]
pub(super) struct Uploads(JoinSet<()>);

impl Uploads {
    /// Begins to tell a log.
    pub(super) fn begin(&mut self, logs: &Arc<Logs>, channel: &Channel, open: v1::OpenLogs) {
        while self.0.try_join_next().is_some() {}
        let crowded = self.0.len() >= LOGS_PER_HOST as usize;
        self.0.spawn(upload(Arc::clone(logs), channel.clone(), open, crowded));
    }
}

/// Until it is told, or the coordinator ends the stream because nobody reads any more.
async fn upload(logs: Arc<Logs>, channel: Channel, open: v1::OpenLogs, crowded: bool) {
    // One message on its way: what waits is read when there is room for it.
    let (to, messages) = mpsc::channel(1);
    let id = Message::Id(open.id.clone());
    if send(&to, id).await.is_err() {
        return;
    }
    let answered = HostServiceClient::new(channel).upload_logs(ReceiverStream::new(messages)).await;
    let mut answers = match answered {
        Ok(answers) => answers.into_inner(),
        // An older coordinator, or none: its own operator is told by it.
        Err(status) => return tracing::warn!(error = %Report(&status), "a log is not taken"),
    };
    let ended = async { while let Ok(Some(_)) = answers.message().await {} };
    let telling = async {
        let trouble = match told(&logs, open, crowded, &to).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let _ = send(&to, Message::End(v1::LogsEnd { trouble })).await;
        // What is on its way goes out; the coordinator ends the stream when it has it all.
        drop(to);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        () = telling => {}
    }
}

async fn told(
    logs: &Logs,
    open: v1::OpenLogs,
    crowded: bool,
    to: &mpsc::Sender<v1::UploadLogsRequest>,
) -> Result<(), LogError> {
    if crowded {
        let why = format!("{LOGS_PER_HOST} of its logs are being read already");
        return Err(LogError::Runtime(why));
    }
    let asked = asked(open).map_err(|error| LogError::Runtime(error.to_string()))?;
    let (out, mut lines) = mpsc::channel(LINES);
    let telling = async {
        let told = logs.tell(&asked, &out).await;
        drop(out);
        told
    };
    let passing = async {
        let mut some = Vec::new();
        while lines.recv_many(&mut some, LINES).await > 0 {
            for chunk in chunks(std::mem::take(&mut some)) {
                if send(to, Message::Lines(chunk)).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::join!(telling, passing).0
}

/// The request, read.
fn asked(open: v1::OpenLogs) -> Result<Asked, WireError> {
    let agent = open.agent.parse().map_err(|error| WireError::new("agent", error))?;
    let since = open.since.map(|since| {
        let at = Timestamp::new(since.seconds, since.nanos);
        at.map_err(|error| WireError::new("since", error))
    });
    let (tail, follow) = (open.tail, open.follow);
    Ok(Asked { agent, query: LogQuery { tail, since: since.transpose()?, after: None, follow } })
}

async fn send(
    to: &mpsc::Sender<v1::UploadLogsRequest>,
    message: Message,
) -> Result<(), mpsc::error::SendError<v1::UploadLogsRequest>> {
    to.send(v1::UploadLogsRequest { message: Some(message) }).await
}
