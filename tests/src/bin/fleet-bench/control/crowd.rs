//! A thousand hosts in one process, each with a session of its own, and who counts what reaches them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use fleet_model::Order;
use fleet_proto::v1;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    enrol::Member,
    thin_host::{Reached, Reporting, Thin},
};

/// For an order to reach everybody.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) struct Crowd {
    hosts: JoinSet<anyhow::Error>,
    count: usize,
    reached: mpsc::UnboundedReceiver<Reached>,
    reporting: watch::Sender<Reporting>,
}

/// An order has reached everybody.
#[derive(Debug)]
pub(super) struct AllReached {
    /// When the last one got it.
    pub(super) last: Instant,
    /// What the first one got.
    pub(super) example: Arc<v1::Assignment>,
}

impl Crowd {
    /// Opens their sessions with the server at `endpoint`.
    pub(super) fn open(members: Vec<Member>, endpoint: &str, server_name: &str) -> Self {
        let (send, reached) = mpsc::unbounded_channel();
        let (reporting, told) = watch::channel(None);
        let count = members.len();
        let mut hosts = JoinSet::new();
        for (number, member) in members.into_iter().enumerate() {
            let thin = Thin {
                number,
                member,
                endpoint: endpoint.to_owned(),
                server_name: server_name.to_owned(),
                reached: send.clone(),
                reporting: told.clone(),
            };
            hosts.spawn(thin.run());
        }
        Self { hosts, count, reached, reporting }
    }

    /// From now on each host reports its agents in this phase.
    pub(super) fn report(&self, phase: Reporting) {
        self.reporting.send_replace(phase);
    }

    /// Waits until every host got `order` or a newer one.
    pub(super) async fn all_reached(&mut self, order: Order) -> anyhow::Result<AllReached> {
        let end = Instant::now() + LIMIT;
        let mut missing = vec![true; self.count];
        let mut left = self.count;
        let mut all: Option<AllReached> = None;
        while left > 0 {
            let next = tokio::select! {
                next = timeout_at(end, self.reached.recv()) => next,
                Some(ended) = self.hosts.join_next() => return Err(ended?),
            };
            let Ok(next) = next else {
                bail!("{left} of {} hosts did not get order {order} in {LIMIT:?}", self.count)
            };
            let next = next.context("no host is left")?;
            if next.order < order || !std::mem::take(&mut missing[next.host]) {
                continue;
            }
            left -= 1;
            match &mut all {
                Some(all) => all.last = all.last.max(next.at),
                None => all = Some(AllReached { last: next.at, example: next.assignment }),
            }
        }
        all.context("there are no hosts")
    }

    /// An error when a session ended.
    pub(super) fn still_there(&mut self) -> anyhow::Result<()> {
        match self.hosts.try_join_next() {
            Some(ended) => Err(ended?),
            None => Ok(()),
        }
    }
}
