//! `agentctl agent …`: what an operator asks of one agent.

use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use fleet_model::{
    Reason,
    numbers::{QUARANTINE_MAX, QUARANTINE_TIME},
};
use fleet_proto::v1;

use crate::{
    agent_goal::AgentGoal,
    cli::Global,
    complete,
    error::Failure,
    goal::Goal,
    help,
    names::{Kind, ask_about},
    output, wait,
    wait::{Scope, Waiting},
    when,
};

/// Restarts single agents, and keeps broken ones aside.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl agent restart nightly-bjw-ca-serv-5-03",
    "A fresh run for one agent, at its job's end",
    help::WAITING,
))]
pub(crate) struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Restart(Restart),
    Quarantine(Quarantine),
    Release(Release),
}

/// Replaces an agent's run by a fresh one, at its job's end, and waits until that is online.
///
/// It is disabled at Azure first, like an agent that is removed, so no job is lost; name and row stay.
/// One that waits after failures is started at once.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl agent restart nightly-bjw-ca-serv-5-03 --reason \"odd since noon\"",
    "A fresh run for one agent, at its job's end",
    help::WAITING,
))]
struct Restart {
    #[command(flatten)]
    common: Common,
}

/// Keeps an agent aside, from its job's end on: it gets no jobs, what is left of its last run stays
/// on its host with logs and what the engine says of it, and another agent takes its place.
///
/// Agents that fail too often go there by themselves (docs/numbers.md). The quarantine ends by itself,
/// with `agentctl agent release`, or, unless an operator asked for it, with a new template.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl agent quarantine nightly-bjw-ca-serv-5-03 --for 8h --reason \"disk errors in its jobs\"",
    "Keeps one agent aside over night",
    help::WAITING,
))]
struct Quarantine {
    #[command(flatten)]
    common: Common,
    /// How long; 24h when it is left out, 30d at most
    #[arg(long = "for", value_name = "TIME", value_parser = quarantine_time)]
    time: Option<Duration>,
}

/// Ends an agent's quarantine: it is started again, or removed where another has its place.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl agent release nightly-bjw-ca-serv-5-03",
    "Its disk was changed",
    help::WAITING,
))]
struct Release {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Agent
    #[arg(add = ArgValueCandidates::new(complete::agents))]
    agent: String,
    /// Why, for the fleet's history: one line, at most 300 characters
    #[arg(long, value_name = "TEXT")]
    reason: Option<Reason>,
    #[command(flatten)]
    waiting: Waiting,
}

fn quarantine_time(text: &str) -> Result<Duration, String> {
    match when::parse(text)? {
        time if time.is_zero() || time > QUARANTINE_MAX => {
            Err(format!("give a time of up to {} days", QUARANTINE_MAX.as_secs() / 86_400))
        }
        time => Ok(time),
    }
}

impl Agent {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        match self.verb {
            Verb::Restart(Restart { common }) => {
                common.order(global, v1::AgentVerb::Restart, None, "restart").await
            }
            Verb::Quarantine(Quarantine { common, time }) => {
                let time = Some(time.unwrap_or(QUARANTINE_TIME));
                common.order(global, v1::AgentVerb::Quarantine, time, "set aside").await
            }
            Verb::Release(Release { common }) => {
                common.order(global, v1::AgentVerb::Release, None, "release").await
            }
        }
    }
}

impl Common {
    async fn order(
        self,
        global: &Global,
        verb: v1::AgentVerb,
        time: Option<Duration>,
        word: &str,
    ) -> Result<(), Failure> {
        let name = &self.agent;
        let request = v1::OrderAgentRequest {
            agent: name.clone(),
            verb: verb.into(),
            reason: self.reason.clone().map(String::from).unwrap_or_default(),
            quarantine_for: time.map(fleet_proto::convert::wire_duration),
        };
        let session = global.session()?;
        let mut client = session.client();
        let call = client.order_agent(request);
        let what = format!("{word} {name}");
        let answer = ask_about(&session, (Kind::Agent, name), &what, call).await?;
        let status = answer.agent.and_then(|agent| agent.status).unwrap_or_default();
        if self.waiting.detach {
            return output::print(&format!("{name}: {} accepted\n", accepted(verb)));
        }
        let goal = match verb {
            v1::AgentVerb::Quarantine => AgentGoal::SetAside,
            v1::AgentVerb::Release => AgentGoal::Released,
            v1::AgentVerb::Restart | v1::AgentVerb::Unspecified => {
                AgentGoal::Restarted { attempt: status.attempt }
            }
        };
        let goal = Goal::Agent(name.clone(), goal);
        let (scope, limit) = (Scope::Pool(status.pool), Some(self.waiting.timeout));
        let (took, standing) = wait::until(&session, scope, goal, limit).await?;
        let took = when::short(took.try_into().unwrap_or_default());
        output::print(&format!("{name}: {} after {took}\n", standing.line))
    }
}

fn accepted(verb: v1::AgentVerb) -> &'static str {
    match verb {
        v1::AgentVerb::Quarantine => "quarantine",
        v1::AgentVerb::Release => "release",
        v1::AgentVerb::Restart | v1::AgentVerb::Unspecified => "restart",
    }
}
