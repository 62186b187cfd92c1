//! The host's end of the session with the coordinator.
//!
//! ```text
//!   dial ─► Hello, full report ─► Welcome ─► talk: reports of what changed, heartbeats, history
//!     ▲                                        │     assignments, credentials, rows, commands
//!     └────── wait (0.2 s → 30 s, jittered) ◄──┴─ lost, silent for the lease, refused
//! ```
//! One at a time. Whatever happens here, agents are kept: the loop has its ledger.

mod backoff;
mod heard;
mod logs;
mod talk;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fleet_model::{HostFacts, Labels};
use fleet_proto::{
    logging::Report,
    tls::{self, Proxy, TlsError, Trouble},
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use crate::{
    clock::jittered,
    host_loop::Input,
    identity::{IdentityStore, join::readmit},
    logs::Logs,
    runtime::Runtime,
    secrets::Secrets,
    view::{Happened, View},
};

/// A host that is refused for who it is calls less often: somebody must do something first.
const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// A session that lasted this long was one: the next call comes soon.
const LASTED: Duration = Duration::from_secs(3);
/// The same trouble is told again after this long.
const TELL_AGAIN: Duration = Duration::from_secs(10 * 60);

/// How to get to the coordinator.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// `http://[USER:PASSWORD@]HOST:PORT`.
    pub proxy: Option<secrecy::SecretString>,
    /// Hosts that are reached without it.
    pub no_proxy: Option<String>,
}

impl Way {
    /// The proxy for an endpoint, if there is to be one.
    ///
    /// # Errors
    /// When it is not a proxy's address.
    pub fn to(&self, endpoint: &str) -> Result<Option<Proxy>, TlsError> {
        use secrecy::ExposeSecret;
        let url = self.proxy.as_ref().map(|url| url.expose_secret());
        Proxy::choose(url, self.no_proxy.as_deref(), endpoint)
    }
}

/// What a session needs.
pub struct Parts {
    /// Who this host is.
    pub identity: Arc<IdentityStore>,
    /// How to get to the coordinator.
    pub way: Way,
    /// From the settings.
    pub labels: Labels,
    /// From the settings.
    pub capacity: Option<u32>,
    /// What is served.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// One per start of hostd.
    pub instance_id: String,
    /// What is reported.
    pub view: watch::Receiver<Arc<View>>,
    /// What is told for the history. Kept over reconnects, so that little is lost.
    pub history: broadcast::Receiver<Happened>,
    /// Where assignments go.
    pub inbox: mpsc::Sender<Input>,
    /// Where credentials go.
    pub secrets: Arc<Secrets>,
    /// Where logs come from.
    pub logs: Arc<Logs>,
    /// Whether there is a session.
    pub in_session: watch::Sender<bool>,
    /// The connection, while there is a session.
    pub channel: watch::Sender<Option<Channel>>,
}

/// How a conversation ended.
#[derive(Debug)]
enum End {
    /// hostd ends.
    Stopped,
    /// It broke, was closed or fell silent.
    Lost(String),
    /// The coordinator does not want this host as it is.
    Refused(String),
}

/// A conversation and whether it ever began.
struct Talked {
    end: End,
    welcomed: bool,
}

/// Keeps a session until `stop`.
pub async fn run(mut parts: Parts, stop: CancellationToken) {
    let mut since = Instant::now();
    let mut tries = 0;
    let mut told = Told::default();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let talked = once(&mut parts, &stop).await;
        parts.channel.send_replace(None);
        parts.in_session.send_if_modified(|open| std::mem::replace(open, false));
        // One that welcomes and hangs up is as good as away.
        if talked.welcomed && begun.elapsed() >= LASTED {
            (since, tries) = (Instant::now(), 0);
            told = Told::default();
        }
        let wait = match talked.end {
            End::Stopped => return,
            End::Lost(why) => {
                told.say(&why, "no session with the coordinator; agents go on as they are");
                backoff::next_wait(tries, since.elapsed())
            }
            End::Refused(why) => {
                told.say(&why, "the coordinator refuses this host; agents go on as they are");
                backoff::next_wait(tries, since.elapsed()).max(REFUSED_WAIT)
            }
        };
        tries += 1;
        // Half to one and a half: after a coordinator's restart all of its hosts call at once.
        let wait = wait.mul_f64(rand::random_range(0.5..1.5));
        stop.run_until_cancelled(sleep(wait)).await;
    }
}

