//! `agentctl cordon|pause|drain` and `uncordon|resume`: holding hosts, labs and pools back.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use fleet_model::{Reason, numbers::RESTRAINT_MAX};
use fleet_proto::{
    convert::wire_duration,
    v1::{self, restrain_request::Target},
};

use crate::{
    cli::Global,
    complete,
    connect::Session,
    error::Failure,
    goal::Goal,
    held_goal::HeldGoal,
    help,
    live::Key,
    names::{Kind, ask_about},
    output, view, wait,
    wait::Scope,
    when, words,
};

/// Gives a host, a lab's hosts or a pool no new agents; those that are there take jobs as before.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl cordon svcstr-server-2 --reason \"new kernel on trial\" --for 2d",
    "No more agents than it has, for two days",
    help::ASKING,
))]
pub(crate) struct Cordon {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    dry: Dry,
}

/// Lets a cordoned or draining host, lab or pool take agents again.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl uncordon svcstr-server-2",
    "It takes agents again; a drain that is not done yet ends where it is",
    help::ASKING,
))]
pub(crate) struct Uncordon {
    #[command(flatten)]
    back: Back,
}

/// Disables the agents of a host, of a lab's hosts or of a pool at Azure, and keeps them.
///
/// A job that runs goes on to its end, and nothing of an agent is stopped; it gets no more jobs. Waits
/// until no job runs and Azure shows every agent disabled. `agentctl resume` ends it.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl pause --lab svc --reason \"switch firmware\" --for 2h",
    "No jobs in the lab for two hours; its agents stay",
    help::WAITING,
))]
pub(crate) struct Pause {
    #[command(flatten)]
    hold: Hold,
}

/// Lets a paused host, lab or pool take jobs again.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl resume --lab svc",
    "The switches are back",
    help::ASKING,
))]
pub(crate) struct Resume {
    #[command(flatten)]
    back: Back,
}

/// Empties a host, a lab's hosts or a pool: each agent goes at its job's end.
///
/// No job is ended, whatever the deadline: what it should do then is chosen with --at-deadline. A
/// host's agents are placed on other hosts of their pools where there is room; the last registration
/// of a pool stays, offline. Waits until the hosts themselves say that nothing runs any more.
#[derive(Debug, Args)]
#[command(after_help = help::after(
    "agentctl drain svcstr-server-2 --reason \"new disks\" --deadline 4h",
    "Empty before the technician comes; shows which job is awaited",
    help::WAITING,
))]
pub(crate) struct Drain {
    #[command(flatten)]
    hold: Hold,
}

/// What pause and drain have in common: both end jobs by waiting for them.
#[derive(Debug, Args)]
struct Hold {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    deadline: Deadline,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: Dry,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Host or pool
    #[arg(add = ArgValueCandidates::new(complete::hosts_and_pools))]
    name: Option<String>,
    /// All hosts that are in this lab now
    #[arg(long, value_name = "LAB")]
    lab: Option<String>,
    /// A host that shares its name with a pool
    #[arg(long, hide_short_help = true, add = ArgValueCandidates::new(complete::hosts))]
    host: Option<String>,
    /// A pool that shares its name with a host
    #[arg(long, hide_short_help = true, add = ArgValueCandidates::new(complete::pools))]
    pool: Option<String>,
}

#[derive(Debug, Args)]
struct Order {
    /// Why, for the fleet's history and whoever misses the agents
    #[arg(long, value_name = "TEXT")]
    reason: Option<Reason>,
    /// Ends by itself after this time
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    lasts: Option<Duration>,
}

#[derive(Debug, Args)]
struct Deadline {
    /// By when it should be done, from now on
    #[arg(long, value_name = "TIME", value_parser = span)]
    deadline: Option<Duration>,
    /// What happens when the deadline passes while jobs run; none of it ends a job
    #[arg(long, value_enum, default_value_t = AtDeadline::Wait, requires = "deadline")]
    at_deadline: AtDeadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AtDeadline {
    /// It goes on, and is shown as late
    Wait,
    /// It is given up: agents and jobs come again
    GiveUp,
}

#[derive(Debug, Args)]
struct Waiting {
    /// Return as soon as the order is accepted
    #[arg(long)]
    detach: bool,
    /// Wait at most this long; else until it is done, or a moment beyond the deadline
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    timeout: Option<Duration>,
    /// Accepted and without effect: waiting is the default
    #[arg(long, hide_short_help = true)]
    wait: bool,
}

#[derive(Debug, Args)]
struct Dry {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Back {
    #[command(flatten)]
    whom: Whom,
    /// Why, for the fleet's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<Reason>,
    #[command(flatten)]
    dry: Dry,
}

/// After a deadline the coordinator has noted what becomes of it; that is waited for.
const AFTER_DEADLINE: Duration = Duration::from_secs(5);

fn span(text: &str) -> Result<Duration, String> {
    match when::parse(text)? {
        time if time.is_zero() || time > RESTRAINT_MAX => {
            Err(format!("give a time of up to {} days", RESTRAINT_MAX.as_secs() / 86_400))
        }
        time => Ok(time),
    }
}

impl Cordon {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let request = self.order.request(v1::RestrainVerb::Cordon, &self.dry);
        let session = global.session()?;
        let answer = self.whom.ask(&session, "cordon", request).await?;
        tell(&answer, self.dry.dry_run)
    }
}

impl Uncordon {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        self.back.run(global, v1::RestrainVerb::Uncordon, "uncordon").await
    }
}

impl Resume {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        self.back.run(global, v1::RestrainVerb::Resume, "resume").await
    }
}

