//! Make this host match its assignment: what to do next, and why.
//!
//! Pure: nothing here waits, reads a clock, or can fail. [`Known`] is what the host knows, changed
//! only by [`Known::apply`]; [`plan`] says what follows from it; [`Known::begin`] writes down what
//! is about to be done. hostd stores the ledger between `begin` and the first action.
//!
//! ```text
//!   Event ──apply──► Known ──plan──► Plan { slots, actions, wake_after }
//!                      ▲               │
//!                      └────begin──────┤ (ledger stored)
//!                                      └──► actions run, at most one per agent; each comes back
//!                                           as Event::Done
//! ```
//!
//! What is absent: no action stops a run unless its removal came to [`Removal::Stopping`] (a run that
//! is replaced, or whose agent goes into quarantine, is removed in the same steps), and nothing comes
//! there but through two reads of a disabled row without a request and a process
//! list without a worker; or, while Azure does not answer and only with an operator's leave, through
//! two process lists without a worker. A pause ([`Pause`]) stops nothing. A pool that the assignment does not name is left as it is.

mod actions;
mod announced;
mod aside;
mod choose;
mod clock;
mod disk;
mod ends;
mod event;
mod forced;
mod health;
mod known;
mod ledger;
mod lonely;
mod orders;
mod outcome;
mod pause;
mod phase;
mod plan;
mod removal;
mod runs;
mod starts;
mod trouble;
mod unused;

pub use actions::{Action, Plan, SlotChange, Subject};
pub use clock::Moment;
pub use disk::DiskMarks;
pub use event::{AzureFailure, Event, Heard, Outcome, RowRead, RunListed, Worker};
pub use known::{EngineState, Known, OlderOrder, PhaseChange};
pub use ledger::{Ledger, Removal, Renewal, Role, RowId, Slot};
pub use lonely::{ListenerEnd, Lonely};
pub use orders::Unfit;
pub use pause::{Pause, PauseCause};
pub use plan::plan;
pub use runs::{Listener, Run, RunState};
pub use unused::{Unused, UnusedBook, is_due, look};
