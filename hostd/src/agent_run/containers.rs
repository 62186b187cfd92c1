//! Containers that a job started on the host's engine, and left. An agent's job mounts its work
//! folder into them, so a mount beneath the agent's home says whose they are; a container without
//! one is never touched.

use std::{path::Path, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::ContainerSummary,
    query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
};

/// One question to the engine, in seconds.
const LIMIT_SECS: u64 = 20;
/// All of it: an engine that hangs must not keep the next agent from its work for longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Removes every container that has something beneath `home` mounted, running or not.
pub(super) async fn remove_left(engine: &Path, home: &Path) {
    match tokio::time::timeout(LIMIT, try_remove(engine, home)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::info!(count, "containers of the last job were removed"),
        Ok(Err(error)) => tracing::warn!(%error, "containers of the last job cannot be removed"),
        Err(_) => tracing::warn!("the engine does not answer; containers of the last job may stay"),
    }
}

async fn try_remove(engine: &Path, home: &Path) -> Result<usize, bollard::errors::Error> {
    let socket = engine.to_string_lossy();
    let docker = Docker::connect_with_unix(&socket, LIMIT_SECS, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    let all = ListContainersOptionsBuilder::default().all(true).build();
    let all = docker.list_containers(Some(all)).await?;
    let mut removed = 0;
    for id in all.iter().filter(|one| is_of(one, home)).filter_map(|one| one.id.as_deref()) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match docker.remove_container(id, Some(options)).await {
            Ok(()) => removed += 1,
            // Gone, or going, by itself (`--rm`).
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn is_of(container: &ContainerSummary, home: &Path) -> bool {
    container
        .mounts
        .iter()
        .flatten()
        .filter_map(|mount| mount.source.as_deref())
        .any(|source| Path::new(source).starts_with(home))
}

#[cfg(test)]
mod tests {
    use bollard::models::MountPoint;

    use super::*;

    fn with(sources: &[Option<&str>]) -> ContainerSummary {
        let mount = |source: &Option<&str>| MountPoint {
            source: source.map(str::to_owned),
            ..Default::default()
        };
        let mounts = Some(sources.iter().map(mount).collect());
        ContainerSummary { mounts, ..Default::default() }
    }

    #[test]
    fn only_what_has_the_agents_home_mounted_is_its_jobs() {
        let home = Path::new("/home/az-1");
        assert!(is_of(&with(&[None, Some("/home/az-1/agent/_work/1")]), home));
        assert!(is_of(&with(&[Some("/home/az-1")]), home));
        for foreign in [&[Some("/home/az-11/agent")][..], &[Some("/home")], &[None], &[]] {
            assert!(!is_of(&with(foreign), home), "{foreign:?}");
        }
    }
}
