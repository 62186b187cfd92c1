//! How many agents, and where: what the coordinator decides.
//!
//! Pure: nothing here waits, reads a clock, or can fail. [`place`] spreads one pool over hosts;
//! [`Fleet`] is what is wanted and known, changed only by [`Fleet::apply`]; [`Fleet::decide`] says
//! what follows from it. The daemon around it stores a decision before it sends any of it.
//!
//! ```text
//!   FleetEvent ──apply──► Fleet ──decide──► Decision ──(stored)──► begin ──► assignments go out
//! ```
//!
//! What is absent: no host is ever told to remove agents of a pool that the store does not know,
//! and no decision is made in read-only mode.

mod decide;
mod explain;
mod fleet;
mod janitor;
mod level;
mod pace;
mod place;
mod records;
mod restrain;
#[cfg(test)]
mod samples;
mod split;
mod tally;
mod view;

pub use decide::Decision;
pub use explain::Share;
pub use fleet::{Fleet, FleetEvent, HostEntry, ReadOnly};
pub use janitor::{
    Claim, Leftover, MarkedRow, Pass, RowStep, Tidiness, Verdict, may_go, next_step, offers,
};
pub use pace::{Moves, Moving};
pub use place::{HostView, Placement, Refusal, place};
pub use records::{HostRecord, Placed, Saved};
pub use restrain::Target;
pub use tally::PoolCounts;
pub use view::PoolView;
