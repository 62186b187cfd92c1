//! Why something is as it is, in words and for programs.

use fleet_proto::v1::{self, Phase};

use crate::{
    fake::State,
    samples::{STR, SVC, agent, event, fleet},
    world::{World, shown},
};

const NAME: &str = "nightly-svc-svcstr-server-2-01";

impl State {
    /// The facts of a pool, a host or an agent, with shares that a test put there.
    pub(crate) fn explain(
        &self,
        about: &v1::explain_request::About,
    ) -> Option<v1::ExplainResponse> {
        use v1::explain_request::About::{Agent, Host, Name, Pool};
        let (Name(name) | Pool(name) | Host(name) | Agent(name)) = about;
        let agent = self.agent(name);
        let pool = agent.as_ref().and_then(|a| Some(a.status.as_ref()?.pool.clone()));
        let host = agent.as_ref().map(|agent| agent.host.clone());
        let pools: Vec<v1::Pool> = self.pool(&pool.unwrap_or(name.clone())).into_iter().collect();
        let hosts: Vec<v1::Host> = self.host(&host.unwrap_or(name.clone())).into_iter().collect();
        let found = agent.is_some() || !pools.is_empty() || !hosts.is_empty();
        found.then(|| v1::ExplainResponse {
            pools,
            hosts,
            agents: agent.into_iter().collect(),
            shares: self.shares.clone(),
        })
    }
}

fn share(host: &str, placed: u32, told: u32, there: u32, refusal: &str) -> v1::Share {
    v1::Share {
        pool: "nightly-svc".into(),
        group: "default".into(),
        host: host.into(),
        placed,
        told,
        there,
        refusal: refusal.into(),
    }
}

#[tokio::test]
async fn of_a_pool_each_host_says_what_it_has_and_which_rule_holds_it_back() {
    let world = World::start(fleet()).await;
    {
        let mut state = world.state();
        state.shares = vec![
            share(SVC, 3, 2, 4, "full (3 agents)"),
            share(STR, 0, 0, 0, "label lab=svc is not met"),
        ];
        state.change_pool("nightly-svc", |pool| {
            pool.spec.as_mut().unwrap().replicas = 5;
            (pool.unplaced, pool.waiting) = (2, 1);
            pool.unplaced_reasons = vec!["1 host: full (3 agents)".into()];
        });
    }
    shown!(world.run(&["why", "nightly-svc"]).await);
}

#[tokio::test]
async fn of_a_host_and_of_an_agent_what_they_hang_on_is_said() {
    let world = World::start(fleet()).await;
    {
        let mut state = world.state();
        let mut leaving = agent("nightly-svc", SVC, 1, Phase::Draining);
        let status = leaving.status.as_mut().unwrap();
        status.intent = v1::Intent::Remove.into();
        status.why = "its job runs to its end first".into();
        state.put_agent(leaving);
        state.shares = vec![share(SVC, 2, 2, 3, "draining")];
        state.change_host(SVC, |host| {
            host.restraint = Some(v1::Restraint {
                kind: v1::RestraintKind::Drain.into(),
                by: "ann".into(),
                since: host.since,
                ..v1::Restraint::default()
            });
            host.availability = v1::Availability::Draining.into();
        });
    }
    let of_host = world.run(&["why", SVC]).await;
    let of_agent = world.run(&["why", NAME]).await;
    shown!(format!("{of_host}{of_agent}"));
}

#[tokio::test]
async fn what_happened_lately_stands_below_and_programs_get_it_all() {
    let world = World::start(fleet()).await;
    world.state().events =
        vec![event(7, "agent.phase", NAME, "Starting → Idle: waiting for a job")];
    let text = world.run(&["why", NAME]).await;
    assert!(text.contains("lately:") && text.contains("agent.phase"), "{text}");
    let json = world.run(&["why", "--pool", "nightly-svc", "-o", "json"]).await;
    let (_, json) = json.split_once("--- out\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    for list in ["pools", "hosts", "agents", "shares", "events"] {
        assert!(json[list].is_array(), "{json}");
    }
    shown!(world.run(&["why", "nigthly-svc"]).await);
}
