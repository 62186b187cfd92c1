//! The loop around the planner: what it does with an assignment, in what order, and what it does
//! not do when things go wrong. A fake engine, a fake Azure, real files, virtual time.

mod announced;
mod azure;
mod bad_days;
mod clocks;
mod health;
mod ledgers;
mod noted;
mod work;
mod world;
