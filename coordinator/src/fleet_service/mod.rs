//! `FleetService`: what agentctl speaks. Each method reads the message, asks the loop, and says the
//! answer; what is allowed and what follows is decided there.

mod create;
mod explain;
mod groups;
mod history;
mod invite;
mod logs;
mod restrain;
mod watch;

use std::sync::Arc;

use fleet_model::{AgentOrder, Reason};
use fleet_proto::{
    convert::{WireError, agent_verb},
    pki::Ca,
    v1::{self, fleet_service_server::FleetService},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    azure::AzureSettings,
    clock::Clock,
    credentials::Vault,
    fleet_loop::{Denied, Filter, FleetHandle, Insist, Request as Ask},
    logs::LogDesk,
    places::Places,
    status::operator,
    store::Store,
};

/// Messages on their way to one operator. What could be more is coalesced or paged behind it.
const ON_THE_WAY: usize = 16;

/// What the methods need.
pub(crate) struct Shared {
    pub(crate) handle: FleetHandle,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) clock: Clock,
    pub(crate) places: Places,
    pub(crate) azure: AzureSettings,
    pub(crate) logs: Arc<LogDesk>,
    pub(crate) stop: CancellationToken,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Operators(pub(crate) Arc<Shared>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FleetService for Operators {
    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;
    type ListEventsStream = ReceiverStream<Result<v1::ListEventsResponse, Status>>;
    type LogsStream = ReceiverStream<Result<v1::LogsResponse, Status>>;

    async fn create_pool(
        &self,
        request: Request<v1::CreatePoolRequest>,
    ) -> Answer<v1::CreatePoolResponse> {
        let by = operator(&request)?;
        let pool = create::create(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(v1::CreatePoolResponse { pool: Some(pool) }))
    }

    async fn delete_pool(
        &self,
        request: Request<v1::DeletePoolRequest>,
    ) -> Answer<v1::DeletePoolResponse> {
        let by = operator(&request)?;
        let v1::DeletePoolRequest { pool, force, reason } = request.into_inner();
        let insist = insist(force, &reason)?;
        let ask = |reply| Ask::DeletePool { pool, insist, by, reply };
        let order = self.0.handle.ask(ask).await?;
        Ok(Response::new(v1::DeletePoolResponse { order: Some(order.into()) }))
    }

    async fn scale(&self, request: Request<v1::ScaleRequest>) -> Answer<v1::ScaleResponse> {
        let by = operator(&request)?;
        let v1::ScaleRequest { pool, replicas, force, reason } = request.into_inner();
        let insist = insist(force, &reason)?;
        let ask = |reply| Ask::Scale { pool, replicas, insist, by, reply };
        let done = self.0.handle.ask(ask).await?;
        Ok(Response::new(v1::ScaleResponse {
            order: Some(done.order.into()),
            before: done.before,
            pool: Some(done.pool),
        }))
    }

    async fn add_group(
        &self,
        request: Request<v1::AddGroupRequest>,
    ) -> Answer<v1::AddGroupResponse> {
        let by = operator(&request)?;
        Ok(Response::new(groups::add(&self.0, request.into_inner(), by).await?))
    }

    async fn remove_group(
        &self,
        request: Request<v1::RemoveGroupRequest>,
    ) -> Answer<v1::RemoveGroupResponse> {
        let by = operator(&request)?;
        Ok(Response::new(groups::remove(&self.0, request.into_inner(), by).await?))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Answer<v1::GetStatusResponse> {
        operator(&request)?;
        Ok(Response::new(self.0.handle.ask(|reply| Ask::Status { reply }).await?))
    }

    async fn list_pools(
        &self,
        request: Request<v1::ListPoolsRequest>,
    ) -> Answer<v1::ListPoolsResponse> {
        operator(&request)?;
        let pool = given(request.into_inner().pool);
        let pools = self.0.handle.ask(|reply| Ask::Pools { pool, reply }).await?;
        Ok(Response::new(v1::ListPoolsResponse { pools }))
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Answer<v1::ListHostsResponse> {
        operator(&request)?;
        let host = given(request.into_inner().host);
        let hosts = self.0.handle.ask(|reply| Ask::Hosts { host, reply }).await?;
        Ok(Response::new(v1::ListHostsResponse { hosts }))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Answer<v1::ListAgentsResponse> {
        operator(&request)?;
        let v1::ListAgentsRequest { pool, host, agent } = request.into_inner();
        let filter = Filter { pool: given(pool), host: given(host), agent: given(agent) };
        let agents = self.0.handle.ask(|reply| Ask::Agents { filter, reply }).await?;
        Ok(Response::new(v1::ListAgentsResponse { agents }))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        operator(&request)?;
        Ok(Response::new(watch::watch(&self.0, request.into_inner()).await?))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Answer<Self::ListEventsStream> {
        operator(&request)?;
        Ok(Response::new(history::list(&self.0, request.into_inner())?))
    }

    async fn invite_host(
        &self,
        request: Request<v1::InviteHostRequest>,
    ) -> Answer<v1::InviteHostResponse> {
        let by = operator(&request)?;
        Ok(Response::new(invite::invite(&self.0, request.into_inner(), by).await?))
    }

    async fn remove_host(
        &self,
        request: Request<v1::RemoveHostRequest>,
    ) -> Answer<v1::RemoveHostResponse> {
        let by = operator(&request)?;
        let v1::RemoveHostRequest { host, force } = request.into_inner();
        self.0.handle.ask(|reply| Ask::RemoveHost { host, force, by, reply }).await?;
        Ok(Response::new(v1::RemoveHostResponse {}))
    }

    async fn set_credential(
        &self,
        request: Request<v1::SetCredentialRequest>,
    ) -> Answer<v1::SetCredentialResponse> {
        let by = operator(&request)?;
        let credential = create::set_credential(&self.0, request.into_inner(), by).await?;
        Ok(Response::new(v1::SetCredentialResponse { credential: Some(credential.into()) }))
    }

    async fn order_agent(
        &self,
        request: Request<v1::OrderAgentRequest>,
    ) -> Answer<v1::OrderAgentResponse> {
        let by = operator(&request)?;
        let v1::OrderAgentRequest { agent, verb, reason, quarantine_for } = request.into_inner();
        let verb = agent_verb(verb, quarantine_for)?;
        // A name that can be none is the name of no agent.
        let agent = agent.parse().map_err(|_| Denied::UnknownAgent(agent))?;
        let order = AgentOrder { agent, verb, by, reason: said(&reason)? };
        let agent = self.0.handle.ask(|reply| Ask::OrderAgent { order, reply }).await?;
        Ok(Response::new(v1::OrderAgentResponse { agent: Some(agent) }))
    }

    async fn tidy(&self, request: Request<v1::TidyRequest>) -> Answer<v1::TidyResponse> {
        let by = operator(&request)?;
        let v1::TidyRequest { pool, dry_run } = request.into_inner();
        let pool = given(pool);
        let pools = self.0.handle.ask(|reply| Ask::Tidy { pool, dry_run, by, reply }).await?;
        Ok(Response::new(v1::TidyResponse { pools }))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::ExplainResponse> {
        operator(&request)?;
        let about = explain::about(request.into_inner())?;
        Ok(Response::new(self.0.handle.ask(|reply| Ask::Explain { about, reply }).await?))
    }

    async fn restrain(
        &self,
        request: Request<v1::RestrainRequest>,
    ) -> Answer<v1::RestrainResponse> {
        let by = operator(&request)?;
        Ok(Response::new(restrain::restrain(&self.0, request.into_inner(), by).await?))
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let by = operator(&request)?;
        Ok(Response::new(logs::open(&self.0, request.into_inner(), &by).await?))
    }
}

/// The empty text stands for "not given".
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A force without a reason would leave nothing to those who look for their agents later.
fn insist(force: bool, reason: &str) -> Result<Insist, Status> {
    let reason = match said(reason)? {
        None if force => Some(parsed("")?),
        reason => reason,
    };
    Ok(Insist { force, reason })
}

/// A reason, if one was given.
fn said(reason: &str) -> Result<Option<Reason>, WireError> {
    if reason.is_empty() { Ok(None) } else { parsed(reason).map(Some) }
}

fn parsed(reason: &str) -> Result<Reason, WireError> {
    reason.parse().map_err(|error| WireError::new("reason", error))
}
