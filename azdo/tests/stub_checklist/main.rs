//! The stub agent package, checked as whole processes against the simulator: one test for each line of the list
//! of what it must reproduce, and for the traps around it. Nothing here waits a fixed time; every wait has a limit.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod bench;
mod capabilities;
mod configure;
mod container;
mod exit_codes;
mod files;
mod image;
mod jobs;
mod package;
mod process;
mod remove;
mod service;
mod signals;
mod update;
