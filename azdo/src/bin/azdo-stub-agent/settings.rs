//! Times that tests shorten. Defaults are the real agent's figures. Each may be set by an environment variable
//! (`STUB_RENEW_MS`) or, because a supervisor may clear the environment, by `stub.json` in the agent's root
//! (`renewMs`), which is put there when the package is built. The environment wins.

use std::time::Duration;

use rand::Rng as _;

use crate::environment::Environment;
use crate::layout::Layout;

/// All settings of one process.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Between two renewals of a job's lock.
    pub(crate) renew: Duration,
    /// After an empty poll; `None` = 5 to 15 s at random.
    poll_sleep: Option<Duration>,
    /// Base of the pause after a failed poll: 1 to 2 times this, 2 to 4 times after five failures.
    poll_backoff: Duration,
    /// Between two tries to create a session.
    pub(crate) session_retry: Duration,
    /// Conflicts in a row after which the listener gives up.
    pub(crate) session_conflicts: u64,
    /// Between two keep-alive requests beside the long poll.
    pub(crate) keepalive: Duration,
    /// What SIGTERM leaves.
    pub(crate) unload: Duration,
    /// Least time a cancelled worker is given, before one more for its logs.
    pub(crate) cancel_grace: Duration,
    /// For the worker's logs after the cancel grace.
    pub(crate) log_flush: Duration,
    /// From a cancelled step's SIGINT to its SIGTERM.
    pub(crate) step_int: Duration,
    /// From a cancelled step's SIGTERM to its SIGKILL.
    pub(crate) step_term: Duration,
    /// Pause between tries to renew or finish a job request.
    pub(crate) request_retry: Duration,
    /// Pause before the service host starts a listener again.
    pub(crate) service_restart: Duration,
    /// Longest wait for one HTTP answer.
    pub(crate) http_timeout: Duration,
    /// Proxy for all requests, and whom it is not for.
    pub(crate) proxy: Option<Proxy>,
    /// Once mode: delete the session after the job, then never exit.
    pub(crate) hang_after_job: bool,
    /// The worker goes on when its listener dies (by default it dies of the broken channel).
    pub(crate) worker_outlives: bool,
}

/// A proxy as the environment or `.proxy` names it. Not `Debug`: its URL may hold a password.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// `http://[user:password@]host:port`.
    pub(crate) url: String,
    /// Comma list in the form of `NO_PROXY`.
    pub(crate) bypass: String,
}

impl Proxy {
    /// `VSTS_HTTP_PROXY` first, as the one meant for the agent alone; then `.proxy`, left by the configuration.
    fn find(layout: &Layout, environment: &Environment) -> Option<Self> {
        let saved = std::fs::read_to_string(layout.file(".proxy")).ok();
        let given = ["VSTS_HTTP_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"];
        let of = |name: &str| environment.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let url = of(given[0]).or(saved).or_else(|| given[1..].iter().find_map(|name| of(name)))?;
        let bypass = of("no_proxy").or_else(|| of("NO_PROXY")).unwrap_or_default();
        Some(Self { url: url.trim().to_owned(), bypass })
    }
}

impl Settings {
    pub(crate) fn load(layout: &Layout, environment: &Environment) -> Self {
        let text = std::fs::read_to_string(layout.file("stub.json")).unwrap_or_default();
        let file = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default();
        Source { file, environment, proxy: Proxy::find(layout, environment) }.settings()
    }

    /// Pause after a poll that brought nothing.
    pub(crate) fn poll_sleep(&self) -> Duration {
        self.poll_sleep
            .unwrap_or_else(|| Duration::from_millis(rand::rng().random_range(5_000..=15_000)))
    }

    /// Pause after the `failures`-th failed poll in a row.
    pub(crate) fn poll_backoff(&self, failures: u32) -> Duration {
        let base = if failures > 5 { self.poll_backoff * 2 } else { self.poll_backoff };
        base.mul_f64(rand::rng().random_range(1.0..2.0))
    }
}

struct Source<'a> {
    file: serde_json::Value,
    environment: &'a Environment,
    proxy: Option<Proxy>,
}

impl Source<'_> {
    fn settings(&self) -> Settings {
        Settings {
            renew: self.millis("renewMs", 60_000),
            poll_sleep: self.number("pollSleepMs").map(Duration::from_millis),
            poll_backoff: self.millis("pollBackoffMs", 15_000),
            session_retry: self.millis("sessionRetryMs", 30_000),
            session_conflicts: self.number("sessionConflicts").unwrap_or(8),
            keepalive: self.millis("keepaliveMs", 30_000),
            unload: self.millis("unloadMs", 30_000),
            cancel_grace: self.millis("cancelGraceMs", 60_000),
            log_flush: self.millis("logFlushMs", 60_000),
            step_int: self.millis("stepIntMs", 7_500),
            step_term: self.millis("stepTermMs", 2_500),
            request_retry: self.millis("requestRetryMs", 5_000),
            service_restart: self.millis("serviceRestartMs", 5_000),
            http_timeout: self.millis("httpTimeoutMs", 100_000),
            proxy: self.proxy.clone(),
            hang_after_job: self.truth("hangAfterJob"),
            worker_outlives: self.truth("workerOutlives"),
        }
    }

    fn millis(&self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.number(name).unwrap_or(default))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.environment
            .get(&variable(name))
            .and_then(|text| text.parse().ok())
            .or_else(|| self.file.get(name)?.as_u64())
    }

    fn truth(&self, name: &str) -> bool {
        self.environment
            .get(&variable(name))
            .map(|text| matches!(text, "1" | "true"))
            .or_else(|| self.file.get(name)?.as_bool())
            .unwrap_or(false)
    }
}

/// `renewMs` → `STUB_RENEW_MS`.
fn variable(name: &str) -> String {
    name.chars().fold("STUB_".to_owned(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_the_file_become_names_of_the_environment() {
        assert_eq!(super::variable("renewMs"), "STUB_RENEW_MS");
        assert_eq!(super::variable("sessionConflicts"), "STUB_SESSION_CONFLICTS");
    }
}
