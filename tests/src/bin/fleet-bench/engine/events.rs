//! The engine's own word on what runs: its event stream, with its own times. The same clock stops
//! all three candidates.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use bollard::{
    Docker,
    query_parameters::{EventsOptions, EventsOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout_at};

/// Nanoseconds since 1970, as the engine counts.
pub(crate) type Moment = i64;

pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Seconds from one moment to another.
pub(crate) fn seconds(from: Moment, to: Moment) -> f64 {
    (to - from) as f64 / 1e9
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Its first process runs.
    Start,
    /// Its first process ended.
    Die,
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Moment,
    pub(crate) what: What,
    container: String,
    labels: HashMap<String, String>,
}

impl Seen {
    pub(crate) fn has(&self, label: &str, value: &str) -> bool {
        self.label(label) == Some(value)
    }

    /// What the container's label says; its name is the label `name`.
    pub(crate) fn label(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(String::as_str)
    }
}

/// All container events since it was opened.
pub(crate) struct Events {
    stream: mpsc::UnboundedReceiver<Result<Seen, String>>,
    seen: Vec<Seen>,
    task: JoinHandle<()>,
}

impl Events {
    pub(crate) fn open(docker: &Docker) -> Self {
        let (send, stream) = mpsc::unbounded_channel();
        let (docker, options) = (docker.clone(), options());
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(docker.events(Some(options)));
            while let Some(event) = events.next().await {
                let event = event.map_err(|error| error.to_string());
                let Some(seen) = event.map(understand).transpose() else { continue };
                if send.send(seen).is_err() {
                    return;
                }
            }
        });
        Self { stream, seen: Vec::new(), task }
    }

    /// Waits until `count` containers that `wanted` says yes to have had their event after `since`;
    /// the moment of the last one of them.
    pub(crate) async fn wait(
        &mut self,
        since: Moment,
        count: usize,
        limit: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> anyhow::Result<Moment> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let matching = self.seen.iter().filter(|seen| seen.at >= since && wanted(seen));
            let mut containers = BTreeSet::new();
            let last = matching
                .filter(|seen| containers.insert(seen.container.as_str()))
                .nth(count.saturating_sub(1));
            if let Some(last) = last {
                return Ok(last.at);
            }
            let found = containers.len();
            match timeout_at(end, self.next()).await {
                Ok(seen) => seen.map(drop)?,
                Err(_) => bail!("{found} of {count} containers after {limit:?}"),
            }
        }
    }

    /// The next event; it is kept as well. Dropped while it waits, it has taken none.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Seen> {
        match self.stream.recv().await {
            Some(Ok(seen)) => {
                self.seen.push(seen.clone());
                Ok(seen)
            }
            Some(Err(why)) => bail!("the engine's events cannot be read: {why}"),
            None => bail!("the engine's event stream ended"),
        }
    }

    /// Everything kept, with what has come since the last look.
    pub(crate) fn all(&mut self) -> anyhow::Result<&[Seen]> {
        while let Ok(event) = self.stream.try_recv() {
            match event {
                Ok(seen) => self.seen.push(seen),
                Err(why) => bail!("the engine's events cannot be read: {why}"),
            }
        }
        Ok(&self.seen)
    }

    /// Events of earlier rounds are not needed any more.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn options() -> EventsOptions {
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), vec!["start".to_owned(), "die".to_owned()]),
    ]);
    // From now on, so that nothing is lost until the connection stands.
    let since = (now() / 1_000_000_000).to_string();
    EventsOptionsBuilder::default().since(&since).filters(&filters).build()
}

fn understand(event: bollard::models::EventMessage) -> Option<Seen> {
    let actor = event.actor?;
    let what = match event.action.as_deref()? {
        "start" => What::Start,
        "die" => What::Die,
        _ => return None,
    };
    Some(Seen {
        at: event.time_nano?,
        what,
        container: actor.id?,
        labels: actor.attributes.unwrap_or_default(),
    })
}

/// The engine on the usual socket (or `DOCKER_HOST`).
pub(crate) async fn engine() -> anyhow::Result<Docker> {
    let docker = Docker::connect_with_local_defaults()?;
    docker
        .negotiate_version()
        .await
        .context("the Docker engine does not answer; start it ('systemctl start docker') as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(list: Vec<(Moment, What, &str)>) -> Events {
        let (_, stream) = mpsc::unbounded_channel();
        let labels = HashMap::from([("a".to_owned(), "b".to_owned())]);
        let seen = list.into_iter().map(|(at, what, id)| Seen {
            at,
            what,
            container: id.into(),
            labels: labels.clone(),
        });
        Events { stream, seen: seen.collect(), task: tokio::spawn(async {}) }
    }

    #[tokio::test]
    async fn containers_are_counted_once_and_old_events_not_at_all() {
        use What::{Die, Start};
        let mut log = events(vec![
            (1, Start, "old"),
            (5, Start, "x"),
            (6, Start, "x"),
            (7, Die, "x"),
            (8, Start, "y"),
        ]);
        let starts = |seen: &Seen| seen.what == Start && seen.has("a", "b");
        let second = Duration::from_secs(1);
        assert_eq!(log.wait(2, 1, second, starts).await.expect("one"), 5);
        assert_eq!(log.wait(2, 2, second, starts).await.expect("two"), 8);
        assert!(log.wait(2, 3, second, starts).await.is_err(), "the stream has ended");
    }
}
