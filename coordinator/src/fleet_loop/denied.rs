//! Why the loop refuses something: with the cause and what to do next, in plain words.

use fleet_model::{HostName, Order, PoolName, numbers::REPLICAS_MAX};

use crate::store::StoreError;

/// See the module. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// There is no such pool.
    #[error("there is no pool {pool:?}; {}", list("pools", known, "agentctl pool create"))]
    UnknownPool {
        /// As asked.
        pool: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no such host.
    #[error("there is no host {host:?}; {}", list("hosts", known, "agentctl host invite"))]
    UnknownHost {
        /// As asked.
        host: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is nothing of that name that could be explained.
    #[error(
        "there is no pool, host or agent {0:?}; `agentctl status` and `agentctl get agents` list them"
    )]
    Nothing(String),
    /// No host is in such a lab.
    #[error(
        "no host is in lab {lab:?}; {}",
        list("labs", known, "agentctl host invite HOST --lab LAB")
    )]
    UnknownLab {
        /// As asked.
        lab: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is nothing of that name that could be held back.
    #[error(
        "there is neither a host nor a pool {name:?}; {}",
        list("names", known, "agentctl host invite")
    )]
    NeitherHostNorPool {
        /// As asked.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No host keeps such an agent.
    #[error("there is no agent {0:?}; `agentctl get agents` lists them all")]
    UnknownAgent(String),
    /// Only the host could do it, and it is not in session.
    #[error("host {host} is not in session (last heard of at {heard}); {instead}")]
    HostAway {
        /// The host.
        host: HostName,
        /// When it last said something (RFC 3339); or that it never did.
        heard: String,
        /// What to do on the host.
        instead: String,
    },
    /// The host was asked, and its session ended before it answered.
    #[error(
        "host {0} was lost before it answered; `agentctl get agents --host {0}` shows what became of it, and it may be asked again"
    )]
    HostLost(HostName),
    /// The number makes no sense.
    #[error(
        "{0} is not a number of agents that a pool can have; give one from 0 to {REPLICAS_MAX}"
    )]
    Replicas(i64),
    /// The request itself is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    /// The name is taken.
    #[error("{0}")]
    Exists(String),
    /// It cannot be done as things stand; the text says what has to be done first.
    #[error("{0}")]
    NotNow(String),
    /// Who asks is not admitted; the text says why.
    #[error("{0}")]
    NotAdmitted(String),
    /// A host took an order that this store never gave.
    #[error(
        "the coordinator is read-only: host {host} has taken order {seen}, but this store knows nothing after {own}, so it is empty or old; restore the newest backup, or stop the coordinator and run `coordinator recover`, which takes over what the hosts run"
    )]
    ReadOnly {
        /// The host that is ahead.
        host: HostName,
        /// The order it took.
        seen: Order,
        /// Our newest.
        own: Order,
    },
    /// Hosts are asked what they run.
    #[error(
        "the coordinator is taking over what its hosts run ({waiting} have not reported yet); try again in a minute"
    )]
    Adopting {
        /// Hosts still to report.
        waiting: usize,
    },
    /// Another session of that host is alive.
    #[error(
        "host {0} is in session from another place; two machines must not share one identity: stop the other one, or invite this one under a name of its own"
    )]
    SecondInstance(HostName),
    /// The pool goes.
    #[error("pool {0} is being deleted; wait until it is gone, then create it anew")]
    BeingDeleted(PoolName),
    /// The store failed. Nothing was changed.
    #[error("the coordinator could not store the change: {0}")]
    Store(String),
    /// The coordinator is ending, or has too much to do.
    #[error("the coordinator is {0}; try again")]
    Away(&'static str),
}

impl Denied {
    /// The store's error with its causes, for somebody who does not see the log.
    pub(crate) fn store(error: &StoreError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self::Store(text)
    }
}

fn list(what: &str, names: &[String], make: &str) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return format!("there are none yet; `{make}` makes one");
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the {what} are {shown}{tail}")
}
