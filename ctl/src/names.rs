//! Names that were meant: what to say when one does not exist.

use std::collections::BTreeSet;

use fleet_proto::v1;
use tonic::{Code, Status};

use crate::{connect::Session, error::Failure};

/// How many names an error lists.
const LISTED: usize = 8;
/// Letters that may be wrong in a name for it to be suggested.
const TYPOS: usize = 3;

/// What a name is looked for among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pool,
    Host,
    HostOrPool,
    Any,
    Lab,
    Agent,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Host => "host",
            Self::HostOrPool => "host or pool",
            Self::Any => "pool, host or agent",
            Self::Lab => "lab",
            Self::Agent => "agent",
        }
    }
}

/// Makes one call about the thing `name`; when there is no such thing, the error says which there
/// are.
///
/// # Errors
/// Whatever went wrong, explained.
pub(crate) async fn ask_about<T>(
    session: &Session,
    (kind, name): (Kind, &str),
    what: &str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Failure> {
    match session.within_limit(call).await {
        Ok(answer) => Ok(answer),
        Err(status) if status.code() == Code::NotFound => {
            Err(unknown(session, kind, name, &format!("cannot {what}")).await)
        }
        Err(status) => Err(session.explain(what, status).await),
    }
}

/// There is no `kind` called `name`.
pub(crate) async fn unknown(session: &Session, kind: Kind, name: &str, what: &str) -> Failure {
    // The names only make the error better; without them it is still the same error.
    let names = known(session, kind).await.unwrap_or_default();
    let failure = Failure::error(what).because(format!("there is no {} {name:?}", kind.word()));
    advice(kind, name, &names).into_iter().fold(failure, Failure::next)
}

/// All names of a kind.
///
/// # Errors
/// When the coordinator does not say.
pub(crate) async fn known(session: &Session, kind: Kind) -> Result<Vec<String>, Failure> {
    let mut client = session.client();
    Ok(match kind {
        Kind::Pool => {
            let call = client.list_pools(v1::ListPoolsRequest::default());
            let pools = session.ask("list pools", call).await?.pools;
            pools.into_iter().filter_map(|p| p.spec).map(|s| s.name).collect()
        }
        Kind::Host => {
            let call = client.list_hosts(v1::ListHostsRequest::default());
            session.ask("list hosts", call).await?.hosts.into_iter().map(|h| h.name).collect()
        }
        Kind::HostOrPool => {
            let call = client.get_status(v1::GetStatusRequest::default());
            let status = session.ask("list hosts and pools", call).await?;
            let pools = status.pools.into_iter().filter_map(|p| p.spec).map(|s| s.name);
            status.hosts.into_iter().map(|h| h.name).chain(pools).collect()
        }
        Kind::Any => {
            let call = client.get_status(v1::GetStatusRequest::default());
            let status = session.ask("list pools and hosts", call).await?;
            let call = client.list_agents(v1::ListAgentsRequest::default());
            let agents = session.ask("list agents", call).await?.agents;
            let pools = status.pools.into_iter().filter_map(|p| p.spec).map(|s| s.name);
            let hosts = status.hosts.into_iter().map(|h| h.name);
            let agents = agents.into_iter().filter_map(|a| a.status).map(|s| s.agent);
            pools.chain(hosts).chain(agents).collect()
        }
        Kind::Lab => {
            let call = client.list_hosts(v1::ListHostsRequest::default());
            let hosts = session.ask("list hosts", call).await?.hosts;
            let labs: BTreeSet<String> = hosts.into_iter().map(|host| host.lab).collect();
            labs.into_iter().filter(|lab| !lab.is_empty()).collect()
        }
        Kind::Agent => {
            let call = client.list_agents(v1::ListAgentsRequest::default());
            let agents = session.ask("list agents", call).await?.agents;
            agents.into_iter().filter_map(|a| a.status).map(|s| s.agent).collect()
        }
    })
}

fn advice(kind: Kind, name: &str, names: &[String]) -> Vec<String> {
    let word = match kind {
        Kind::HostOrPool => "hosts and pool",
        Kind::Any => "name",
        one => one.word(),
    };
    if names.is_empty() {
        return vec![match kind {
            Kind::Pool => "there is no pool yet; make one with `agentctl pool create`".into(),
            Kind::Host | Kind::HostOrPool | Kind::Any => {
                "there is no host yet; invite one with `agentctl host invite`".into()
            }
            Kind::Lab => {
                "no host is in a lab yet; invite one with `agentctl host invite HOST --lab LAB`"
                    .into()
            }
            Kind::Agent => "there is no agent yet; `agentctl scale POOL N` starts some".into(),
        }];
    }
    let meant = closest(name, names).map(|close| format!("did you mean {close}?"));
    let listed = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    meant.into_iter().chain([format!("known {word}s: {listed}{more}")]).collect()
}

fn closest<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    names
        .iter()
        .map(|known| (strsim::osa_distance(&lower, &known.to_lowercase()), known.as_str()))
        // A short name differs from every other by few letters: at most a third may be wrong.
        .filter(|(typos, known)| *typos <= TYPOS.min(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn a_typing_error_gets_a_suggestion() {
        let pools = names(&["nightly", "nightly-svc", "nightly-tk5"]);
        for (typed, meant) in [
            ("nigthly-svc", Some("nightly-svc")),
            ("NIGHTLY", Some("nightly")),
            ("nightly-svk", Some("nightly-svc")),
            ("weekly", None),
            ("x", None),
        ] {
            assert_eq!(closest(typed, &pools), meant, "{typed}");
        }
    }

    #[test]
    fn long_lists_are_cut_and_an_empty_one_says_how_to_begin() {
        let many: Vec<String> = (0..10).map(|n| format!("pool-{n}")).collect();
        let said = advice(Kind::Pool, "zzzzzzzz", &many);
        assert!(said[0].ends_with("pool-7 and 2 more"), "{said:?}");
        assert!(advice(Kind::Host, "x", &[])[0].contains("host invite"));
    }
}
