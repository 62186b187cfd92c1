//! The connection to the engine: made when it is needed, every call with a limit, every error
//! translated once.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};
use tokio::sync::OnceCell;

use crate::runtime::RuntimeError;

/// Limit of a question.
pub(super) const ASK: Duration = Duration::from_secs(10);
/// Limit of a change: a busy engine takes its time to make a container.
pub(super) const CHANGE: Duration = Duration::from_secs(60);
/// Until a stream begins. Longer than any other limit, so that ours are the ones that count.
const FIRST_ANSWER: Duration = Duration::from_secs(120);

/// The engine behind one socket.
pub(super) struct Engine {
    socket: PathBuf,
    client: OnceCell<Connected>,
    calls: AtomicU64,
}

struct Connected {
    docker: Docker,
    remaps_users: bool,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, client: OnceCell::new(), calls: AtomicU64::new(0) }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Calls made so far: what a start costs is a promise, so it is counted.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The client; the first use agrees upon a version with the engine.
    pub(super) async fn client(&self) -> Result<&Docker, RuntimeError> {
        Ok(&self.connected().await?.docker)
    }

    /// Is root in a container somebody else on the host? Then it cannot read root's files.
    pub(super) async fn remaps_users(&self) -> Result<bool, RuntimeError> {
        Ok(self.connected().await?.remaps_users)
    }

    async fn connected(&self) -> Result<&Connected, RuntimeError> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connected, RuntimeError> {
        let path = self.socket.display().to_string();
        let docker = Docker::connect_with_unix(&path, FIRST_ANSWER.as_secs(), API_DEFAULT_VERSION)
            .map_err(|error| refused("connecting to the engine", error))?;
        let docker = within(ASK, "agreeing upon a version", docker.negotiate_version()).await?;
        let info = within(ASK, "asking how the engine is set up", docker.info()).await?;
        let remaps = |option: &String| option.contains("userns") || option.contains("rootless");
        let remaps_users = info.security_options.unwrap_or_default().iter().any(remaps);
        Ok(Connected { docker, remaps_users })
    }

    /// Agrees upon a version again: after a restart it may be another engine.
    pub(super) async fn renegotiate(&self) -> Result<(), RuntimeError> {
        let docker = self.client().await?.clone();
        // The version is shared between clones.
        within(ASK, "agreeing upon a version", docker.negotiate_version()).await.map(drop)
    }

    /// One call, counted and bounded.
    pub(super) async fn call<T, F>(
        &self,
        limit: Duration,
        doing: &'static str,
        make: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let docker = self.client().await.map_err(EngineError::Other)?.clone();
        self.calls.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(limit, make(docker)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Error::DockerResponseServerError { status_code: 404, message })) => {
                Err(EngineError::Absent(message))
            }
            Ok(Err(Error::DockerResponseServerError { status_code: 409, message })) => {
                Err(EngineError::Conflict(message))
            }
            Ok(Err(error)) => Err(EngineError::Other(refused(doing, error))),
            Err(_) => Err(EngineError::Other(silent(doing, limit))),
        }
    }
}

/// An engine's error with the two answers that often are no error at all.
#[derive(Debug)]
pub(super) enum EngineError {
    /// 404, with the engine's words.
    Absent(String),
    /// 409, with the engine's words.
    Conflict(String),
    /// Everything else.
    Other(RuntimeError),
}

impl EngineError {
    /// Where neither answer is expected.
    pub(super) fn while_doing(self, doing: &'static str) -> RuntimeError {
        match self {
            Self::Absent(why) | Self::Conflict(why) => RuntimeError::Refused { doing, why },
            Self::Other(error) => error,
        }
    }
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|error| refused(doing, error)),
        Err(_) => Err(silent(doing, limit)),
    }
}

fn silent(doing: &'static str, limit: Duration) -> RuntimeError {
    let why = format!("{doing}: no answer within {} s", limit.as_secs());
    RuntimeError::EngineDown { engine: "Docker", why }
}

/// The engine said no, or it said nothing: two different troubles for the caller.
pub(super) fn refused(doing: &'static str, error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { message, .. } => {
            RuntimeError::Refused { doing, why: message }
        }
        Error::DockerStreamError { error } => RuntimeError::Refused { doing, why: error },
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
            RuntimeError::Refused { doing, why: in_full(&error) }
        }
        error => RuntimeError::EngineDown {
            engine: "Docker",
            why: format!("{doing}: {}", in_full(&error)),
        },
    }
}

/// An error with its causes, which its own text leaves out.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        // Transparent layers repeat what stands there already.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}
