//! Self-update: fetch the package, lay it beside the running one, wait for the job in hand, and leave a script
//! that swaps the two when this process is gone. For an interactive listener that script starts `run.sh` anew,
//! as an orphan: a supervisor that watches the old `run.sh` loses it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::watch;

use super::Context;
use crate::api::Call;

/// Tries for the download.
const TRIES: u32 = 3;
/// Scripts of the root that an update overwrites.
const ROOT_FILES: &[&str] =
    &["config.sh", "run.sh", "run-docker.sh", "env.sh", "reauth.sh", "license.html"];

/// True = the swap script waits for this process to end. On false the agent goes on as it is.
pub(crate) async fn update(
    context: Arc<Context>,
    version: String,
    idle: watch::Receiver<bool>,
) -> bool {
    match prepare(&context, &version, idle).await {
        Ok(()) => true,
        Err(error) => {
            context.diag.log(&format!("Update to {version} failed: {error:#}"));
            state(&context, &format!("Update to {version} failed")).await;
            false
        }
    }
}

async fn prepare(
    context: &Context,
    version: &str,
    mut idle: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let folder = work(context).join("_update");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    state(context, &format!("Downloading {version} agent")).await;
    let archive = folder.join("agent.tar.gz");
    fetch(context, version, &archive).await?;
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&folder)).await?;
    lay_beside(context, version, &folder).await?;
    state(context, "Waiting for current job finish running.").await;
    idle.wait_for(|idle| *idle).await?;
    state(context, "Reboot agent.").await;
    hand_over(context, version)
}

/// Tells the server how far it is; a server that does not want to know is no reason to stop.
async fn state(context: &Context, text: &str) {
    let agent = &context.connection.registration.agent;
    let path = context.connection.pool(&format!("agents/{}/updates", agent.agent_id));
    let call = Call::new(Method::PUT, path).query("currentState", text).body(serde_json::json!({}));
    if let Err(error) = context.connection.send(&call).await {
        context.diag.log(&format!("Update state was not taken: {error}"));
    }
    context.diag.log(text);
}

async fn fetch(context: &Context, version: &str, archive: &Path) -> anyhow::Result<()> {
    let call = Call::get("_apis/distributedtask/packages/agent").query("platform", "linux-x64");
    let list = context.connection.send(&call).await?;
    let packages = list["value"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A server with one package means that one: what is in it is told apart by its version only.
    let package = packages.iter().find(|p| name(&p["version"]) == version).or(packages.first());
    let package =
        package.with_context(|| format!("the server has no package for version {version}"))?;
    let url = package["downloadUrl"].as_str().context("the package has no downloadUrl")?;
    let mut tries = 0;
    let digest = loop {
        tries += 1;
        match context.connection.api.download(url, archive).await {
            Err(error) if tries < TRIES => context.diag.log(&format!("Download failed: {error:#}")),
            other => break other?,
        }
    };
    let wanted = package["hashValue"].as_str().unwrap_or_default();
    if !wanted.is_empty() && !wanted.eq_ignore_ascii_case(&digest) {
        bail!("the package has hash {digest}, the server promised {wanted}");
    }
    Ok(())
}

fn name(version: &Value) -> String {
    let part = |key: &str| version[key].as_i64().unwrap_or_default();
    format!("{}.{}.{}", part("major"), part("minor"), part("patch"))
}

async fn lay_beside(context: &Context, version: &str, from: &Path) -> anyhow::Result<()> {
    let root = context.layout.root();
    for folder in ["bin", "externals"] {
        let target = root.join(format!("{folder}.{version}"));
        let _ = std::fs::remove_dir_all(&target);
        run(Command::new("cp").arg("-a").arg(from.join(folder)).arg(&target)).await?;
    }
    std::fs::write(root.join(format!("bin.{version}/stub-version")), version)?;
    for file in ROOT_FILES.iter().filter(|file| from.join(file).exists()) {
        // Written beside and renamed: a shell that is reading the old script keeps the old file.
        let beside = root.join(format!("{file}.new"));
        std::fs::copy(from.join(file), &beside)?;
        std::fs::rename(beside, root.join(file))?;
    }
    Ok(())
}

fn hand_over(context: &Context, version: &str) -> anyhow::Result<()> {
    let template = root_file(context, &format!("bin.{version}/update.sh.template"));
    let text = std::fs::read_to_string(&template)
        .with_context(|| format!("cannot read {}", template.display()))?;
    let restart = !context.once && !context.service;
    let text = text
        .replace("{{ROOT}}", &context.layout.root().display().to_string())
        .replace("{{PID}}", &std::process::id().to_string())
        .replace("{{OLD}}", &context.layout.version())
        .replace("{{NEW}}", version)
        .replace("{{WORK}}", &work(context).display().to_string())
        .replace("{{RESTART}}", if restart { "true" } else { "false" });
    // Who waits for the swap (run.sh after exit code 4) looks for this file; the script removes it.
    std::fs::write(root_file(context, ".updating"), "")?;
    let script = work(context).join("_update.sh");
    std::fs::write(&script, text)?;
    std::process::Command::new("sh")
        .arg(&script)
        .env_clear()
        .envs(context.environment.iter())
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start the update script")?;
    Ok(())
}

fn root_file(context: &Context, name: &str) -> PathBuf {
    context.layout.root().join(name)
}

fn work(context: &Context) -> PathBuf {
    context.layout.root().join(&context.connection.registration.agent.work_folder)
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().await?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.as_std().get_program());
    }
    Ok(())
}
