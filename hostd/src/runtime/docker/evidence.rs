//! What a container that ended leaves to look at beside its log: what the engine says of it.

use bollard::{models::ContainerInspectResponse, query_parameters::InspectContainerOptions};

use super::{DockerRuntime, engine::ASK};
use crate::runtime::{Exhibit, RunId, RuntimeError};

/// A name of an environment variable with one of these in it is that of a secret.
const SECRETS: [&str; 5] = ["TOKEN", "PASS", "SECRET", "KEY", "CREDENTIAL"];

impl DockerRuntime {
    pub(super) async fn exhibits(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        let name = run.to_string();
        let inspected = self
            .engine
            .call(ASK, "looking at the container", |d| async move {
                d.inspect_container(&name, None::<InspectContainerOptions>).await
            })
            .await
            .map_err(|error| error.while_doing("looking at the container"))?;
        let inspect = serde_json::to_string_pretty(&without_secrets(inspected));
        Ok(vec![Exhibit { name: "inspect.json", text: inspect.unwrap_or_default() }])
    }
}

/// What looks like a secret by its name alone is not kept, whatever it looks like.
fn without_secrets(mut inspected: ContainerInspectResponse) -> ContainerInspectResponse {
    let env = inspected.config.as_mut().and_then(|config| config.env.as_mut());
    for entry in env.into_iter().flatten() {
        if let Some((name, _)) = entry.split_once('=')
            && SECRETS.iter().any(|word| name.to_ascii_uppercase().contains(word))
        {
            *entry = format!("{name}=***");
        }
    }
    inspected
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerConfig;

    use super::*;

    #[test]
    fn values_of_secret_names_are_left_out() {
        let env = ["PATH=/bin", "AZP_TOKEN=x", "my_password=y", "HTTP_PROXY=http://p", "odd"];
        let config = ContainerConfig {
            env: Some(env.iter().map(ToString::to_string).collect()),
            ..Default::default()
        };
        let config = Some(config);
        let kept = without_secrets(ContainerInspectResponse { config, ..Default::default() });
        let env = kept.config.and_then(|config| config.env).unwrap_or_default();
        let expected =
            ["PATH=/bin", "AZP_TOKEN=***", "my_password=***", "HTTP_PROXY=http://p", "odd"];
        assert_eq!(env, expected);
    }
}
