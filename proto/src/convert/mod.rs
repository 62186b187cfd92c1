//! Wire into model and back. This is the only place where a message is read: behind it every name
//! is parsed, every enum is a known word, and nothing that must be there is missing.
//!
//! `TryFrom<v1::X>` refuses with a [`WireError`] that names the field; `From<X> for v1::X` cannot
//! fail. What a value *means* (may a pool have no group?) is not asked here but where it is used:
//! [`fleet_model::PoolSpec::check`].

mod agent;
mod assignment;
mod disk;
mod error;
mod read;
mod restraint;
mod session;
mod spec;
mod time;
mod words;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use agent::agent_verb;
pub use error::WireError;
pub use session::{Hello, Row, RowChange};
pub use time::{at, duration, timestamp, wire_duration};
