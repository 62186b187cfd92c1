//! Running as a service: the control script that configuration leaves in the root, and the small host process
//! (`node bin/AgentService.js` in the real agent) that keeps a listener running under `runsvc.sh`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::files::AgentFile;
use crate::layout::Layout;
use crate::settings::Settings;
use crate::term;

/// Longest unit name before its parts are cut.
const LONGEST_UNIT: usize = 80;
/// Length of pool and organization in a cut name.
const CUT: usize = 20;

/// Writes `svc.sh` into the root, with this agent's unit name in it.
pub(crate) fn write_control_script(layout: &Layout, agent: &AgentFile) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // A binary that was not unpacked from the package has no template, and no service.
    let Ok(template) = std::fs::read_to_string(layout.bin().join("svc.sh.template")) else {
        return Ok(());
    };
    let organization = organization(&agent.server_url);
    let script = template
        .replace("{{UNIT}}", &unit(&organization, &agent.pool_name, &agent.agent_name))
        .replace(
            "{{DESCRIPTION}}",
            &format!("Azure Pipelines Agent ({organization}.{})", agent.agent_name),
        );
    let path = layout.file("svc.sh");
    std::fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// `vsts.agent.{org}.{pool}.{agent}.service`, not yet escaped for systemd.
fn unit(organization: &str, pool: &str, agent: &str) -> String {
    let name =
        |org: &str, pool: &str, agent: &str| format!("vsts.agent.{org}.{pool}.{agent}.service");
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    let whole = name(organization, pool, agent);
    let short = if whole.chars().count() <= LONGEST_UNIT {
        whole
    } else {
        let (organization, pool) = (cut(organization, CUT), cut(pool, CUT));
        let room = LONGEST_UNIT.saturating_sub(name(&organization, &pool, "").chars().count());
        name(&organization, &pool, &cut(agent, room))
    };
    // Quotes, blanks and slashes would end up in a shell script and a file name.
    short
        .chars()
        .map(|c| if c.is_alphanumeric() || ".-_@\\".contains(c) { c } else { '_' })
        .collect()
}

/// First part of the path, else first label of the host.
fn organization(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    let host = parts.next().unwrap_or("unknown");
    parts.next().unwrap_or_else(|| host.split('.').next().unwrap_or(host)).to_owned()
}

/// Runs listeners one after another: 0 and 1 end the service, anything else is tried again after a pause.
pub(crate) async fn main() -> anyhow::Result<u8> {
    let exe = std::env::current_exe()?.canonicalize()?;
    // root/externals/node20/bin/node
    let root = exe.ancestors().nth(4).context("this program is started by runsvc.sh only")?;
    let listener = root.join("bin/Agent.Listener");
    let layout = Layout::at(root);
    let restart = Settings::load(&layout, &Environment::of_this_process(&layout)).service_restart;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        term::line("Starting Agent listener with startup type: service");
        let mut child = Command::new(&listener)
            .args(["run", "--startuptype", "service"])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", listener.display()))?;
        let status = tokio::select! {
            status = child.wait() => status?,
            _ = interrupt.recv() => return stop(child).await,
            _ = terminate.recv() => return stop(child).await,
        };
        match status.code() {
            Some(code @ (0 | 1)) => {
                term::line(&format!(
                    "Agent listener exit with {code} return code, stop the service, no retry needed."
                ));
                return Ok(0);
            }
            code => term::line(&format!(
                "Agent listener exit with {code:?}, re-launch agent in {restart:?}."
            )),
        }
        pause(restart, &mut interrupt, &mut terminate).await;
    }
}

async fn pause(
    time: Duration,
    interrupt: &mut tokio::signal::unix::Signal,
    terminate: &mut tokio::signal::unix::Signal,
) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = interrupt.recv() => std::process::exit(0),
        _ = terminate.recv() => std::process::exit(0),
    }
}

/// Both signals become SIGINT for the listener, the kind that lets it finish in order.
async fn stop(mut child: Child) -> anyhow::Result<u8> {
    if let Some(pid) = child.id() {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGINT)?;
    }
    child.wait().await?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_carry_organization_pool_and_agent() {
        assert_eq!(organization("https://dev.azure.com/fabrikam/"), "fabrikam");
        assert_eq!(organization("https://fabrikam.visualstudio.com/"), "fabrikam");
        assert_eq!(unit("fabrikam", "Lab", "host1-01"), "vsts.agent.fabrikam.Lab.host1-01.service");
        assert_eq!(unit("o", "my pool", "a;b"), "vsts.agent.o.my_pool.a_b.service");
    }

    #[test]
    fn a_long_unit_name_is_cut_to_what_fits() {
        let long = unit(&"o".repeat(40), &"p".repeat(40), &"a".repeat(40));
        assert_eq!(long.len(), LONGEST_UNIT);
        assert!(long.ends_with("a.service"));
    }
}