/// One log line per trouble, not one per try.
#[derive(Default)]
struct Told(Option<(String, Instant)>);

impl Told {
    fn say(&mut self, why: &str, what: &str) {
        let again = |(before, at): &(String, Instant)| before != why || at.elapsed() >= TELL_AGAIN;
        if self.0.as_ref().is_none_or(again) {
            tracing::warn!(why, "{what}");
            self.0 = Some((why.to_owned(), Instant::now()));
        }
    }
}

async fn once(parts: &mut Parts, stop: &CancellationToken) -> Talked {
    let not_begun = |end| Talked { end, welcomed: false };
    if let Err(why) = come_back(parts).await {
        return not_begun(End::Refused(why));
    }
    let place = parts.identity.current().place.clone();
    // A channel of its own for each try: one that hangs is left behind with its connection.
    let channel = parts.way.to(&place.endpoint).and_then(|proxy| {
        tls::channel(&place.endpoint, &place.server_name, parts.identity.tls(), proxy)
    });
    let channel = match channel {
        Ok(channel) => channel,
        Err(error) => return not_begun(End::Refused(Report(&error).to_string())),
    };
    let facts = facts(parts).await;
    talk::talk(parts, channel, facts, stop).await
}

/// A host whose certificate expired asks to be readmitted first.
async fn come_back(parts: &Parts) -> Result<(), String> {
    let current = parts.identity.current();
    let (_, until) = current.life().map_err(|error| Report(&error).to_string())?;
    if SystemTime::now() < until {
        return Ok(());
    }
    let proxy = parts.way.to(&current.place.enroll_endpoint);
    let proxy = proxy.map_err(|error| Report(&error).to_string())?;
    readmit(&parts.identity, proxy).await.map_err(|error| {
        format!(
            "this host's certificate has expired, and it is not readmitted: {}; if its clock is \
             right, invite it anew with agentctl host invite and join with --force",
            Report(&error)
        )
    })?;
    tracing::info!("the certificate had expired; readmitted with a new one");
    Ok(())
}

async fn facts(parts: &Parts) -> HostFacts {
    let mut engines = Vec::new();
    for runtime in &parts.runtimes {
        match runtime.describe().await {
            Ok(text) => engines.push(text),
            Err(error) => engines.push(format!("{}: {}", runtime.kind(), Report(&error))),
        }
    }
    HostFacts {
        labels: parts.labels.clone(),
        capacity: parts.capacity,
        runtimes: parts.runtimes.iter().map(|runtime| runtime.kind()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: parts.boot_id.clone(),
        engine: engines.join(", "),
    }
}

/// What a failed call or a closed stream means for this host, with what to do about it.
fn ended(status: &Status) -> End {
    match Trouble::of(status) {
        Trouble::Answered => answered(status),
        Trouble::Refused(why) => End::Refused(format!(
            "{why}; if this host was removed or belongs to another fleet, invite it anew and join with --force"
        )),
        Trouble::Untrusted(why) => End::Refused(format!(
            "{why}; the coordinator's address in identity/endpoint.toml may be another fleet's"
        )),
        Trouble::Unreachable(why) | Trouble::Lost(why) => End::Lost(why),
    }
}

fn answered(status: &Status) -> End {
    let said = status.message();
    match status.code() {
        Code::AlreadyExists => End::Refused(format!(
            "{said}; another live hostd uses this host's identity: a copied disk or image? Only one may"
        )),
        Code::Unauthenticated | Code::PermissionDenied => End::Refused(format!(
            "{said}; if this host was removed from the fleet, invite it anew and join with --force"
        )),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            End::Refused(format!("{said}; are hostd and coordinator of fitting versions?"))
        }
        code => End::Lost(format!("{code}: {said}")),
    }
}

/// A wait that no two hosts share.
fn spread(wait: Duration) -> Duration {
    jittered(wait)
}
