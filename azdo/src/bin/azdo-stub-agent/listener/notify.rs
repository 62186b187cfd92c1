//! The notification socket or pipe: whoever asked for it at configuration hears of each job's start and end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::Context;

/// How long a pipe may take to be there. A socket gets one try.
const PIPE_LIMIT: Duration = Duration::from_secs(30);

/// A connected listener of notifications, or nobody.
pub(crate) struct Notifier(Option<Box<dyn AsyncWrite + Send + Unpin>>);

impl Notifier {
    /// Connects to what the configuration names. A socket that is not there is only logged.
    ///
    /// # Errors
    /// A pipe that is not there ends the listener.
    pub(crate) async fn connect(context: &Context) -> anyhow::Result<Self> {
        let agent = &context.connection.registration.agent;
        if let Some(name) = &agent.notification_pipe_name {
            let connect = UnixStream::connect(pipe_path(name));
            let pipe = tokio::time::timeout(PIPE_LIMIT, connect).await.map_err(anyhow::Error::from);
            let pipe = pipe.and_then(|connected| Ok(connected?));
            return Ok(Self(Some(Box::new(pipe.context("cannot reach the notification pipe")?))));
        }
        let Some(address) = &agent.notification_socket_address else { return Ok(Self(None)) };
        match TcpStream::connect(address).await {
            Ok(socket) => Ok(Self(Some(Box::new(socket)))),
            Err(error) => {
                context
                    .diag
                    .log(&format!("Cannot reach the notification socket {address}: {error}"));
                Ok(Self(None))
            }
        }
    }

    /// `Starting job: {id}`, without a newline.
    pub(crate) async fn started(&mut self, job_id: &str) {
        self.send(&format!("Starting job: {job_id}")).await;
    }

    /// `Finished job: {id}`, without a newline.
    pub(crate) async fn finished(&mut self, job_id: &str) {
        self.send(&format!("Finished job: {job_id}")).await;
    }

    async fn send(&mut self, text: &str) {
        if let Some(stream) = &mut self.0
            && stream.write_all(text.as_bytes()).await.is_err()
        {
            self.0 = None;
        }
    }
}

/// On Linux .NET keeps a named pipe as a socket in the temporary directory, unless the name is a path.
fn pipe_path(name: &str) -> PathBuf {
    if name.starts_with('/') {
        name.into()
    } else {
        std::env::temp_dir().join(format!("CoreFxPipe_{name}"))
    }
}
