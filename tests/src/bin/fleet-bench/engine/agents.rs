//! What the two others start: the same image with the same work inside, by its own start script,
//! with the same settings that hostd gives to a container.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::fleet::Simulator;

/// Every container that no hostd made carries this label.
pub(crate) const LABEL: &str = "fleet.bench";
/// Where the token's directory is mounted.
pub(crate) const HAND_OVER: &str = "/run/fleet";
/// As hostd limits a container's log.
pub(crate) const LOG_SIZE: &str = "1m";
/// See [`LOG_SIZE`].
pub(crate) const LOG_FILES: &str = "2";

/// Environment of an agent that registers in `pool`, by the contract of the image's own script.
pub(crate) fn environment(sim: &Simulator, pool: &str, name: &str) -> Vec<String> {
    vec![
        format!("AZP_URL={}", sim.organization()),
        format!("AZP_POOL={pool}"),
        format!("AZP_AGENT_NAME={name}"),
        format!("AZP_TOKEN_FILE={HAND_OVER}/token"),
    ]
}

/// The directory on this machine that holds the token.
pub(crate) fn hand_over(sim: &Simulator) -> String {
    let dir = sim.token_file.parent().unwrap_or(std::path::Path::new("/"));
    dir.display().to_string()
}

/// A container of the floor, in the engine's words.
pub(crate) fn container(
    sim: &Simulator,
    image: &str,
    pool: &str,
    name: &str,
) -> ContainerCreateBody {
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(hand_over(sim)),
        target: Some(HAND_OVER.to_owned()),
        ..Mount::default()
    };
    let log = HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), LOG_SIZE.to_owned()),
            ("max-file".to_owned(), LOG_FILES.to_owned()),
        ])),
    };
    let no_restart =
        RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        env: Some(environment(sim, pool, name)),
        labels: Some(HashMap::from([(LABEL.to_owned(), pool.to_owned())])),
        stop_signal: Some("SIGINT".into()),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount]),
            init: Some(true),
            restart_policy: Some(no_restart),
            log_config: Some(log),
            network_mode: Some("host".into()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
