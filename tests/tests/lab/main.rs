//! The main job and its bad days on real lab servers: containers with systemd, their own address
//! and their own Docker engine, as `make demo` brings them up.
//!
//! One fleet serves all days, because bringing it up is what takes the time; after each day the same
//! things are looked at (see [`fleet::Fleet::all_is_well`]). `FLEET_LAB_KEEP=1` leaves the lab up
//! after a failure.

mod days;
mod fleet;

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
    ("to none and back: the last registration stays", days::to_none_and_back),
    ("the coordinator comes back with an old store and drains nobody", days::old_store),
    ("a server loses power", days::power_cut),
];

#[test]
fn the_main_job_and_its_bad_days() {
    let fleet = Fleet::up();
    for (title, day) in DAYS {
        let began = Instant::now();
        println!("--- {title}");
        day(&fleet);
        println!("    {:.1} s", began.elapsed().as_secs_f64());
    }
    fleet.well();
}
