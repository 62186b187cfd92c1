//! One suite for every runtime: what `hostd::runtime` promises is checked on the one in memory, on
//! processes, on a real Docker engine, and under a real systemd. All but the first run the stub agent
//! against the simulator. The cases under systemd are run on a lab server, by this very program.
//!
//! A missing engine is a failure that says what to install, never a silent skip.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifacts;
mod azure;
mod bench;
mod docker;
mod docker_disk;
mod docker_image_entry;
mod docker_reconnect;
mod entry_script;
mod fake;
mod process;
mod reading;
mod suite;
mod suite_logs;
mod systemd;
mod systemd_alone;
mod systemd_clean;
mod systemd_disk;
mod systemd_server;
mod watching;
