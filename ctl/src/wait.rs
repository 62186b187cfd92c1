//! Waits until a goal is reached, shows how far it is, and says what is missing when the
//! time is over. The fleet needs nobody to wait: every way out of here leaves it at work.

use std::time::Duration;

use fleet_proto::{exit::Exit, v1};
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    connect::Session,
    error::Failure,
    feed::{Feed, FirstContact, Step},
    goal::{self, Goal, Standing, State},
    live::Live,
    progress::Progress,
    when,
};

/// Agents beyond which not every change is looked at on its own.
const MANY: usize = 1000;
/// Between two looks then; far below what a person or a script notices.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The options of verbs that wait.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Waiting {
    /// Return as soon as the order is accepted
    #[arg(long)]
    pub(crate) detach: bool,
    /// Wait at most this long; the fleet goes on afterwards
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = when::parse)]
    pub(crate) timeout: Duration,
    /// Accepted and without effect: waiting is the default
    #[arg(long, hide_short_help = true)]
    wait: bool,
}

/// What has to be watched.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    Pool(String),
    Host(String),
    Lab(String),
}

impl Scope {
    /// A host's pools and a lab as a whole are not told apart by the coordinator.
    fn request(&self) -> v1::WatchRequest {
        let (pool, host) = match self {
            Self::Pool(pool) => (pool.clone(), String::new()),
            Self::Host(host) => (String::new(), host.clone()),
            Self::Lab(_) => (String::new(), String::new()),
        };
        v1::WatchRequest { pools: !pool.is_empty(), hosts: true, agents: true, pool, host }
    }

    fn name(&self) -> &str {
        match self {
            Self::Pool(name) | Self::Host(name) | Self::Lab(name) => name,
        }
    }

    /// As an option of other verbs.
    fn option(&self) -> String {
        match self {
            Self::Pool(name) => format!("--pool {name}"),
            Self::Host(name) => format!("--host {name}"),
            Self::Lab(name) => format!("--lab {name}"),
        }
    }

    /// The history of it; a lab has none of its own.
    fn history(&self) -> String {
        match self {
            Self::Lab(_) => "agentctl events".to_owned(),
            one => format!("agentctl events {}", one.option()),
        }
    }
}

/// Waits for `goal`, for ever when there is no `limit`. Returns how long it took and the last
/// standing.
///
/// # Errors
/// Not converged when the time is over, when somebody asked for something else meanwhile, or at
/// Ctrl-C.
pub(crate) async fn until(
    session: &Session,
    scope: Scope,
    goal: Goal,
    limit: Option<Duration>,
) -> Result<(Duration, Standing), Failure> {
    let mut waiter = Waiter::new(session, scope, goal);
    let done = waiter.run(limit).await;
    waiter.progress.finish();
    done.map(|standing| (waiter.began.elapsed(), standing))
}

struct Waiter {
    scope: Scope,
    goal: Goal,
    feed: Feed,
    progress: Progress,
    began: Instant,
    /// Our order was seen: what differs later is somebody else's.
    agreed: bool,
    /// Something changed since the last look, and when the next one may be taken.
    news: bool,
    next_look: Instant,
    standing: Option<Standing>,
    lost: Option<String>,
}

impl Waiter {
    fn new(session: &Session, scope: Scope, goal: Goal) -> Self {
        let about = match &goal {
            Goal::Agent(agent, _) => Progress::new(agent),
            Goal::Scaled(_) | Goal::Gone | Goal::Held(_) => Progress::new(scope.name()),
        };
        Self {
            feed: Feed::new(session, scope.request(), FirstContact::MayTakeTime),
            scope,
            goal,
            progress: about,
            began: Instant::now(),
            agreed: false,
            news: false,
            next_look: Instant::now(),
            standing: None,
            lost: None,
        }
    }

