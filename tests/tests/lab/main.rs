//! The main job and its bad days on real lab servers: containers with systemd, their own address
//! and their own Docker engine, as `make demo` brings them up.
//!
//! One fleet serves all days, because bringing it up is what takes the time; after each day the same
//! things are looked at (see [`fleet::Fleet::all_is_well`]). `FLEET_LAB_KEEP=1` leaves the lab up
//! after a failure; `FLEET_LAB_DAYS=unit,hang` lives through the first day and those with such a
//! title.

mod days;
mod disk;
mod fleet;
mod held;
mod leftovers;
mod logs;
mod single;
mod units;

use std::time::Instant;

use fleet::Fleet;

type Day = (&'static str, fn(&Fleet));

const DAYS: &[Day] = &[
    ("ten and twelve agents register and are online, spread over their hosts", days::main_job),
    ("jobs run, and each agent is back with a fresh container", days::jobs),
    ("what is mistyped or not allowed changes nothing and says what to do", days::bad_input),
    ("an image that does not exist shows why", days::missing_image),
    ("the coordinator is killed in mid-scale", days::coordinator_killed),
    ("hostd is killed: its agents are adopted, none is restarted", days::hostd_killed),
    ("the Docker engine is restarted", days::engine_restarted),
    ("Azure answers 401, 429, 503 and nothing", days::azure_trouble),
    ("fewer agents: idle ones go, busy ones end their job", days::scale_down),
    ("a server is cut off for a minute", days::cut_off),
    ("a server is drained while its jobs run, and cut off meanwhile", held::drained),
    ("a lab is paused while its jobs run", held::paused),
    ("a disk fills up: its agents are paused, and none is stopped", disk::fills_up),
    ("one pool of containers and of users with units", units::one_pool_two_groups),
    ("an agent's log is read, from container and unit alike", logs::read),
    ("hostd is killed, then away: units work on", units::hostd_away),
    ("listeners that hang after their job make room", units::hanging_listeners),
    ("jobs rain while containers and units come and go", units::rain),
    ("single agents are restarted, kept aside and released", single::orders),
    ("an agent that keeps failing is kept aside, and another takes its place", single::failing),
    ("rows without agents, and agents without rows", leftovers::both_ways),
    ("Azure is away, and an operator insists with a reason", units::forced),
    ("the server of units loses power", units::power_cut),
    ("a busy unit ends its job, and nothing of it stays", units::leaving),
    ("to none and back: the last registration stays", days::to_none_and_back),
    ("the coordinator comes back with an old store and drains nobody", days::old_store),
    ("a server loses power", days::power_cut),
];

#[test]
fn the_main_job_and_its_bad_days() {
    let fleet = Fleet::up();
    let only = std::env::var("FLEET_LAB_DAYS").unwrap_or_default();
    let is_asked_for = |title: &str| only.split(',').any(|part| title.contains(part));
    let days = DAYS.iter().enumerate().filter(|(at, (title, _))| *at == 0 || is_asked_for(title));
    for (_, (title, day)) in days {
        let began = Instant::now();
        println!("--- {title}");
        day(&fleet);
        println!("    {:.1} s", began.elapsed().as_secs_f64());
    }
    fleet.well();
}
