//! A scripted host: it speaks the contract and does what the test says.

use std::sync::Arc;

use arc_swap::ArcSwap;
use fleet_model::{
    AgentStatus, Assignment, At, HostFacts, HostName, HostReport, Intent, Order, Phase,
    RuntimeKind, Wanted,
};
use fleet_proto::{
    convert::Hello,
    pki,
    tls::{self, Identity},
    v1::{
        self, enroll_service_client::EnrollServiceClient, host_service_client::HostServiceClient,
        session_request, session_response,
    },
};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::support::{Bench, LIMIT, channel};

/// A host with its identity.
pub(crate) struct Host {
    pub(crate) name: HostName,
    pub(crate) key: SecretString,
    pub(crate) certificate: String,
    pub(crate) ca: String,
    pub(crate) instance: String,
    pub(crate) highest: Order,
}

/// Its session.
pub(crate) struct Session {
    outgoing: mpsc::Sender<v1::SessionRequest>,
    incoming: Streaming<v1::SessionResponse>,
    /// The connection that it is on.
    pub(crate) client: HostServiceClient<Channel>,
    /// Secrets that came before the last assignment.
    pub(crate) secrets: Vec<v1::Credential>,
}

/// The enrolment port, trusted by pin only.
pub(crate) fn enrolment(bench: &Bench) -> EnrollServiceClient<Channel> {
    let config = tls::client_config_pinned(&bench.pin).expect("a pin");
    let endpoint = bench.running().addresses.enroll_listen.to_string();
    let channel = tls::channel(&endpoint, "127.0.0.1", Arc::new(ArcSwap::new(config)), None);
    EnrollServiceClient::new(channel.expect("a channel"))
}

pub(crate) async fn join(
    bench: &Bench,
    host: &str,
    token: &str,
) -> Result<(SecretString, v1::JoinResponse), Status> {
    let name: HostName = host.parse().expect("a host name");
    let (key, csr_pem) = pki::key_and_csr(&name).expect("a key");
    let request = v1::JoinRequest { host: host.into(), token: token.as_bytes().to_vec(), csr_pem };
    Ok((key, enrolment(bench).join(request).await?.into_inner()))
}

impl Host {
    /// Invites and joins it.
    pub(crate) async fn join(bench: &mut Bench, name: &str, lab: &str) -> Self {
        let invitation = bench.invite(name, lab).await;
        let (key, joined) = join(bench, name, &invitation.token).await.expect("it joins");
        Self {
            name: name.parse().expect("a host name"),
            key,
            certificate: joined.certificate_pem,
            ca: joined.ca_pem,
            instance: "first".into(),
            highest: Order::default(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.certificate.clone(), self.key.clone())
    }

    pub(crate) fn client(&self, bench: &Bench) -> HostServiceClient<Channel> {
        HostServiceClient::new(channel(bench.running(), &self.identity(), &self.ca))
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            host: self.name.clone(),
            instance_id: self.instance.clone(),
            highest: self.highest,
            facts: HostFacts {
                runtimes: [RuntimeKind::Docker].into(),
                version: "0.1.0".into(),
                boot_id: "boot".into(),
                engine: "scripted".into(),
                ..HostFacts::default()
            },
        }
    }

    /// Opens a stream and says Hello; what comes of it is the test's business.
    pub(crate) async fn dial(&self, bench: &Bench, hello: Hello) -> Result<Session, Status> {
        let (outgoing, messages) = mpsc::channel(64);
        let hello = session_request::Message::Hello(hello.into());
        outgoing
            .send(v1::SessionRequest { message: Some(hello) })
            .await
            .expect("a new channel has room");
        let mut client = self.client(bench);
        let opened = client.session(ReceiverStream::new(messages)).await?;
        Ok(Session { outgoing, incoming: opened.into_inner(), client, secrets: Vec::new() })
    }

    /// A session that was welcomed.
    pub(crate) async fn open(&self, bench: &Bench) -> Session {
        let mut session = self.dial(bench, self.hello()).await.expect("a stream");
        let welcome = session.next().await.expect("welcomed");
        assert!(matches!(welcome, session_response::Message::Welcome(_)), "{welcome:?}");
        session
    }

