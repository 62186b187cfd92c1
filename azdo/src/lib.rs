//! Azure DevOps for a fleet of agents: a thin client and the simulator it is tested against.
//!
//! * [`Client`] makes the dozen calls the fleet needs. It never retries and never sleeps:
//!   every answer comes with the server's wish for the [`Pace`], every failure is an
//!   [`Error`] that says what kind of trouble it is. Waiting is the caller's decision.
//! * [`types`] are the answers, read leniently: unknown fields ignored, absent keys allowed.
//! * [`sim`] is a server that behaves like the service as far as agents and pools go.

pub mod client;
pub mod error;
pub mod pace;
pub mod sim;
pub mod types;

pub use client::{
    AgentQuery, Client, ClientConfig, Credential, JobRequestQuery, NewAgent, ProxyConfig,
};
pub use error::Error;
pub use pace::{Pace, Reply};
pub use types::{
    AgentRegistration, AgentRow, AgentStatus, ConnectionData, Demand, JobRequest, JobResult,
    PackageMetadata, TaskAgent, TaskAgentPool,
};

/// Undoes URL encoding; what is not an escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
