//! The simulator as the pool of a bench.

use std::{path::Path, time::Duration};

use azdo::sim::{JobForm, Kind, PatForm, Settings, Sim, SimConfig, SimHandle};
use fleet_model::AzureTarget;
use hostd::runtime::RunId;

use crate::watching::LIMIT;

/// The token of the pool: of the length of a real one, so that it is masked like one.
pub(crate) const TOKEN: &str = "k3mq7tz2yx5cvb8n4w6j9r1p0sd7fgh3lkq2zxc5vbn8m4qwe6r1";
/// The version that an update brings.
pub(crate) const NEW_VERSION: &str = "4.261.0";
const POOL: &str = "nightly";

pub(crate) struct Azure {
    pub(crate) sim: SimHandle,
}

impl Azure {
    /// `package`: what an update downloads.
    pub(crate) async fn start(package: &Path) -> Self {
        let config = SimConfig {
            pools: vec![POOL.to_owned()],
            pats: vec![PatForm::manager(TOKEN)],
            packages: vec![package.to_owned()],
            settings: Settings { poll_limit: Duration::from_secs(20), ..Settings::brisk() },
            ..SimConfig::default()
        };
        Self { sim: Sim::start(config).await.expect("the simulator starts") }
    }

    pub(crate) fn target(&self) -> AzureTarget {
        AzureTarget { url: self.sim.base_url(), pool: POOL.to_owned() }
    }

    /// A job that only this agent can take.
    pub(crate) fn give_job(&self, run: &RunId, length: Duration) -> i64 {
        let duration_ms = length.as_millis().try_into().unwrap();
        let demands = vec![format!("Agent.Name -equals {}", run.agent)];
        let job = JobForm { name: "build".into(), duration_ms, demands, ..JobForm::default() };
        self.sim.queue(POOL, job).expect("the job is queued")
    }

    pub(crate) async fn is_online(&self, run: &RunId, expected: bool) {
        let wanted =
            |row: Option<&azdo::sim::RowView>| row.is_some_and(|row| row.online == expected);
        let waited = self.sim.wait_for_row(LIMIT, POOL, run.agent.as_str(), wanted).await;
        waited.unwrap_or_else(|row| panic!("online should be {expected}: {row:?}"));
    }

    pub(crate) fn registrations(&self, run: &RunId) -> usize {
        let is_registration = |entry: &&azdo::sim::Entry| {
            matches!(entry.kind, Kind::AgentRegistered | Kind::AgentReplaced)
                && entry.about.agent.as_deref() == Some(run.agent.as_str())
        };
        self.sim.journal(0).iter().filter(is_registration).count()
    }

    pub(crate) fn update(&self, run: &RunId) {
        self.sim.force_update(POOL, run.agent.as_str(), NEW_VERSION).expect("the agent is known");
    }

    pub(crate) fn version(&self, run: &RunId) -> Option<String> {
        let rows = self.sim.rows(Some(POOL));
        rows.into_iter().find(|row| row.name == run.agent.as_str())?.version
    }
}
