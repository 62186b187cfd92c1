//! A run → the engine's words for its container. Pure.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy,
    RestartPolicyNameEnum,
};
use fleet_model::{Entry, Limits, Template};

use super::{DockerSettings, labels};
use crate::runtime::{
    RunSpec, RuntimeError,
    agent_env::{entry_env, image_contract_env},
    handover::{Holder, NOTIFY_VARIABLE},
};

/// Where a run finds what was handed over to it.
const HANDOVER: &str = "/run/fleet";
/// Where programs look for an engine.
const ENGINE_SOCKET: &str = "/var/run/docker.sock";
/// A listener's log is small; it is kept for people, and for a hostd that comes back.
const LOG_SIZE: &str = "1m";
const LOG_FILES: &str = "2";

/// What has to be looked up on the host before a container can be described.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The host's part of the hand-over directory.
    pub(super) handover: &'a Path,
    /// Group of the engine's socket, when the run gets it.
    pub(super) socket_group: Option<u32>,
    /// Where the listener announces its jobs.
    pub(super) notify: Option<SocketAddr>,
}

/// Can the run's listener reach a socket of hostd's on the loopback address? A container on a network
/// of its own cannot, and of an image's own script nobody knows what it does.
pub(super) fn shares_loopback(spec: &RunSpec, settings: &DockerSettings) -> bool {
    settings.network.as_deref() == Some("host") && spec.template.entry == Entry::Own
}

/// The agent's root on the host, for runs that get the engine's socket: a job's mounts are resolved
/// by the engine on the host, and two agents with the same root would delete each other's
/// containers. So it is a host directory, one per slot, mounted at the very same path.
pub(super) fn agent_root(spec: &RunSpec) -> Option<std::path::PathBuf> {
    spec.template.docker_socket.then(|| spec.slot_dir.join("root"))
}

/// Host directory and path in the container of each cache.
pub(super) fn caches(spec: &RunSpec) -> impl Iterator<Item = (std::path::PathBuf, &str)> {
    let base = spec.slot_dir.join("caches");
    spec.template.caches.iter().map(move |c| (base.join(c.name.as_str()), c.path.as_str()))
}

/// Who reads the hand-over inside: the image's user, by number where it has one.
pub(super) fn holder(image_user: Option<&str>) -> Holder {
    let Some(user) = image_user else { return Holder::Anyone };
    match user.split(':').next().unwrap_or_default() {
        "" | "0" | "root" => Holder::Me,
        name => name.parse().map_or(Holder::Anyone, Holder::Uid),
    }
}

/// The container of a run.
///
/// # Errors
/// [`RuntimeError::Unsupported`] when the template asks for what cannot be.
pub(super) fn body(
    spec: &RunSpec,
    settings: &DockerSettings,
    around: Surroundings<'_>,
) -> Result<ContainerCreateBody, RuntimeError> {
    let template = &spec.template;
    let Some(image) = &template.image else {
        return Err(RuntimeError::Unsupported("the template names no image".into()));
    };
    let (env, entrypoint) = match template.entry {
        Entry::Own => (own_env(spec, around.notify)?, Some(entry_command())),
        // The image's own command.
        Entry::Image => (image_contract_env(spec, &format!("{HANDOVER}/token"))?, None),
    };
    Ok(ContainerCreateBody {
        image: Some(image.to_string()),
        env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: entrypoint.is_some().then(Vec::new),
        entrypoint,
        labels: Some(labels::of(spec)),
        // The listener's clean stop, should anybody but us stop the container.
        stop_signal: Some("SIGINT".into()),
        host_config: Some(host_config(spec, settings, around)?),
        ..Default::default()
    })
}

fn entry_command() -> Vec<String> {
    vec!["/bin/sh".into(), format!("{HANDOVER}/entry.sh")]
}

fn own_env(
    spec: &RunSpec,
    notify: Option<SocketAddr>,
) -> Result<BTreeMap<String, String>, RuntimeError> {
    let mut env = entry_env(spec)?;
    env.insert("FLEET_HANDOVER".into(), HANDOVER.into());
    if let Some(root) = agent_root(spec) {
        env.insert("FLEET_AGENT_ROOT".into(), root.display().to_string());
    }
    env.extend(notify.map(|address| (NOTIFY_VARIABLE.to_owned(), address.to_string())));
    Ok(env)
}

fn host_config(
    spec: &RunSpec,
    settings: &DockerSettings,
    around: Surroundings<'_>,
) -> Result<HostConfig, RuntimeError> {
    let template = &spec.template;
    let mut config = HostConfig {
        mounts: Some(mounts(spec, settings, around)?),
        // Reaps what jobs leave behind, and hands signals on to the listener.
        init: Some(true),
        // hostd decides what comes after the end.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(
                [("max-size", LOG_SIZE), ("max-file", LOG_FILES)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
        }),
        network_mode: settings.network.clone(),
        extra_hosts: (!settings.extra_hosts.is_empty()).then(|| settings.extra_hosts.clone()),
        group_add: around.socket_group.map(|group| vec![group.to_string()]),
        ..Default::default()
    };
    limit(&mut config, &template.limits);
    Ok(config)
}

fn limit(config: &mut HostConfig, limits: &Limits) {
    config.nano_cpus = limits.cpu_millis.map(|millis| i64::from(millis) * 1_000_000);
    config.memory = limits.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    // The same number means no swap on top: a limit that swaps is none.
    config.memory_swap = config.memory;
    config.pids_limit = limits.pids.map(i64::from);
}

fn mounts(
    spec: &RunSpec,
    settings: &DockerSettings,
    around: Surroundings<'_>,
) -> Result<Vec<Mount>, RuntimeError> {
    let mut mounts = vec![bind(around.handover, HANDOVER)];
    for (host, path) in caches(spec) {
        if !path.starts_with('/') {
            return Err(RuntimeError::Unsupported(format!("the cache path {path:?} is relative")));
        }
        mounts.push(bind(&host, path));
    }
    if let Some(root) = agent_root(spec) {
        require_own_entry(&spec.template)?;
        mounts.push(bind(&root, &root.display().to_string()));
        mounts.push(bind(&settings.socket, ENGINE_SOCKET));
    }
    Ok(mounts)
}

/// Only our entry puts the agent into the slot's own root.
fn require_own_entry(template: &Template) -> Result<(), RuntimeError> {
    match template.entry {
        Entry::Own => Ok(()),
        Entry::Image => Err(RuntimeError::Unsupported(
            "an image with its own start script cannot have the engine's socket: its agents would \
             share one root path and delete each other's job containers"
                .into(),
        )),
    }
}

fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
