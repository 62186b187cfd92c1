//! Figures for Prometheus. Counters rise where things happen; gauges are set at each scrape from one
//! look at the fleet, so that they agree with one another.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::fleet_loop::Summary;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge>;

/// All figures of one coordinator. Each has its own, so that tests can run many.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    commits: Histogram,
    commit_failures: Counter,
    azure_calls: Family<Labels, Counter>,
    enrolments: Family<Labels, Counter>,
    agents: Gauges,
    desired: Gauges,
    unplaced: Gauges,
    azure_trouble: Gauges,
    azure_age: Gauges,
    hosts: Gauges,
    fleet: Gauges,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From half a millisecond (a good disk) to 4 s (one that is about to fail).
        let buckets = (0..14).map(|n| 0.0005 * f64::from(1 << n));
        let metrics = Self {
            registry: Mutex::default(),
            commits: Histogram::new(buckets),
            commit_failures: Counter::default(),
            azure_calls: Family::default(),
            enrolments: Family::default(),
            agents: Gauges::default(),
            desired: Gauges::default(),
            unplaced: Gauges::default(),
            azure_trouble: Gauges::default(),
            azure_age: Gauges::default(),
            hosts: Gauges::default(),
            fleet: Gauges::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let of = registry.sub_registry_with_prefix("fleet");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        of.register("build", "The running program", version);
        of.register("store_commit_seconds", "Time of a durable commit", self.commits.clone());
        of.register("store_failures", "Commits that failed", self.commit_failures.clone());
        of.register("azure_calls", "Calls to Azure by result", self.azure_calls.clone());
        of.register("enrolments", "Joins and readmissions by result", self.enrolments.clone());
        of.register("pool_agents", "Agents by what they are", self.agents.clone());
        of.register("pool_desired", "Agents wanted", self.desired.clone());
        of.register("pool_unplaced", "Wanted agents that no host takes", self.unplaced.clone());
        of.register(
            "pool_azure_trouble",
            "1 while Azure is in trouble",
            self.azure_trouble.clone(),
        );
        of.register("pool_azure_age_seconds", "Age of the last good look", self.azure_age.clone());
        of.register("hosts", "Hosts by state", self.hosts.clone());
        of.register("state", "Order, sessions, watchers, read-only", self.fleet.clone());
    }

    /// A commit took that long.
    pub(crate) fn commit(&self, took: Duration, ok: bool) {
        self.commits.observe(took.as_secs_f64());
        if !ok {
            self.commit_failures.inc();
        }
    }

    /// A call to Azure ended.
    pub(crate) fn azure_call(&self, call: &'static str, result: &'static str) {
        let labels = vec![("call", call.to_owned()), ("result", result.to_owned())];
        self.azure_calls.get_or_create(&labels).inc();
    }

    /// Somebody asked for admission.
    pub(crate) fn enrolment(&self, what: &'static str, result: &'static str) {
        let labels = vec![("what", what.to_owned()), ("result", result.to_owned())];
        self.enrolments.get_or_create(&labels).inc();
    }

    /// Everything as text, in the OpenMetrics format.
    ///
    /// # Errors
    /// When a figure cannot be written, which no figure here can cause.
    pub(crate) fn render(&self, summary: &Summary) -> Result<String, fmt::Error> {
        // One scrape at a time: the gauges are cleared and set as a whole.
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(summary);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn set(&self, summary: &Summary) {
        let pool_gauges =
            [&self.agents, &self.desired, &self.unplaced, &self.azure_trouble, &self.azure_age];
        pool_gauges.into_iter().for_each(Gauges::clear);
        for (pool, figures) in &summary.pools {
            let pool = vec![("pool", pool.to_string())];
            let set = |gauges: &Gauges, value: i64| {
                gauges.get_or_create(&pool).set(value);
            };
            set(&self.desired, figures.desired.into());
            set(&self.unplaced, figures.unplaced.into());
            set(&self.azure_trouble, figures.trouble.into());
            if let Some(age) = figures.azure_age {
                set(&self.azure_age, i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
            let counts = figures.counts;
            for (what, count) in [
                ("idle", counts.idle),
                ("busy", counts.busy),
                ("starting", counts.starting),
                ("failed", counts.failed),
                ("leaving", counts.leaving),
                ("unknown", counts.unknown),
                ("paused", counts.paused),
                ("quarantined", counts.quarantined),
            ] {
                let mut labels = pool.clone();
                labels.push(("state", what.to_owned()));
                self.agents.get_or_create(&labels).set(count.into());
            }
        }
        for (state, count) in &summary.hosts {
            let labels = vec![("state", state.to_string().to_lowercase())];
            self.hosts.get_or_create(&labels).set(signed(*count));
        }
        for (what, value) in [
            ("order_term", summary.order.term),
            ("order_generation", summary.order.generation),
            ("sessions", summary.sessions),
            ("watchers", summary.watchers),
            ("read_only", summary.read_only.into()),
        ] {
            self.fleet.get_or_create(&vec![("what", what.to_owned())]).set(signed(value));
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
