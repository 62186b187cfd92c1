//! A coordinator for tests: keeps what it is told, counts like the real one, and plays scripts.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use fleet_model::{GroupError, PoolSpec};
use fleet_proto::{
    tls::Peer,
    v1::{self, Intent, Phase, fleet_service_server::FleetService, watch_response::Change},
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// What a watcher is told after the present state.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// An agent comes, or comes into another phase.
    Agent(Box<v1::Agent>),
    /// An agent is no longer wanted.
    Leaves(&'static str),
    /// An agent is gone.
    Gone(&'static str),
    /// A host is changed in any way.
    Host(&'static str, fn(&mut v1::Host)),
    /// The pool is changed in any way.
    Pool(&'static str, fn(&mut v1::Pool)),
    /// The pool is gone.
    PoolGone(&'static str),
    /// The stream ends, as when the coordinator restarts.
    Break,
}

/// Everything the coordinator knows, and what it is going to do.
#[derive(Default)]
pub(crate) struct State {
    pools: BTreeMap<String, v1::Pool>,
    hosts: BTreeMap<String, v1::Host>,
    agents: BTreeMap<String, v1::Agent>,
    pub(crate) events: Vec<v1::Event>,
    /// What every agent wrote, and how its log breaks off.
    pub(crate) lines: Vec<v1::LogLine>,
    pub(crate) broken: Option<Status>,
    /// Who has which part of a pool.
    pub(crate) shares: Vec<v1::Share>,
    /// What a look for leftovers finds.
    pub(crate) tidied: Vec<v1::TidyPool>,
    /// What a follower whose log broke off is answered next, each time: lines, or why not.
    pub(crate) then: Vec<Result<Vec<v1::LogLine>, Status>>,
    pub(crate) read_only: String,
    /// One for each watcher to come; without one, the watcher gets the present state and silence.
    pub(crate) scripts: VecDeque<Vec<Act>>,
    /// The answer to every call, instead of the usual one.
    pub(crate) refuse: Option<Status>,
    /// Requests as they came, without secrets.
    pub(crate) log: Vec<String>,
    pub(crate) created: Vec<v1::CreatePoolRequest>,
}

impl Act {
    pub(crate) fn agent(agent: v1::Agent) -> Self {
        Self::Agent(Box::new(agent))
    }
}

impl State {
    pub(crate) fn put_pool(&mut self, pool: v1::Pool) {
        self.pools.insert(pool.spec.clone().unwrap().name, pool);
    }

    pub(crate) fn put_host(&mut self, host: v1::Host) {
        self.hosts.insert(host.name.clone(), host);
    }

    pub(crate) fn put_agent(&mut self, agent: v1::Agent) {
        self.agents.insert(agent.status.clone().unwrap().agent, agent);
    }

    pub(crate) fn change_pool(&mut self, name: &str, change: impl FnOnce(&mut v1::Pool)) {
        change(self.pools.get_mut(name).unwrap());
    }

    pub(crate) fn change_host(&mut self, name: &str, change: impl FnOnce(&mut v1::Host)) {
        change(self.hosts.get_mut(name).unwrap());
    }

    pub(crate) fn change_agent(&mut self, name: &str, change: impl FnOnce(&mut v1::Agent)) {
        change(self.agents.get_mut(name).unwrap());
    }

    pub(crate) fn agent(&self, name: &str) -> Option<v1::Agent> {
        self.agents.get(name).cloned()
    }

    /// The pool with its counts as they follow from its agents.
    pub(crate) fn pool(&self, name: &str) -> Option<v1::Pool> {
        let mut pool = self.pools.get(name)?.clone();
        let mut counts = v1::PoolCounts {
            desired: pool.spec.as_ref().map_or(0, |s| s.replicas),
            ..Default::default()
        };
        let statuses = self.agents.values().filter_map(|a| a.status.as_ref());
        for status in statuses.filter(|s| s.pool == name && !s.placeholder) {
            if status.phase() == Phase::Quarantined {
                counts.quarantined += 1;
                continue;
            }
            if status.intent() != Intent::Keep {
                counts.leaving += 1;
                continue;
            }
            match status.phase() {
                Phase::Idle => counts.idle += 1,
                Phase::Busy => counts.busy += 1,
                Phase::Failed => counts.failed += 1,
                _ => counts.starting += 1,
            }
        }
        counts.ready = counts.idle + counts.busy;
        pool.counts = Some(counts);
        Some(pool)
    }

    pub(crate) fn host(&self, name: &str) -> Option<v1::Host> {
        let mut host = self.hosts.get(name)?.clone();
        let own: Vec<_> = self.agents.values().filter(|a| a.host == name).collect();
        host.agents = u32::try_from(own.len()).unwrap();
        let busy = own.iter().filter(|a| a.status.as_ref().is_some_and(|s| s.job.is_some()));
        host.busy = u32::try_from(busy.count()).unwrap();
        Some(host)
    }

    fn all_pools(&self) -> Vec<v1::Pool> {
        self.pools.keys().filter_map(|name| self.pool(name)).collect()
    }

    fn all_hosts(&self) -> Vec<v1::Host> {
        self.hosts.keys().filter_map(|name| self.host(name)).collect()
    }

    fn present(&self, request: &v1::WatchRequest) -> Vec<Change> {
        let mut changes = Vec::new();
        if request.pools {
            let pools = self.all_pools().into_iter().filter(|p| {
                request.pool.is_empty() || p.spec.as_ref().is_some_and(|s| s.name == request.pool)
            });
            changes.extend(pools.map(Change::Pool));
        }
        if request.hosts {
            let hosts = self.all_hosts().into_iter();
            let asked = |h: &v1::Host| request.host.is_empty() || h.name == request.host;
            changes.extend(hosts.filter(asked).map(Change::Host));
        }
        if request.agents {
            let on_host = |a: &&v1::Agent| request.host.is_empty() || a.host == request.host;
            let agents = self.agents.values().filter(on_host).filter(|a| {
                request.pool.is_empty() || a.status.as_ref().is_some_and(|s| s.pool == request.pool)
            });
            changes.extend(agents.cloned().map(Change::Agent));
        }
        changes.push(Change::Synced(v1::Synced {}));
        changes
    }

    /// Plays one act; the changes as a watcher sees them.
    fn play(&mut self, act: Act) -> Result<Vec<Change>, Status> {
        let (pool, change) = match act {
            Act::Agent(agent) => {
                self.put_agent(*agent.clone());
                (agent.status.clone().unwrap().pool, Change::Agent(*agent))
            }
            Act::Leaves(name) => {
                let agent = self.agents.get_mut(name).unwrap();
                agent.status.as_mut().unwrap().intent = Intent::Remove.into();
                (agent.status.clone().unwrap().pool, Change::Agent(agent.clone()))
            }
            Act::Gone(name) => {
                let agent = self.agents.remove(name).unwrap();
                (agent.status.unwrap().pool, Change::AgentRemoved(name.into()))
            }
            Act::Host(name, change) => {
                self.change_host(name, change);
                return Ok(self.host(name).map(Change::Host).into_iter().collect());
            }
            Act::Pool(name, change) => {
                self.change_pool(name, change);
                return Ok(self.pool(name).map(Change::Pool).into_iter().collect());
            }
            Act::PoolGone(name) => {
                self.pools.remove(name);
                return Ok(vec![Change::PoolRemoved(name.into())]);
            }
            Act::Break => return Err(Status::unavailable("shutting down")),
        };
        // The agent first, then the counts that follow from it, each a message of its own.
        Ok([change].into_iter().chain(self.pool(&pool).map(Change::Pool)).collect())
    }
}

/// The service. Clones share one state.
#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Only operators are served, and only when nothing else was scripted.
    fn enter<T>(&self, request: Request<T>, what: &str) -> Result<T, Status> {
        let Peer::Operator(operator) = Peer::of(&request)? else {
            return Err(Status::permission_denied("this port's verbs are for operators"));
        };
        let mut state = self.state();
        state.log.push(format!("{operator}: {what}"));
        match &state.refuse {
            Some(status) => Err(status.clone()),
            None => Ok(request.into_inner()),
        }
    }
}

impl Fake {
    /// Changes groups by the real rules, and refuses with the real codes.
    fn regroup(
        &self,
        pool: &str,
        change: impl FnOnce(&mut PoolSpec) -> Result<bool, GroupError>,
    ) -> Result<(bool, Option<v1::Pool>), Status> {
        let mut state = self.state();
        let found = state.pools.get_mut(pool).ok_or_else(|| no_pool(pool))?;
        let mut spec = PoolSpec::try_from(found.spec.clone().unwrap())?;
        let changed = change(&mut spec).map_err(|error| match &error {
            GroupError::Differs { .. } => Status::already_exists(error.to_string()),
            GroupError::Last { .. } => Status::failed_precondition(error.to_string()),
            GroupError::Unknown { .. } | GroupError::Spec(_) => {
                Status::invalid_argument(error.to_string())
            }
        })?;
        found.spec = Some(spec.into());
        Ok((changed, state.pool(pool)))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

fn no_pool(name: &str) -> Status {
    Status::not_found(format!("there is no pool {name}"))
}

const ORDER: Option<v1::Order> = Some(v1::Order { term: 1, generation: 8 });

#[tonic::async_trait]
impl FleetService for Fake {
    async fn create_pool(
        &self,
        request: Request<v1::CreatePoolRequest>,
    ) -> Answer<v1::CreatePoolResponse> {
        let request = self.enter(request, "create pool")?;
        let spec = request.spec.clone().unwrap();
        let mut state = self.state();
        if state.pools.contains_key(&spec.name) {
            return Err(Status::already_exists(format!("pool {} exists already", spec.name)));
        }
        state.created.push(request);
        state.put_pool(v1::Pool { spec: Some(spec.clone()), ..Default::default() });
        Ok(Response::new(v1::CreatePoolResponse { pool: state.pool(&spec.name) }))
    }

    async fn delete_pool(
        &self,
        request: Request<v1::DeletePoolRequest>,
    ) -> Answer<v1::DeletePoolResponse> {
        let request = self.enter(request, "delete pool")?;
        let v1::DeletePoolRequest { pool, force, reason } = request;
        let mut state = self.state();
        let found = state.pools.get_mut(&pool).ok_or_else(|| no_pool(&pool))?;
        let spec = found.spec.as_mut().unwrap();
        (spec.deleted, spec.replicas) = (true, 0);
        state.log.push(format!("force {force}, reason {reason:?}"));
        Ok(Response::new(v1::DeletePoolResponse { order: ORDER }))
    }

    async fn scale(&self, request: Request<v1::ScaleRequest>) -> Answer<v1::ScaleResponse> {
        let v1::ScaleRequest { pool, replicas, force, reason } = self.enter(request, "scale")?;
        let mut state = self.state();
        if force || !reason.is_empty() {
            state.log.push(format!("force {force}, reason {reason:?}"));
        }
        let found = state.pools.get_mut(&pool).ok_or_else(|| no_pool(&pool))?;
        let wanted = &mut found.spec.as_mut().unwrap().replicas;
        let before = std::mem::replace(wanted, u32::try_from(replicas).unwrap());
        let pool = state.pool(&pool);
        Ok(Response::new(v1::ScaleResponse { order: ORDER, before, pool }))
    }

    async fn add_group(
        &self,
        request: Request<v1::AddGroupRequest>,
    ) -> Answer<v1::AddGroupResponse> {
        let v1::AddGroupRequest { pool, group } = self.enter(request, "add group")?;
        let group = fleet_model::GroupSpec::try_from(group.unwrap()).unwrap();
        let (changed, pool) = self.regroup(&pool, |spec| spec.add_group(group))?;
        Ok(Response::new(v1::AddGroupResponse { order: ORDER, pool, changed }))
    }

    async fn remove_group(
        &self,
        request: Request<v1::RemoveGroupRequest>,
    ) -> Answer<v1::RemoveGroupResponse> {
        let v1::RemoveGroupRequest { pool, group } = self.enter(request, "remove group")?;
        let group = group.parse().unwrap();
        let (changed, pool) = self.regroup(&pool, |spec| spec.remove_group(&group, false))?;
        Ok(Response::new(v1::RemoveGroupResponse { order: ORDER, pool, changed }))
    }

    async fn tidy(&self, request: Request<v1::TidyRequest>) -> Answer<v1::TidyResponse> {
        let request = self.enter(request, "tidy")?;
        let mut state = self.state();
        state.log.push(format!("tidy {:?}, dry run {}", request.pool, request.dry_run));
        if !request.pool.is_empty() && !state.pools.contains_key(&request.pool) {
            return Err(Status::not_found(format!("there is no pool {}", request.pool)));
        }
        Ok(Response::new(v1::TidyResponse { pools: state.tidied.clone() }))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::ExplainResponse> {
        let about = self.enter(request, "explain")?.about.unwrap();
        let found = self.state().explain(&about);
        Ok(Response::new(found.ok_or_else(|| Status::not_found("there is no such thing"))?))
    }

    async fn restrain(
        &self,
        request: Request<v1::RestrainRequest>,
    ) -> Answer<v1::RestrainResponse> {
        let request = self.enter(request, "restrain")?;
        let restrained = self.state().restrain(&request)?;
        Ok(Response::new(v1::RestrainResponse { order: ORDER, restrained }))
    }

    async fn order_agent(
        &self,
        request: Request<v1::OrderAgentRequest>,
    ) -> Answer<v1::OrderAgentResponse> {
        let request = self.enter(request, "order agent")?;
        let mut state = self.state();
        let verb = request.verb().as_str_name();
        let time = request.quarantine_for.map(|time| time.seconds);
        state
            .log
            .push(format!("{verb} {}, {time:?} s, reason {:?}", request.agent, request.reason));
        let agent = state.agents.get(&request.agent).cloned();
        let missing = || Status::not_found(format!("there is no agent {}", request.agent));
        Ok(Response::new(v1::OrderAgentResponse { agent: Some(agent.ok_or_else(missing)?) }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Answer<v1::GetStatusResponse> {
        self.enter(request, "status")?;
        let state = self.state();
        Ok(Response::new(v1::GetStatusResponse {
            fleet: "labs".into(),
            version: "0.1.0".into(),
            order: ORDER,
            read_only: state.read_only.clone(),
            pools: state.all_pools(),
            hosts: state.all_hosts(),
            now: crate::samples::ago(std::time::Duration::ZERO),
        }))
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Answer<v1::ListPoolsResponse> {
        let name = self.enter(request, "list pools")?.pool;
        let state = self.state();
        let pools = match name.as_str() {
            "" => state.all_pools(),
            name => vec![state.pool(name).ok_or_else(|| no_pool(name))?],
        };
        Ok(Response::new(v1::ListPoolsResponse { pools }))
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Answer<v1::ListHostsResponse> {
        let name = self.enter(request, "list hosts")?.host;
        let missing = || Status::not_found(format!("there is no host {name}"));
        let state = self.state();
        let hosts = match name.as_str() {
            "" => state.all_hosts(),
            name => vec![state.host(name).ok_or_else(missing)?],
        };
        Ok(Response::new(v1::ListHostsResponse { hosts }))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Answer<v1::ListAgentsResponse> {
        let filter = self.enter(request, "list agents")?;
        let fits = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let state = self.state();
        let agents = state.agents.values().filter(|agent| {
            let status = agent.status.as_ref().unwrap();
            fits(&filter.pool, &status.pool)
                && fits(&filter.host, &agent.host)
                && fits(&filter.agent, &status.agent)
        });
        Ok(Response::new(v1::ListAgentsResponse { agents: agents.cloned().collect() }))
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let request = self.enter(request, "watch")?;
        let mut state = self.state();
        if !request.pool.is_empty() && !state.pools.contains_key(&request.pool) {
            return Err(no_pool(&request.pool));
        }
        let mut said: Vec<Result<Change, Status>> =
            state.present(&request).into_iter().map(Ok).collect();
        let mut open = true;
        for act in state.scripts.pop_front().unwrap_or_default() {
            match state.play(act) {
                Ok(changes) => said.extend(changes.into_iter().map(Ok)),
                Err(status) => {
                    said.push(Err(status));
                    open = false;
                }
            }
        }
        let said = tokio_stream::iter(said)
            .map(|change| change.map(|change| v1::WatchResponse { change: Some(change) }));
        let stream: Self::WatchStream = match open {
            true => Box::pin(said.chain(tokio_stream::pending())),
            false => Box::pin(said),
        };
        Ok(Response::new(stream))
    }

    type ListEventsStream = Answers<v1::ListEventsResponse>;

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Answer<Self::ListEventsStream> {
        let request = self.enter(request, "events")?;
        let fits = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let events: Vec<v1::Event> = self
            .state()
            .events
            .iter()
            .filter(|e| e.seq > request.after_seq)
            .filter(|e| fits(&request.pool, &e.pool) && fits(&request.agent, &e.agent))
            .cloned()
            .collect();
        let newest = match request.limit {
            0 => &events[..],
            limit => &events[events.len().saturating_sub(limit as usize)..],
        };
        let said: Vec<_> = newest.iter().cloned().map(Some).collect();
        let mut said: Vec<Result<_, Status>> =
            said.into_iter().map(|event| Ok(v1::ListEventsResponse { event })).collect();
        // The first follower is cut off, so that the second has to go on where it stood.
        if request.follow && request.after_seq == 0 {
            said.push(Err(Status::unavailable("shutting down")));
        }
        let said = tokio_stream::iter(said);
        Ok(Response::new(match request.follow {
            true => Box::pin(said.chain(tokio_stream::pending())),
            false => Box::pin(said),
        }))
    }

    type LogsStream = Answers<v1::LogsResponse>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let request = self.enter(request, "logs")?;
        let mut state = self.state();
        if !state.agents.contains_key(&request.agent) {
            return Err(Status::not_found(format!("there is no agent {}", request.agent)));
        }
        let v1::LogsRequest { follow, tail, since, .. } = request;
        state.log.push(format!("follow {follow}, tail {tail:?}, since {}", since.is_some()));
        if since.is_some() && follow && !state.then.is_empty() {
            let lines = state.then.remove(0).inspect_err(|status| {
                if status.code() == tonic::Code::NotFound {
                    state.agents.remove(&request.agent);
                }
            })?;
            let said = tokio_stream::iter([Ok(v1::LogsResponse { lines })]);
            return Ok(Response::new(match state.then.is_empty() {
                true => Box::pin(said),
                false => Box::pin(said.chain(tokio_stream::iter([Err(lost())]))),
            }));
        }
        let broken = state.broken.clone();
        let said = state.lines.clone().into_iter().map(|line| Ok(vec![line]));
        let said: Vec<Result<_, Status>> = said.chain(broken.clone().map(Err)).collect();
        let said =
            tokio_stream::iter(said).map(|lines| lines.map(|lines| v1::LogsResponse { lines }));
        Ok(Response::new(match follow && broken.is_none() {
            true => Box::pin(said.chain(tokio_stream::pending())),
            false => Box::pin(said),
        }))
    }

    async fn invite_host(
        &self,
        request: Request<v1::InviteHostRequest>,
    ) -> Answer<v1::InviteHostResponse> {
        let request = self.enter(request, "invite host")?;
        let length = request.valid_for.map_or(600, |d| u64::try_from(d.seconds).unwrap());
        let v1::InviteHostRequest { host, lab, labels, .. } = request;
        self.state().log.push(format!("{host} {lab} {labels:?} {length}"));
        Ok(Response::new(v1::InviteHostResponse {
            token: "fleet-join-0123456789abcdef".into(),
            expires: crate::samples::ahead(std::time::Duration::from_secs(length)),
            enroll_endpoint: "coordinator.example:7444".into(),
            ca_pin: "ab".repeat(32),
        }))
    }

    async fn remove_host(
        &self,
        request: Request<v1::RemoveHostRequest>,
    ) -> Answer<v1::RemoveHostResponse> {
        let v1::RemoveHostRequest { host, force } = self.enter(request, "remove host")?;
        let mut state = self.state();
        let found = state.hosts.get(&host);
        let found = found.ok_or_else(|| Status::not_found(format!("there is no host {host}")))?;
        if !force && found.state() == v1::HostState::Ready {
            return Err(Status::failed_precondition(format!(
                "{host} is in session with 3 agents; drain it, or repeat with --force"
            )));
        }
        state.hosts.remove(&host);
        Ok(Response::new(v1::RemoveHostResponse {}))
    }

    async fn set_credential(
        &self,
        request: Request<v1::SetCredentialRequest>,
    ) -> Answer<v1::SetCredentialResponse> {
        self.enter(request, "set credential")?;
        Err(Status::unimplemented("not part of these tests"))
    }
}

fn lost() -> Status {
    Status::unavailable("host h was lost: its session ended; `agentctl get hosts` shows more")
}
