//! One verb, one file: arguments, help, function.

pub(crate) mod agent;
pub(crate) mod completion;
pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod group;
mod group_options;
pub(crate) mod host;
pub(crate) mod host_invite;
pub(crate) mod insist;
pub(crate) mod janitor;
pub(crate) mod logs;
pub(crate) mod pool;
pub(crate) mod pool_create;
pub(crate) mod restrain;
pub(crate) mod scale;
pub(crate) mod status;
mod watch;
pub(crate) mod why;
