//! `reauth.sh`: a new key for the same row, when the old one was revoked or is lost. Settings stay.

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::api::Api;
use crate::args::Command;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::files::{self, Registration};
use crate::key::RsaParams;
use crate::layout::Layout;
use crate::register::{self, Registrar, Wish};
use crate::settings::Settings;
use crate::{capabilities, configure, term};

pub(crate) async fn run(
    layout: &Layout,
    environment: &Environment,
    command: &Command,
) -> anyhow::Result<Exit> {
    if !layout.is_configured() {
        bail!("The agent is not configured; there is nothing to renew. Run ./config.sh first.");
    }
    let agent = files::agent(layout)?;
    let token = configure::credential(command, &agent.server_url)?;
    let api = Api::new(&agent.server_url, &Settings::load(layout, environment))?;
    term::line("Connecting to the server.");
    let registrar = Registrar { api: &api, token: &token, pool_id: agent.pool_id };
    let row = registrar.find(&agent.agent_name).await?;
    let row = row.with_context(|| format!("the pool has no agent named {}", agent.agent_name))?;
    let key = RsaParams::generate()?;
    let wish = Wish {
        name: &agent.agent_name,
        version: layout.version(),
        capabilities: json!(capabilities::scan(layout, environment, &agent.agent_name)),
        key: &key,
    };
    let row = registrar.replace(&wish, row).await?;
    let credentials = register::credentials(&row)?;
    Registration { agent, credentials, key }.save(layout)?;
    term::stamped("Settings Saved.");
    Ok(Exit::Success)
}
