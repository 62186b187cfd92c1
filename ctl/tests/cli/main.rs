//! agentctl as its users meet it: the real program against a coordinator on real mutual TLS.
//!
//! The coordinator is a small one in this process ([`fake`]): it keeps pools, hosts and agents,
//! and plays a script after it has told a watcher the present state. Each test shows a whole run:
//! exit code, standard output, standard error.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod agent;
mod completion;
mod documents;
mod events;
mod fake;
mod get;
mod group;
mod host;
mod janitor;
mod logs;
mod pool;
mod restrain;
mod samples;
mod scale;
mod schema;
mod status;
mod terminal;
mod trouble;
mod why;
mod world;
