//! What hostd wants to know of a Docker engine beside its agents.

use std::{path::Path, time::Duration};

use bollard::{API_DEFAULT_VERSION, Docker};
use fleet_model::{Condition, ConditionKind};
use fleet_proto::logging::Report;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::host_loop::Input;

const LIMIT: Duration = Duration::from_secs(10);
/// An engine that did not answer is asked again after this.
const SOON: Duration = Duration::from_secs(20);
/// One that did, after this: its settings may change with its restart.
const LATER: Duration = Duration::from_secs(60 * 60);

/// Whether the engine keeps containers running while it restarts itself.
///
/// # Errors
/// In words, when the engine does not say.
pub async fn live_restore(socket: &Path) -> Result<bool, String> {
    let path = socket.display().to_string();
    let ask = async {
        let docker = Docker::connect_with_unix(&path, LIMIT.as_secs(), API_DEFAULT_VERSION)?;
        docker.negotiate_version().await?.info().await
    };
    match timeout(LIMIT, ask).await {
        Ok(Ok(info)) => Ok(info.live_restore_enabled.unwrap_or_default()),
        Ok(Err(error)) => Err(Report(&error).to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

/// What is said where it does not.
pub const NO_LIVE_RESTORE: &str = "a restart of the Docker engine ends all agents and their jobs \
     here: set \"live-restore\": true in /etc/docker/daemon.json and reload the engine";

/// Tells the loop, now and then, until `stop`.
pub async fn watch(
    socket: std::path::PathBuf,
    inbox: mpsc::Sender<Input>,
    stop: CancellationToken,
) {
    let mut before = None;
    let work = async {
        loop {
            let wait = match live_restore(&socket).await {
                Ok(on) => {
                    if before.replace(on) != Some(on) {
                        if !on {
                            tracing::warn!("{NO_LIVE_RESTORE}");
                        }
                        let standing = (!on).then(|| Condition {
                            kind: ConditionKind::NoLiveRestore,
                            pool: None,
                            message: NO_LIVE_RESTORE.to_owned(),
                        });
                        let told = Input::Standing(standing.into_iter().collect());
                        if inbox.send(told).await.is_err() {
                            return;
                        }
                    }
                    LATER
                }
                // That it is down is said by its runtime.
                Err(_) => SOON,
            };
            tokio::time::sleep(wait).await;
        }
    };
    stop.run_until_cancelled(work).await;
}