    async fn run(&mut self, limit: Option<Duration>) -> Result<Standing, Failure> {
        let no_signals =
            |error: std::io::Error| Failure::error("cannot wait").because(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        let late = |limit: Duration| self.began + limit;
        let deadline = limit.map(late);
        loop {
            let due = self.news && Instant::now() >= self.next_look;
            if due && let Some(standing) = self.look()? {
                return Ok(standing);
            }
            tokio::select! {
                // In this order: a stream that never pauses must not hide the end of the time.
                biased;
                _ = interrupt.recv() => return Err(self.stopped()),
                _ = terminate.recv() => return Err(self.stopped()),
                () = until_late(deadline) => return Err(self.too_late(limit.unwrap_or_default())),
                () = sleep_until(self.next_look), if self.news => {}
                step = self.feed.next() => self.take(step?)?,
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            // Gone between the order and the watch, or while the coordinator was away: a state
            // without the pool is what the goal looks at then.
            Step::NotThere(_) if self.goal == Goal::Gone || self.agreed => {
                (self.feed.live, self.news) = (Live::default(), true);
            }
            Step::NotThere(failure) => return Err(failure),
            Step::Lost(why) => {
                self.progress.note(&format!("lost the coordinator ({why}); trying again"));
                self.lost = Some(why);
            }
            // Half of a state says nothing: an agent not named yet is not missing.
            Step::Change(_) => self.news = self.feed.live.synced,
        }
        Ok(())
    }

    /// The final standing when nothing is missing any more.
    fn look(&mut self) -> Result<Option<Standing>, Failure> {
        self.news = false;
        if self.lost.take().is_some() {
            self.progress.note("the coordinator is back");
        }
        // A look reads every agent: at each change where they are few, less often otherwise.
        let many = self.feed.live.agents.len() > MANY;
        self.next_look = Instant::now() + if many { LOOK_EVERY } else { Duration::ZERO };
        let standing = goal::look(&self.goal, self.scope.name(), &self.feed.live, Timestamp::now());
        match &standing.state {
            State::Reached => return Ok(Some(standing)),
            State::Waiting => self.agreed = true,
            State::Different(why) if self.agreed => return Err(self.overtaken(why)),
            State::Different(_) => {}
        }
        self.progress.show(&standing);
        self.standing = Some(standing);
        Ok(None)
    }

    fn line(&self) -> String {
        self.standing.as_ref().map_or_else(|| "nothing heard yet".to_owned(), |s| s.line.clone())
    }

    fn too_late(&self, timeout: Duration) -> Failure {
        let length = when::short(timeout.try_into().unwrap_or_default());
        let what = format!("{} after {length}: {}", self.unfinished(), self.line());
        let mut failure = Failure::new(Exit::NotConverged, what);
        if let Some(why) = &self.lost {
            failure = failure.because(format!("the coordinator is out of reach: {why}"));
        }
        let standing = self.standing.iter();
        let known = standing.flat_map(|s| s.reasons.iter().chain(&s.missing));
        failure = known.fold(failure, |failure, cause| failure.because(cause));
        self.onward(failure)
    }

    fn stopped(&self) -> Failure {
        let what = format!("stopped waiting, {}: {}", self.unfinished(), self.line());
        self.onward(Failure::new(Exit::NotConverged, what))
    }

    fn overtaken(&self, why: &str) -> Failure {
        Failure::new(Exit::NotConverged, self.unfinished())
            .because(match self.goal {
                Goal::Held(_) => {
                    format!("it was changed meanwhile, by its time or by somebody: {why}")
                }
                _ => format!("somebody changed the order meanwhile: {why}"),
            })
            .next(format!("see who: `{}`", self.scope.history()))
    }

    fn unfinished(&self) -> String {
        let name = self.scope.name();
        match &self.goal {
            Goal::Scaled(wanted) => format!("{name} is not at {wanted} yet"),
            Goal::Gone => format!("{name} is not gone yet"),
            Goal::Held(goal) => format!("{name} {}", goal.unfinished()),
            Goal::Agent(name, goal) => format!("{name} {}", goal.unfinished()),
        }
    }

    fn onward(&self, failure: Failure) -> Failure {
        failure.next(format!(
            "the fleet goes on by itself; follow it with `agentctl get agents {} -w`",
            self.scope.option()
        ))
    }
}

async fn until_late(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
