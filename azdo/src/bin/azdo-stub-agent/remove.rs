//! `config.sh remove`: takes the row back and clears the local files. Faithful to a trap of the real agent: the
//! row is looked for by name but deleted by the id in `.agent`, so in a stale directory whose name was taken
//! over by another host it deletes that host's registration.

use anyhow::bail;

use crate::api::Api;
use crate::args::Command;
use crate::configure;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::files;
use crate::layout::Layout;
use crate::register::Registrar;
use crate::settings::Settings;
use crate::term;

pub(crate) async fn run(
    layout: &Layout,
    environment: &Environment,
    command: &Command,
) -> anyhow::Result<Exit> {
    const SERVER: &str = "Removing agent from the server";
    if layout.file(".service").exists() {
        bail!(
            "The agent is installed as a service. Run './svc.sh uninstall' as root first, then remove the agent."
        );
    }
    term::line(SERVER);
    if !(layout.is_configured() && files::has_credentials(layout)) {
        term::line(&format!(
            "Cannot connect to server, because config files are missing. Skipping {SERVER}"
        ));
    } else if let Err(error) = from_server(layout, environment, command).await {
        term::error(&format!("Failed: {SERVER}"));
        return Err(error);
    }
    clear("Removing .credentials", files::has_credentials(layout), || {
        files::remove_credentials(layout)
    })?;
    clear("Removing .agent", layout.is_configured(), || files::remove_agent(layout))?;
    Ok(Exit::Success)
}

async fn from_server(
    layout: &Layout,
    environment: &Environment,
    command: &Command,
) -> anyhow::Result<()> {
    let agent = files::agent(layout)?;
    let token = configure::credential(command, &agent.server_url)?;
    let settings = Settings::load(layout, environment);
    let api = Api::new(&agent.server_url, &settings)?;
    let registrar = Registrar { api: &api, token: &token, pool_id: agent.pool_id };
    if registrar.find(&agent.agent_name).await?.is_none() {
        term::line("Does not exist. Skipping Removing agent from the server");
        return Ok(());
    }
    registrar.delete(agent.agent_id).await?;
    term::line("Succeeded: Removing agent from the server");
    Ok(())
}

fn clear(
    what: &str,
    exists: bool,
    remove: impl FnOnce() -> std::io::Result<()>,
) -> anyhow::Result<()> {
    term::line(what);
    if !exists {
        term::line(&format!("Does not exist. Skipping {what}"));
        return Ok(());
    }
    remove()?;
    term::line(&format!("Succeeded: {what}"));
    Ok(())
}
