//! `scale` until the last host holds the new order, against a server that only writes.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use fleet_model::Order;
use fleet_proto::v1::{self, host_service_client::HostServiceClient};
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::{LAB, crowd::Crowd, enrol, enrol::Member, floor_server, operator};
use crate::{
    fleet::{Fleet, Programs},
    host::POOL,
    proc::Daemon,
    results::{Goal, Row, Section},
};

/// After each turn: what is left to do for it must not weigh upon the next.
const REST: Duration = Duration::from_millis(500);
/// For a thousand sessions to stand.
const OPEN_LIMIT: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Simulated hosts.
    #[arg(long, default_value_t = 1000)]
    pub(crate) hosts: usize,
    /// Rounds, after one that is not counted.
    #[arg(long, default_value_t = 15)]
    pub(crate) rounds: usize,
}

/// Milliseconds of one order.
#[derive(Debug, Clone, Copy)]
struct Turn {
    from_sent: f64,
    from_accepted: f64,
}

/// Measures.
pub(crate) async fn run(programs: Programs, args: &Args) -> anyhow::Result<Section> {
    let fleet = Fleet::start(programs, &[POOL]).await?;
    let mut ours = Ours::start(&fleet, args.hosts).await?;
    let mut floor = Floor::start(fleet.dir(), args.hosts, &ours.example).await?;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let (a, b) = (ours.turn().await?, floor.turn().await?);
        let counted = if round == 0 { " (not counted)" } else { "" };
        eprintln!(
            "  round {round}{counted}: ours {:.1} ms, floor {:.1} ms from sent to the last host",
            a.from_sent, b.from_sent
        );
        if round > 0 {
            mine.push(a);
            theirs.push(b);
        }
    }
    let bytes = ours.example.encoded_len();
    floor.daemon.stop().await?;
    drop(ours);
    fleet.stop().await?;
    Ok(section(args, bytes, &mine, &theirs))
}

struct Ours {
    crowd: Crowd,
    client: operator::Client,
    hosts: usize,
    replicas: usize,
    example: std::sync::Arc<v1::Assignment>,
}

impl Ours {
    async fn start(fleet: &Fleet, hosts: usize) -> anyhow::Result<Self> {
        let (mut client, server_name) = operator::client(fleet)?;
        eprintln!("  {hosts} hosts join");
        let members = enrol::join_all(&client, &fleet.addresses.enroll_listen, LAB, hosts).await?;
        let selector = format!("lab={LAB}");
        fleet.create_pool(POOL, &["--selector", &selector, "--image", "fleet-agent:bench"]).await?;
        let mut crowd = Crowd::open(members, &fleet.addresses.listen, &server_name);
        operator::wait_hosts(&mut client, hosts, Order::default()).await?;
        crowd.still_there()?;
        let order = operator::scale(&mut client, POOL, hosts).await?;
        let example = crowd.all_reached(order).await?.example;
        operator::wait_hosts(&mut client, hosts, order).await?;
        Ok(Self { crowd, client, hosts, replicas: hosts, example })
    }

    /// One agent more on every host: each of them gets a new assignment.
    async fn turn(&mut self) -> anyhow::Result<Turn> {
        self.replicas += self.hosts;
        let sent = Instant::now();
        let order = operator::scale(&mut self.client, POOL, self.replicas).await?;
        let accepted = Instant::now();
        let last = self.crowd.all_reached(order).await?.last;
        // Until the coordinator has heard all of them, it is at work on this order.
        operator::wait_hosts(&mut self.client, self.hosts, order).await?;
        sleep(REST).await;
        Ok(Turn::of(sent, accepted, last))
    }
}

struct Floor {
    daemon: Daemon,
    crowd: Crowd,
    trigger: HostServiceClient<Channel>,
    generation: u64,
}

