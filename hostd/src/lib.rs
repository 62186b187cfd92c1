//! The host daemon: observes, plans, and acts on one lab server's agents.

pub mod agent_run;
pub mod check;
pub mod clock;
pub mod daemon;
mod disk;
pub mod engine_facts;
pub mod evidence;
pub mod execute;
pub mod guardian;
pub mod host_loop;
pub mod identity;
pub mod ledger_file;
pub mod logs;
pub mod only_one;
pub mod runtime;
pub mod scrub;
pub mod secrets;
pub mod session;
pub mod settings;
pub mod slots;
pub mod view;
pub mod watch;
