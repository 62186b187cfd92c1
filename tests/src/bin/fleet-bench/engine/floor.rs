//! The floor: nothing but the engine's own API, create and start, as many at once as hostd does.

use bollard::{
    Docker,
    query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::agents;
use crate::fleet::Simulator;

/// Makes and starts `count` containers, `at_once` at a time.
pub(crate) async fn start(
    docker: &Docker,
    sim: &Simulator,
    image: &str,
    round: usize,
    (count, at_once): (usize, usize),
) -> anyhow::Result<()> {
    let one = |number| async move {
        let name = format!("fleet-test-{}-{round}-{number}", super::FLOOR);
        let body = agents::container(sim, image, super::FLOOR, &name);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        docker.create_container(Some(options), body).await?;
        docker.start_container(&name, None::<StartContainerOptions>).await
    };
    stream::iter(1..=count).map(one).buffer_unordered(at_once).try_collect::<()>().await?;
    Ok(())
}
