//! Removal cannot kill a job: one agent, its engine, Azure, and an adversary who wants the job
//! dead.
//!
//! The adversary chooses what happens next ([`moves::Move`]): a job is given at any moment, answers
//! are lost, old or never come, the engine is late, hostd is killed between any two steps. It pays
//! for each trick out of a purse, so the game is finite. What it cannot do: a PATCH and the giving
//! of a job take turns; an answer is at most 30 s old; the process list may fail, but never shows
//! no worker while one lives.
//!
//! With an operator's leave hostd may do without Azure's answers while there are none, and Azure
//! goes on to give jobs. Then one exception is counted beside the rule
//! ([`world::World::exceptions`]): a job given so late that the newest of two process lists, a
//! settle time apart, could not show its worker. A worker that was there to be seen is never killed.
//!
//! * [`schedules`]: games at random, a hundred thousand of them.
//! * [`exhaustive`]: every game there is, up to a purse.
//! * [`forced`]: what an outage and a leave come to, told straight.

mod effects;
mod exhaustive;
mod forced;
mod guards;
mod moves;
mod purse;
mod schedules;
mod world;