impl Pause {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let kind = v1::RestraintKind::Pause;
        self.hold.run(global, v1::RestrainVerb::Pause, kind, "pause").await
    }
}

impl Drain {
    /// Runs the verb.
    pub(crate) async fn run(self, global: &Global) -> Result<(), Failure> {
        let kind = v1::RestraintKind::Drain;
        self.hold.run(global, v1::RestrainVerb::Drain, kind, "drain").await
    }
}

impl Back {
    async fn run(self, global: &Global, verb: v1::RestrainVerb, word: &str) -> Result<(), Failure> {
        let request = v1::RestrainRequest {
            verb: verb.into(),
            reason: said(self.reason.as_ref()),
            dry_run: self.dry.dry_run,
            ..v1::RestrainRequest::default()
        };
        let session = global.session()?;
        let answer = self.whom.ask(&session, word, request).await?;
        tell(&answer, self.dry.dry_run)
    }
}

impl Hold {
    /// Orders it, and waits until it is done.
    async fn run(
        &self,
        global: &Global,
        verb: v1::RestrainVerb,
        kind: v1::RestraintKind,
        word: &str,
    ) -> Result<(), Failure> {
        let dry_run = self.dry.dry_run;
        let request = self.deadline.within(self.order.request(verb, &self.dry));
        let session = global.session()?;
        let answer = self.whom.ask(&session, word, request).await?;
        if dry_run || self.waiting.detach {
            return tell(&answer, dry_run);
        }
        answer.restrained.iter().for_each(|one| output::say(&change(one)));
        let whom: Vec<Key> = answer.restrained.iter().map(key).collect();
        let scope = match (&self.whom.lab, whom.first()) {
            (Some(lab), _) => Scope::Lab(lab.clone()),
            (None, Some(Key::Pool(pool))) => Scope::Pool(pool.clone()),
            (None, first) => {
                Scope::Host(first.map(|key| key.name().to_owned()).unwrap_or_default())
            }
        };
        let late = self.deadline.deadline.map(|deadline| deadline + AFTER_DEADLINE);
        let limit = self.waiting.timeout.or(late);
        let goal = Goal::Held(HeldGoal { kind, whom });
        let (took, standing) = wait::until(&session, scope, goal, limit).await?;
        let took = when::short(took.try_into().unwrap_or_default());
        output::print(&format!("{}: {} after {took}\n", self.whom.name(), standing.line))
    }
}

impl Order {
    fn request(&self, verb: v1::RestrainVerb, dry: &Dry) -> v1::RestrainRequest {
        v1::RestrainRequest {
            verb: verb.into(),
            reason: said(self.reason.as_ref()),
            lasts: self.lasts.map(wire_duration),
            dry_run: dry.dry_run,
            ..v1::RestrainRequest::default()
        }
    }
}

impl Deadline {
    fn within(&self, mut request: v1::RestrainRequest) -> v1::RestrainRequest {
        request.deadline = self.deadline.map(wire_duration);
        let then = match self.at_deadline {
            AtDeadline::Wait => v1::AtDeadline::Wait,
            AtDeadline::GiveUp => v1::AtDeadline::GiveUp,
        };
        request.at_deadline = then.into();
        request
    }
}

impl Whom {
    async fn ask(
        &self,
        session: &Session,
        word: &str,
        mut request: v1::RestrainRequest,
    ) -> Result<v1::RestrainResponse, Failure> {
        let (kind, target) = match (&self.name, &self.lab, &self.host, &self.pool) {
            (_, Some(lab), ..) => (Kind::Lab, Target::Lab(lab.clone())),
            (_, _, Some(host), _) => (Kind::Host, Target::Host(host.clone())),
            (.., Some(pool)) => (Kind::Pool, Target::Pool(pool.clone())),
            (name, ..) => (Kind::HostOrPool, Target::Name(name.clone().unwrap_or_default())),
        };
        request.target = Some(target);
        let what = format!("{word} {}", self.name());
        let mut client = session.client();
        ask_about(session, (kind, self.bare()), &what, client.restrain(request)).await
    }

    fn bare(&self) -> &str {
        [&self.name, &self.lab, &self.host, &self.pool]
            .into_iter()
            .flatten()
            .next()
            .map_or("", String::as_str)
    }

    fn name(&self) -> String {
        match &self.lab {
            Some(lab) => format!("lab {lab}"),
            None => self.bare().to_owned(),
        }
    }
}

fn said(reason: Option<&Reason>) -> String {
    reason.map(ToString::to_string).unwrap_or_default()
}

fn key(one: &v1::Restrained) -> Key {
    match one.host.as_str() {
        "" => Key::Pool(one.pool.clone()),
        host => Key::Host(host.to_owned()),
    }
}

/// `svcstr-server-2: Active → Draining`.
fn change(one: &v1::Restrained) -> String {
    let word = |restraint: &Option<v1::Restraint>| words::availability_of(restraint.as_ref());
    let (before, after) = (word(&one.before), word(&one.after));
    let name = key(one).name().to_owned();
    match before == after {
        true => format!("{name} stays {after}"),
        false => format!("{name}: {before} → {after}"),
    }
}

fn tell(answer: &v1::RestrainResponse, dry_run: bool) -> Result<(), Failure> {
    let tail = match (dry_run, answer.order) {
        (true, _) => ", nothing was done".to_owned(),
        (false, Some(order)) => format!(", accepted (order {})", view::Order::from(order)),
        (false, None) => ", accepted".to_owned(),
    };
    let lines: Vec<String> =
        answer.restrained.iter().map(|one| format!("{}{tail}\n", change(one))).collect();
    output::print(&lines.concat())
}
