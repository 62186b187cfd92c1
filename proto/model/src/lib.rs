//! The fleet's words. Names are parsed once, at the edge; behind it they are types.
//!
//! This package holds data and the rules that belong to a single value. It never waits, reads no
//! clock, and knows neither wire nor disk: [`At`] is an argument everywhere.

mod assignment;
mod disk;
mod forced;
mod groups;
mod host;
mod names;
pub mod numbers;
mod order;
mod orders;
mod owner;
mod restraint;
mod selector;
mod spec;
mod status;
mod template;
mod time;

pub use assignment::{Assignment, CredentialRef, GroupAssignment, PoolAssignment, Wanted};
pub use disk::{CacheSize, Disk, Room, readable};
pub use forced::{Forced, Reason, ReasonError};
pub use groups::GroupError;
pub use host::{Availability, HostFacts, HostState};
pub use names::{
    AgentName, AgentPrefix, CredentialName, GroupName, HostName, ImageRef, LabelKey, NameError,
    PoolName,
};
pub use order::Order;
pub use orders::{AgentOrder, AgentVerb};
pub use owner::{NoMark, OwnerMark};
pub use restraint::{AtDeadline, Deadline, Restraint, RestraintKind, RestraintStep, Seen};
pub use selector::{Labels, Requirement, Selector, SelectorError};
pub use spec::{AzureTarget, GroupSpec, PoolSpec, SpecError};
pub use status::{
    AgentStatus, Assigned, Condition, ConditionKind, HostReport, Intent, Job, Phase, Quarantine,
    RowState,
};
pub use template::{Cache, Entry, Limits, Mode, Package, Proxy, RuntimeKind, Template};
pub use time::At;
