//! Agents as users and units, on the lab server: cycles of ours and of bare systemd in turn, and then
//! some while hostd is away.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;

use super::{
    Args, Cycles,
    docker::VARIABLE,
    moments::{self, Gap},
    units_floor::Floor,
    work,
};
use crate::{
    engine::events::{Moment, now},
    fleet::{Fleet, Programs},
    host,
};

/// In the agent's root, beneath its user's home.
const FILE: &str = "moments";
/// hostd says in the user database whose a user is.
const COMMENT: &str = "Azure Pipelines agent ";

/// Measures. The server is thrown away afterwards, so nothing is removed here.
pub(super) async fn measure(
    programs: Programs,
    args: &Args,
    package: &Path,
) -> anyhow::Result<Cycles> {
    let sha256 = fleet_proto::sha256_hex(&std::fs::read(package)?);
    let fleet = Fleet::start(programs, &[host::POOL]).await?;
    work::at_once(&fleet).await?;
    let tables = format!("[systemd]\npackage = {{ source = {package:?}, sha256 = {sha256:?} }}\n");
    let hostd = host::start_as(&fleet, "systemd", &tables).await?;
    let variable = format!("{VARIABLE}={FILE}");
    host::create_pool_with(&fleet, &["--runtime", "systemd", "--env", &variable]).await?;
    host::scale(&fleet, args.agents).await?;
    let listener = format!("/home/.fleet-packages/{sha256}/bin/Agent.Listener");
    let mut floor = Floor::new(&fleet, &listener, args).await?;
    work::rounds("units", &fleet, args, async || floor.turn().await).await?;
    let left = now();
    hostd.stop().await?;
    work::turn(&fleet, args.agents * args.alone).await.context("alone")?;
    let cycles = Cycles { floor: floor.took()?, ..ours(&fleet, left).await? };
    fleet.stop().await?;
    Ok(cycles)
}

/// What the listeners and the simulator said; hostd went away at `left`.
async fn ours(fleet: &Fleet, left: Moment) -> anyhow::Result<Cycles> {
    let sessions = moments::sessions(&fleet.sim()?.journal(0).await?, host::POOL);
    let homes = homes(&std::fs::read_to_string("/etc/passwd")?);
    let mut cycles = Cycles::default();
    for (agent, online) in sessions {
        let home = homes.get(&agent).with_context(|| format!("{agent} has no user"))?;
        let text = std::fs::read_to_string(Path::new(home).join("agent").join(FILE))
            .with_context(|| format!("the listeners of {agent} said nothing"))?;
        let (ruled, alone): (Vec<Gap>, Vec<Gap>) =
            moments::gaps(&text, "run", "run").into_iter().partition(|gap| gap.ended < left);
        cycles.add(&ruled, &online);
        cycles.alone.extend(alone.into_iter().map(Gap::milliseconds));
    }
    Ok(cycles)
}

/// Agent → home, from the user database.
fn homes(passwd: &str) -> BTreeMap<String, String> {
    let user = |line: &str| {
        let mut fields = line.split(':').skip(4);
        let agent = fields.next()?.strip_prefix(COMMENT)?;
        Some((agent.to_owned(), fields.next()?.to_owned()))
    };
    passwd.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_comment_names_its_agent() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      az-1:x:40001:40001:Azure Pipelines agent fleet-test-h-01:/home/az-1:/bin/bash\n";
        let expected = [("fleet-test-h-01".to_owned(), "/home/az-1".to_owned())];
        assert_eq!(homes(passwd), expected.into());
    }
}
