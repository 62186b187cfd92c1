//! Orders for single agents: from an operator through a scripted host's session and back.

use fleet_model::Phase;
use fleet_proto::v1::{self, command::Command, session_request, session_response};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Status};

use crate::{
    host::{Host, Session, keeps},
    support::{Bench, LIMIT, NO_AZURE},
};

const AGENT: &str = "nightly-h1-01";

/// A host in session with one agent, and another host beside it.
async fn fleet() -> (Bench, Session, Session) {
    let mut bench = Bench::start().await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    let other = Host::join(&mut bench, "h2", "str").await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let mut session = host.open_empty(&bench).await;
    let beside = other.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 1).await.expect("scaled");
    let assignment = session.assigned("nightly", 1).await;
    session.report(&keeps(&host.name, &assignment, Phase::Idle)).await;
    bench.wait_host("h1", |host| host.agents == 1).await;
    (bench, session, beside)
}

type Answer = JoinHandle<Result<v1::OrderAgentResponse, Status>>;

/// An operator asks, and waits.
fn ask(bench: &Bench, verb: v1::AgentVerb, agent: &str) -> Answer {
    let request = v1::OrderAgentRequest {
        agent: agent.into(),
        verb: verb.into(),
        reason: "odd".into(),
        quarantine_for: None,
    };
    let mut operator = bench.operator.clone();
    tokio::spawn(async move { operator.order_agent(request).await.map(|a| a.into_inner()) })
}

async fn answered(answer: Answer) -> Result<v1::OrderAgentResponse, Status> {
    timeout(LIMIT, answer).await.expect("in time").expect("no panic")
}

/// What the host is told.
async fn told(session: &mut Session) -> v1::AgentOrder {
    loop {
        let message = timeout(LIMIT, session.next()).await.expect("in time").expect("a message");
        if let session_response::Message::Command(command) = message
            && let Some(Command::AgentOrder(order)) = command.command
        {
            return order;
        }
    }
}

async fn done(session: &Session, id: u64, refused: &str) {
    let done = v1::AgentOrderDone { id, refused: refused.into() };
    session.send(session_request::Message::AgentOrderDone(done)).await;
}

#[tokio::test]
async fn an_order_reaches_its_host_and_stands_in_the_history_when_that_has_taken_it() {
    let (mut bench, mut session, _beside) = fleet().await;
    let answer = ask(&bench, v1::AgentVerb::Quarantine, AGENT);
    let order = told(&mut session).await;
    assert_eq!((order.agent.as_str(), order.verb()), (AGENT, v1::AgentVerb::Quarantine));
    assert_eq!((order.by.as_str(), order.reason.as_str()), ("ann", "odd"));
    assert_eq!(order.quarantine_for.expect("the usual time").seconds, 24 * 3600);
    assert!(bench.history().await.iter().all(|event| event.kind != "agent.quarantine"));
    done(&session, order.id, "").await;
    let agent = answered(answer).await.expect("taken").agent.expect("the agent");
    assert_eq!(agent.status.expect("its status").agent, AGENT);
    let event = bench.wait_event("agent.quarantine").await;
    assert_eq!((event.actor.as_str(), event.agent.as_str()), ("ann", AGENT));
    assert!(event.message.contains("for 24.0 h, was Idle: odd"), "{}", event.message);
}

#[tokio::test]
async fn a_refusal_of_the_host_is_the_answer_and_only_its_own_counts() {
    let (mut bench, mut session, beside) = fleet().await;
    let answer = ask(&bench, v1::AgentVerb::Release, AGENT);
    let order = told(&mut session).await;
    // Another host cannot answer for it.
    done(&beside, order.id, "").await;
    bench.wait_host("h2", |host| host.state == v1::HostState::Ready as i32).await;
    done(&session, order.id, "nightly-h1-01 is not in quarantine").await;
    let refused = answered(answer).await.expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("is not in quarantine"), "{refused}");
    assert!(bench.history().await.iter().all(|event| event.kind != "agent.release"));
}

#[tokio::test]
async fn an_agent_that_is_unknown_or_out_of_reach_is_said_to_be() {
    let (mut bench, mut session, _beside) = fleet().await;
    for odd in ["nightly-h1-77", "no name at all"] {
        let refused = answered(ask(&bench, v1::AgentVerb::Restart, odd)).await;
        assert_eq!(refused.expect_err("unknown").code(), Code::NotFound, "{odd}");
    }
    // Lost in the middle: whether it was taken is not known here.
    let answer = ask(&bench, v1::AgentVerb::Restart, AGENT);
    told(&mut session).await;
    drop(session);
    let lost = answered(answer).await.expect_err("lost");
    assert_eq!(lost.code(), Code::Unavailable);
    assert!(lost.message().contains("was lost before it answered"), "{lost}");
    bench.wait_host("h1", |host| host.state != v1::HostState::Ready as i32).await;
    let away = answered(ask(&bench, v1::AgentVerb::Restart, AGENT)).await.expect_err("away");
    assert_eq!(away.code(), Code::Unavailable);
    assert!(away.message().contains("systemctl status hostd"), "{away}");
    let verb = answered(ask(&bench, v1::AgentVerb::Unspecified, AGENT)).await;
    assert_eq!(verb.expect_err("no verb").code(), Code::InvalidArgument);
}
