//! The coordinator: holds what the fleet should look like, spreads the counts over the hosts, and
//! keeps every host connected.
//!
//! ```text
//!   agentctl ──► fleet_service ─┐                        ┌─► store (objects, events)
//!   hostd ─────► host_service ──┼─► fleet_loop ◄──► plan │
//!   hostd ─────► enroll ────────┤        │               └─► mailboxes of sessions and watches
//!   Azure ◄────► azure ─────────┘        └─► http (metrics, health)
//! ```
//!
//! [`fleet_loop`] owns the state and is the only writer of the store; everything else asks it.
//! What is decided is decided in the package `coordinator-plan`.

mod azure;
pub mod backup;
mod book;
mod clock;
pub mod config;
mod credentials;
pub mod data_dir;
mod enroll;
mod fleet_loop;
mod fleet_service;
mod host_service;
mod housekeeping;
mod http;
pub mod init;
mod logs;
mod mailbox;
mod metrics;
mod places;
pub mod records;
pub mod recover;
pub mod run;
mod server_identity;
mod signer;
mod status;
pub mod store;
pub mod systemd;

pub use fleet_loop::{Denied, FleetHandle, PoolSummary, Summary};
pub use places::Places;
