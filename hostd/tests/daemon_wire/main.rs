//! hostd and a coordinator that does what a test says, over real connections with real
//! certificates on loopback.

mod coordinator;
mod host;
mod logs;
mod program;
mod session;
