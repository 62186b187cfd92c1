//! A whole coordinator in one process, spoken to over real mutual TLS by scripted hosts and an
//! operator. Ports are the system's choice; nothing waits for a fixed time.

mod agent_orders;
mod azure;
mod enrolment;
mod explain;
mod forced;
mod groups;
mod host;
mod janitor;
mod logs;
mod operators;
mod page;
mod recovery;
mod restrain;
mod sessions;
mod setup;
mod support;
mod watching;
