//! Why something is as it is, asked over the wire.

use fleet_model::Phase;
use fleet_proto::v1::{self, explain_request::About};
use tonic::Code;

use crate::{
    host::{Host, keeps},
    support::{Bench, NO_AZURE},
};

async fn why(bench: &mut Bench, about: About) -> Result<v1::ExplainResponse, tonic::Status> {
    let request = v1::ExplainRequest { about: Some(about) };
    bench.operator.explain(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_pool_a_host_and_an_agent_say_on_what_they_hang() {
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", NO_AZURE).await;
    let host = Host::join(&mut bench, "h1", "svc").await;
    Host::join(&mut bench, "h2", "str").await;
    let mut session = host.open_empty(&bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 2).await.expect("scaled");
    let assignment = session.assigned("nightly", 2).await;
    session.report(&keeps(&host.name, &assignment, Phase::Idle)).await;
    bench.wait_host("h1", |host| host.agents == 2).await;

    let of_pool = why(&mut bench, About::Name("nightly".into())).await.expect("an answer");
    let share = |host: &str, count: u32, refusal: &str| v1::Share {
        pool: "nightly".into(),
        group: "default".into(),
        host: host.into(),
        placed: count,
        told: count,
        there: count,
        refusal: refusal.into(),
    };
    let (first, second) = (share("h1", 2, ""), share("h2", 0, "label lab=svc is not met"));
    assert_eq!(of_pool.shares, [first.clone(), second.clone()]);
    assert_eq!((of_pool.pools.len(), of_pool.hosts.len(), of_pool.agents.len()), (1, 1, 0));

    let of_host = why(&mut bench, About::Host("h2".into())).await.expect("an answer");
    assert_eq!((of_host.shares, of_host.hosts.len()), (vec![second], 1));

    let of_agent = why(&mut bench, About::Name("nightly-h1-02".into())).await.expect("an answer");
    assert_eq!(of_agent.shares, [first]);
    assert_eq!((of_agent.pools.len(), of_agent.hosts.len(), of_agent.agents.len()), (1, 1, 1));

    for (about, code, part) in [
        (About::Name("nigthly".into()), Code::NotFound, "no pool, host or agent \"nigthly\""),
        (About::Agent("nightly-h1-03".into()), Code::NotFound, "no agent"),
        (About::Name(String::new()), Code::InvalidArgument, "name a pool, a host or an agent"),
    ] {
        let refused = why(&mut bench, about).await.expect_err(part);
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(part), "{} should say {part:?}", refused.message());
    }
}
