//! Removal cannot kill a job: one agent, its engine, Azure, and an adversary who wants the job
//! dead.
//!
//! The adversary chooses what happens next ([`moves::Move`]): a job is given at any moment, answers
//! are lost, old or never come, the engine is late, hostd is killed between any two steps. It pays
//! for each trick out of a purse, so the game is finite. What it cannot do: a PATCH and the giving
//! of a job take turns; an answer is at most 30 s old; the process list may fail, but never shows
//! no worker while one lives.
//!
//! * [`schedules`]: games at random, a hundred thousand of them.
//! * [`exhaustive`]: every game there is, up to a purse.

mod effects;
mod exhaustive;
mod moves;
mod schedules;
mod world;
