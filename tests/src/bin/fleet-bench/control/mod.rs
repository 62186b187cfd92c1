//! The control plane with a thousand hosts: how fast an order reaches the last of them, and how much
//! memory the coordinator needs for their agents.

mod crowd;
mod enrol;
mod fanout;
pub(crate) mod floor_server;
pub(crate) mod memory;
mod operator;
mod thin_host;

pub(crate) use fanout::{Args as FanoutArgs, run as fanout};

/// The lab of all simulated hosts.
const LAB: &str = "bench";