impl Floor {
    async fn start(dir: &Path, hosts: usize, example: &v1::Assignment) -> anyhow::Result<Self> {
        let dir = dir.join("floor");
        let members = floor_server::prepare(&dir, hosts)?;
        floor_server::write_assignment(&dir, example)?;
        let words = dir.display().to_string();
        let me = std::env::current_exe()?;
        let mut daemon = Daemon::start("floor-server", &me, &["floor-server", &words], &dir)?;
        let address = daemon.ready(&floor_server::address_file(&dir)).await?;
        let trigger = trigger(members.first().context("no hosts")?, &address)?;
        let crowd = Crowd::open(members, &address, "127.0.0.1");
        let mut floor = Self { daemon, crowd, trigger, generation: 0 };
        floor.all_open().await?;
        Ok(floor)
    }

    /// It tells nobody how many streams it has: writes until everybody gets it.
    async fn all_open(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + OPEN_LIMIT;
        loop {
            let order = self.write().await?;
            let all = self.crowd.all_reached(order);
            match tokio::time::timeout(Duration::from_secs(2), all).await {
                Ok(done) => return done.map(drop),
                Err(_) => ensure!(Instant::now() < end, "the floor's hosts do not all connect"),
            }
        }
    }

    async fn write(&mut self) -> anyhow::Result<Order> {
        self.generation += 1;
        let csr_pem = self.generation.to_string();
        self.trigger.renew(v1::RenewRequest { csr_pem }).await?;
        Ok(Order::new(floor_server::TERM, self.generation))
    }

    async fn turn(&mut self) -> anyhow::Result<Turn> {
        let sent = Instant::now();
        let order = self.write().await?;
        let accepted = Instant::now();
        let last = self.crowd.all_reached(order).await?.last;
        sleep(REST).await;
        Ok(Turn::of(sent, accepted, last))
    }
}

fn trigger(member: &Member, address: &str) -> anyhow::Result<HostServiceClient<Channel>> {
    let config = fleet_proto::tls::client_config(&member.identity, &member.ca)?;
    let config = std::sync::Arc::new(arc_swap::ArcSwap::new(config));
    let channel = fleet_proto::tls::channel(address, "127.0.0.1", config, None)?;
    Ok(HostServiceClient::new(channel))
}

impl Turn {
    fn of(sent: Instant, accepted: Instant, last: Instant) -> Self {
        let ms = |from: Instant| last.saturating_duration_since(from).as_secs_f64() * 1e3;
        Self { from_sent: ms(sent), from_accepted: ms(accepted) }
    }
}

fn section(args: &Args, bytes: usize, ours: &[Turn], floor: &[Turn]) -> Section {
    let mut section = Section::new("Control plane: an order reaches every host");
    section.note(format!(
        "{} simulated hosts in one process, each with its own certificate, connection and session \
         (TLS 1.3, both sides authenticated), which joined by one-time tokens; {} rounds in turn.",
        args.hosts, args.rounds
    ));
    section.note(format!(
        "Each round `scale` gives every host one agent more, so each is sent a new complete \
         assignment ({bytes} bytes) and acknowledges it. The floor is a bare tonic server in a process \
         of its own that writes the same message to as many streams with the same TLS.",
    ));
    section.note(
        "From sent: everything the operator waits for, with the decision and its commit to the disk, \
         which the floor has not. From accepted: after the answer to `scale`. The floor is timed from \
         the order to write in both rows. Hosts and servers share the machine's cores.",
    );
    let of = |turns: &[Turn], what: fn(&Turn) -> f64| turns.iter().map(what).collect::<Vec<_>>();
    // The floor's answer says nothing: it has nothing to accept. It is always timed from the order.
    let theirs = || of(floor, |turn| turn.from_sent);
    section.rows = vec![
        Row::new("scale sent → the last host holds the order", "ms", of(ours, |t| t.from_sent))
            .floor(theirs())
            .goal(Goal::TimesFloor(2.0)),
        Row::new("scale accepted → the last host", "ms", of(ours, |t| t.from_accepted))
            .floor(theirs())
            .goal(Goal::TimesFloor(2.0)),
    ];
    section
}
