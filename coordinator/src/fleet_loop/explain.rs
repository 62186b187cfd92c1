//! Why something is as it is: the facts that it hangs on, from the plan that decided them.

use coordinator_plan::Share;
use fleet_model::{AgentName, HostName, PoolName};
use fleet_proto::v1;

use super::{denied::Denied, event::About, state::State};

/// What was asked about, found.
pub(crate) enum Found {
    Pool(PoolName),
    Host(HostName),
    Agent(HostName, AgentName),
}

impl State {
    pub(crate) fn find(&self, about: &About) -> Result<Found, Denied> {
        match about {
            About::Pool(name) => self.known_pool(name).map(Found::Pool),
            About::Host(name) => self.known_host(name).map(Found::Host),
            About::Agent(name) => {
                self.find_agent(name).ok_or_else(|| Denied::UnknownAgent(name.clone()))
            }
            About::Named(name) => {
                let pool = self.known_pool(name).ok().map(Found::Pool);
                let host = self.known_host(name).ok().map(Found::Host);
                match (pool, host, self.find_agent(name)) {
                    (Some(_), Some(_), _) => Err(Denied::Invalid(format!(
                        "{name:?} is a host and a pool; say which with --host or --pool"
                    ))),
                    (pool, host, agent) => {
                        pool.or(host).or(agent).ok_or_else(|| Denied::Nothing(name.clone()))
                    }
                }
            }
        }
    }

    fn find_agent(&self, name: &str) -> Option<Found> {
        let mut agents = self.fleet.agents();
        let (host, _, agent) = agents.find(|(_, _, agent)| agent.agent.as_str() == name)?;
        Some(Found::Agent(host.clone(), agent.agent.clone()))
    }

    pub(crate) fn explain(&self, found: &Found) -> v1::ExplainResponse {
        let views = self.views();
        match found {
            Found::Pool(pool) => {
                let shares = self.fleet.explain(pool);
                let involved = |host: &&v1::Host| {
                    shares.iter().any(|share| {
                        share.placed + share.there > 0 && share.host.as_str() == host.name
                    })
                };
                let hosts = views.hosts();
                v1::ExplainResponse {
                    pools: views.pool(pool).into_iter().collect(),
                    hosts: hosts.iter().filter(involved).cloned().collect(),
                    agents: Vec::new(),
                    shares: shares.into_iter().map(wire).collect(),
                }
            }
            Found::Host(host) => {
                let pools = self.fleet.pool_names();
                let shares = pools.flat_map(|pool| self.fleet.explain(pool));
                v1::ExplainResponse {
                    pools: Vec::new(),
                    hosts: views.host(host).into_iter().collect(),
                    agents: Vec::new(),
                    shares: shares.filter(|share| share.host == *host).map(wire).collect(),
                }
            }
            Found::Agent(host, name) => self.explain_agent(host, name),
        }
    }

    fn explain_agent(&self, host: &HostName, name: &AgentName) -> v1::ExplainResponse {
        let views = self.views();
        let status = self.fleet.host(host).and_then(|entry| entry.agents.get(name));
        let Some(status) = status else { return v1::ExplainResponse::default() };
        let shares = self.fleet.explain(&status.pool).into_iter();
        let its = |share: &Share| share.host == *host && share.group == status.group;
        v1::ExplainResponse {
            pools: views.pool(&status.pool).into_iter().collect(),
            hosts: views.host(host).into_iter().collect(),
            agents: views.agent(host, name).into_iter().collect(),
            shares: shares.filter(its).map(wire).collect(),
        }
    }
}

fn wire(share: Share) -> v1::Share {
    v1::Share {
        pool: share.pool.into(),
        group: share.group.into(),
        host: share.host.into(),
        placed: share.placed,
        told: share.told,
        there: share.there,
        refusal: share.refusal.map(|why| why.to_string()).unwrap_or_default(),
    }
}
