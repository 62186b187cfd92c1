//! A simulator of Azure DevOps, as far as pools, agents and their jobs go.
//!
//! ```text
//! state    the rules: pure, time as an argument          faults   bad days: which, when, how often
//!   ▲                                                       │
//! http     thin: route, authenticate, project to JSON ◀─────┘      handle   the same verbs in process
//! ```
//!
//! One mutex owns the state and is never held across an await, so every request is one step in one
//! order: a PATCH that disables an agent is before or after an assignment, never beside it.

mod clock;
mod control;
mod faults;
mod handle;
mod http;
mod journal;
mod jwt;
mod packages;
mod refusal;
mod settings;
mod shell;
mod state;
mod wire;

pub use control::{JobView, RowView};
pub use faults::{Drop as Break, Fault};
pub use handle::{Sim, SimConfig, SimHandle, StartError};
pub use journal::{About, Entry, Journal, Kind};
pub use packages::PackageError;
pub use refusal::Refusal;
pub use settings::{BusyDelete, Settings};
pub use state::*;
