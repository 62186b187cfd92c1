//! A host without agents: it speaks the contract over its own mutually authenticated connection, and
//! says when which order reached it. A thousand of them fit into one process.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use fleet_model::{
    AgentName, AgentStatus, Assignment, At, HostFacts, HostName, HostReport, Intent, Order, Phase,
    RuntimeKind, Wanted,
};
use fleet_proto::{
    convert::Hello,
    tls,
    v1::{
        self, host_service_client::HostServiceClient, session_request::Message as Said,
        session_response::Message as Heard,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::enrol::Member;

/// As hosts do.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages on their way.
const ROOM: usize = 16;

/// An order has reached a host.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) host: usize,
    pub(super) order: Order,
    pub(super) at: Instant,
    /// The message as it came, for the floor to send the same.
    pub(super) assignment: Arc<v1::Assignment>,
}

/// Which phase all of its agents are reported in; none: it reports no agents.
pub(super) type Reporting = Option<Phase>;

/// What a host needs.
pub(super) struct Thin {
    pub(super) number: usize,
    pub(super) member: Member,
    pub(super) endpoint: String,
    pub(super) server_name: String,
    pub(super) reached: mpsc::UnboundedSender<Reached>,
    pub(super) reporting: watch::Receiver<Reporting>,
}

struct Talk {
    name: HostName,
    to: mpsc::Sender<v1::SessionRequest>,
    held: Arc<v1::Assignment>,
}

impl Thin {
    /// One session, until it ends; it should not.
    pub(super) async fn run(self) -> anyhow::Error {
        let name = self.member.name.clone();
        match self.talk().await {
            Ok(()) => anyhow::anyhow!("{name}: the session ended"),
            Err(error) => error.context(name),
        }
    }

    async fn talk(mut self) -> anyhow::Result<()> {
        let config = tls::client_config(&self.member.identity, &self.member.ca)?;
        let config = Arc::new(ArcSwap::new(config));
        let channel = tls::channel(&self.endpoint, &self.server_name, config, None)?;
        let (to, outgoing) = mpsc::channel(ROOM);
        let name = self.member.name.clone();
        let talk = Talk { name, to, held: Arc::default() };
        talk.say(Said::Hello(hello(&talk.name).into())).await?;
        talk.say(Said::Report(HostReport { full: true, ..HostReport::default() }.into())).await?;
        let opened = HostServiceClient::new(channel).session(ReceiverStream::new(outgoing)).await;
        self.go_on(talk, opened?.into_inner()).await
    }

    async fn go_on(
        &mut self,
        mut talk: Talk,
        mut from: Streaming<v1::SessionResponse>,
    ) -> anyhow::Result<()> {
        // Spread over a heartbeat, as those of hosts are that started one after another.
        let first = HEARTBEAT.mul_f64(rand::random());
        let mut beat = interval_at(Instant::now() + first, HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = from.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    let at = Instant::now();
                    if let Some(Heard::Assignment(assignment)) = message.message {
                        talk.held = Arc::new(assignment);
                        self.note(&talk, at)?;
                        talk.beat().await?;
                    }
                }
                _ = beat.tick() => talk.beat().await?,
                changed = self.reporting.changed() => {
                    // The benchmark is over.
                    if changed.is_err() {
                        return Ok(());
                    }
                    let phase = *self.reporting.borrow_and_update();
                    if let Some(phase) = phase {
                        talk.report(phase).await?;
                    }
                }
            }
        }
    }

    fn note(&self, talk: &Talk, at: Instant) -> anyhow::Result<()> {
        let (host, assignment) = (self.number, Arc::clone(&talk.held));
        let reached = Reached { host, order: talk.order(), at, assignment };
        self.reached.send(reached).ok().context("nobody counts any more")
    }
}

impl Talk {
    fn order(&self) -> Order {
        self.held.order.map(Order::from).unwrap_or_default()
    }

    async fn say(&self, said: Said) -> anyhow::Result<()> {
        let message = v1::SessionRequest { message: Some(said) };
        self.to.send(message).await.ok().context("the session is closed")
    }

    async fn beat(&self) -> anyhow::Result<()> {
        let applied = Some(self.order().into());
        self.say(Said::Heartbeat(v1::HostHeartbeat { applied })).await
    }

    /// All agents that it was told to keep, in this phase.
    async fn report(&self, phase: Phase) -> anyhow::Result<()> {
        let assignment = Assignment::try_from(self.held.as_ref().clone())?;
        let agents = agents(&self.name, &assignment, phase)?;
        let report = HostReport { applied: assignment.order, agents, ..HostReport::default() };
        self.say(Said::Report(report.into())).await
    }
}

fn hello(name: &HostName) -> Hello {
    Hello {
        host: name.clone(),
        instance_id: format!("{:032x}", rand::random::<u128>()),
        highest: Order::default(),
        facts: HostFacts {
            runtimes: [RuntimeKind::Docker].into(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: format!("{:032x}", rand::random::<u128>()),
            engine: "Docker Engine 27.5.1, API 1.47".into(),
            ..HostFacts::default()
        },
    }
}

/// As a hostd reports agents that it keeps.
fn agents(
    host: &HostName,
    assignment: &Assignment,
    phase: Phase,
) -> anyhow::Result<Vec<AgentStatus>> {
    let mut agents = Vec::new();
    for (pool, part) in &assignment.pools {
        let Wanted::Groups(groups) = &part.wanted else { continue };
        let mut slot = 0;
        for (group, wanted) in groups {
            for _ in 0..wanted.replicas {
                slot += 1;
                agents.push(AgentStatus {
                    agent: AgentName::for_slot(&part.prefix, host, slot)?,
                    pool: pool.clone(),
                    group: group.clone(),
                    slot,
                    runtime: RuntimeKind::Docker,
                    attempt: 1,
                    phase,
                    since: At(1_700_000_000_000),
                    intent: Intent::Keep,
                    job: None,
                    why: String::new(),
                    agent_id: Some(i64::from(slot) + 100_000),
                    placeholder: false,
                    quarantine: None,
                    disk_bytes: None,
                });
            }
        }
    }
    Ok(agents)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleet_model::{
        AzureTarget, CredentialRef, GroupAssignment, Mode, PoolAssignment, Template,
    };

    use super::*;

    #[test]
    fn a_host_reports_what_it_was_told_to_keep() {
        let template = Template::docker("img:1".parse().expect("an image"), Mode::Once);
        let group = GroupAssignment { template: template.into(), replicas: 3, placeholder: false };
        let part = PoolAssignment {
            azure: AzureTarget { url: "https://dev.azure.com/x".into(), pool: "p".into() },
            prefix: "p".parse().expect("a prefix"),
            settle: Duration::from_secs(20),
            credential: CredentialRef {
                name: "c".parse().expect("a credential"),
                fingerprint: "0123456789ab".into(),
            },
            wanted: Wanted::Groups(BTreeMap::from([("g".parse().expect("a group"), group)])),
            gone_groups: Default::default(),
            forced: None,
            paused: None,
        };
        let pools = BTreeMap::from([("p".parse().expect("a pool"), part)]);
        let order = Order::default().next();
        let host = "host-0001".parse().expect("a host");
        let told = Assignment { order, pools, ..Default::default() };
        let kept = agents(&host, &told, Phase::Idle).expect("names");
        let names: Vec<_> = kept.iter().map(|agent| agent.agent.to_string()).collect();
        assert_eq!(names, ["p-host-0001-01", "p-host-0001-02", "p-host-0001-03"]);
    }
}
