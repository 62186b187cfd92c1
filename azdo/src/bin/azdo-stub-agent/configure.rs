//! `config.sh`: makes this directory an agent of a pool.

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;

use crate::api::{Api, Auth, Call};
use crate::args::Command;
use crate::capabilities;
use crate::connection::Connection;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::files::{AgentFile, Registration};
use crate::key::RsaParams;
use crate::layout::Layout;
use crate::prompt;
use crate::register::{self, Registrar, Wish};
use crate::settings::Settings;
use crate::term;

const ALREADY: &str = "Cannot configure the agent because it is already configured. To reconfigure the agent, run \
                       'config.cmd remove' or './config.sh remove' first.";

pub(crate) async fn run(
    layout: &Layout,
    environment: &Environment,
    command: &Command,
) -> anyhow::Result<Exit> {
    // A configured directory is refused before anything is asked, with --replace too.
    if layout.is_configured() {
        bail!(ALREADY);
    }
    if !layout.file("license.html").exists() {
        bail!("license.html is missing; unpack the agent again");
    }
    term::section("Connect");
    let url = prompt::value(command, "url", "server URL", None)?;
    let token = credential(command, &url)?;
    if let Some(proxy) = command.value("proxyurl") {
        std::fs::write(layout.file(".proxy"), proxy).context("cannot write .proxy")?;
    }
    let settings = Settings::load(layout, environment);
    term::line("Connecting to server ...");
    let api = Api::new(&url, &settings)?;
    api.send(&Call::get("_apis/connectionData"), &Auth::Pat(&token)).await?;

    term::section("Register Agent");
    let pool_name = prompt::value(command, "pool", "agent pool", Some("default"))?;
    let name = prompt::value(command, "agent", "agent name", Some(&capabilities::computer_name()))?;
    let call = Call::get("_apis/distributedtask/pools")
        .query("poolName", &pool_name)
        .query("poolType", "automation");
    let pools = api.send(&call, &Auth::Pat(&token)).await?;
    let pool_id = pools["value"][0]["id"]
        .as_i64()
        .ok_or_else(|| anyhow!("Agent pool not found: '{pool_name}'"))?;
    term::line("Scanning for tool capabilities.");
    let key = RsaParams::generate()?;
    let wish = Wish {
        name: &name,
        version: layout.version(),
        capabilities: json!(capabilities::scan(layout, environment, &name)),
        key: &key,
    };
    term::line("Connecting to the server.");
    let registrar = Registrar { api: &api, token: &token, pool_id };
    let row = registrar.register(&wish, command.flag("replace")).await?;

    let work_folder = prompt::value(command, "work", "work folder", Some("_work"))?;
    let agent = AgentFile {
        accept_tee_eula: command.flag("acceptteeeula"),
        agent_id: row["id"].as_i64().context("the server's answer has no agent id")?,
        agent_name: name.clone(),
        notification_pipe_name: command.value("notificationpipename").map(str::to_owned),
        notification_socket_address: command.value("notificationsocketaddress").map(str::to_owned),
        pool_id,
        pool_name,
        disable_log_uploads: command.flag("disableloguploads"),
        server_url: format!("{}/", api.base()),
        work_folder,
    };
    let registration = Registration { agent, credentials: register::credentials(&row)?, key };
    finish(layout, api, registration).await
}

/// Tests the new registration with its own key before it says that it is saved.
async fn finish(layout: &Layout, api: Api, registration: Registration) -> anyhow::Result<Exit> {
    registration.save(layout)?;
    term::line("Testing agent connection.");
    let work = layout.root().join(&registration.agent.work_folder);
    std::fs::create_dir_all(&work)
        .with_context(|| format!("cannot make the work folder {}", work.display()))?;
    crate::service::write_control_script(layout, &registration.agent)?;
    let connection = Connection::new(api, registration);
    connection.send(&Call::get("_apis/connectionData")).await?;
    term::stamped("Settings Saved.");
    Ok(Exit::Success)
}

/// Only tokens are played here; the other kinds need servers that nobody simulates.
pub(crate) fn credential(command: &Command, url: &str) -> anyhow::Result<secrecy::SecretString> {
    let https_with_dot =
        url.starts_with("https://") && url[8..].split('/').next().is_some_and(|h| h.contains('.'));
    let default = if https_with_dot { "PAT" } else { "negotiate" };
    let kind = prompt::value(command, "auth", "authentication type", Some(default))?;
    if !kind.eq_ignore_ascii_case("pat") {
        bail!("authentication type '{kind}' is not supported here; use --auth pat");
    }
    if let Some(token) = command.token() {
        return Ok(token);
    }
    prompt::value(command, "token", "personal access token", None)
        .map(|t| t.trim().to_owned().into())
}