    /// A session of a host that keeps nothing yet.
    pub(crate) async fn open_empty(&self, bench: &Bench) -> Session {
        let session = self.open(bench).await;
        session
            .report(&HostReport { full: true, applied: self.highest, ..HostReport::default() })
            .await;
        session
    }
}

impl Session {
    pub(crate) async fn send(&self, message: session_request::Message) {
        let request = v1::SessionRequest { message: Some(message) };
        // A session that was ended in between does not take it; the test sees that by reading.
        let _ = self.outgoing.send(request).await;
    }

    pub(crate) async fn report(&self, report: &HostReport) {
        self.send(session_request::Message::Report(report.clone().into())).await;
    }

    pub(crate) async fn beat(&self, applied: Order) {
        let beat = v1::HostHeartbeat { applied: Some(applied.into()) };
        self.send(session_request::Message::Heartbeat(beat)).await;
    }

    /// The next message that is not a heartbeat, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<session_response::Message, Status> {
        let next = async {
            loop {
                let Some(response) = self.incoming.message().await? else {
                    return Err(Status::cancelled("the stream ended"));
                };
                match response.message {
                    Some(session_response::Message::Heartbeat(_)) | None => {}
                    Some(message) => return Ok(message),
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("a message in time")
    }

    /// The next heartbeat's order.
    pub(crate) async fn heartbeat(&mut self) -> Order {
        let next = async {
            loop {
                let response = self.incoming.message().await.expect("goes on").expect("goes on");
                if let Some(session_response::Message::Heartbeat(beat)) = response.message {
                    return beat.newest.map(Order::from).unwrap_or_default();
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("a heartbeat in time")
    }

    /// The next assignment; secrets on the way are kept.
    pub(crate) async fn assignment(&mut self) -> Assignment {
        loop {
            match self.next().await.expect("the session goes on") {
                session_response::Message::Assignment(assignment) => {
                    return assignment.try_into().expect("a readable assignment");
                }
                session_response::Message::Credential(secret) => self.secrets.push(secret),
                _ => {}
            }
        }
    }

    /// The next assignment that has so many agents of the pool.
    pub(crate) async fn assigned(&mut self, pool: &str, replicas: u32) -> Assignment {
        loop {
            let assignment = self.assignment().await;
            if assignment.pools.get(pool).is_some_and(|part| part.replicas() == replicas) {
                return assignment;
            }
        }
    }

    /// How the session ends.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// Nothing but heartbeats comes in this time.
    pub(crate) async fn nothing_but_beats(&mut self, beats: usize) {
        for _ in 0..beats {
            let response = tokio::time::timeout(LIMIT, self.incoming.message()).await;
            let response = response.expect("in time").expect("goes on").expect("goes on");
            let beat = matches!(response.message, Some(session_response::Message::Heartbeat(_)));
            assert!(beat, "{response:?}");
        }
    }
}

/// What a host reports that has just what it was told to keep.
pub(crate) fn keeps(host: &HostName, assignment: &Assignment, phase: Phase) -> HostReport {
    let mut agents = Vec::new();
    for (pool, part) in &assignment.pools {
        let Wanted::Groups(groups) = &part.wanted else { continue };
        for (group, wanted) in groups {
            for _ in 0..wanted.replicas {
                let slot = u16::try_from(agents.len()).expect("few agents") + 1;
                let name = fleet_model::AgentName::for_slot(&part.prefix, host, slot);
                agents.push(AgentStatus {
                    agent: name.expect("a name"),
                    pool: pool.clone(),
                    group: group.clone(),
                    slot,
                    runtime: RuntimeKind::Docker,
                    attempt: 1,
                    phase,
                    since: At(1_000),
                    intent: Intent::Keep,
                    job: None,
                    why: String::new(),
                    agent_id: None,
                    placeholder: false,
                    quarantine: None,
                    disk_bytes: None,
                });
            }
        }
    }
    HostReport { full: true, applied: assignment.order, agents, ..HostReport::default() }
}

/// Heartbeats in which something would have come; used only to show that nothing does.
pub(crate) const BEATS: usize = 3;
