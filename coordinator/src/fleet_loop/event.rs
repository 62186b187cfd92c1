//! Everything that may happen to the loop. Reading this enum is reading what the coordinator does.

use std::{collections::BTreeMap, time::Duration};

use coordinator_plan::MarkedRow;
use fleet_model::{
    AgentName, AgentOrder, At, AtDeadline, CredentialName, Forced, GroupSpec, HostName, HostReport,
    Labels, Order, PoolName, PoolSpec, Reason, RestraintKind, RowState,
};
use fleet_proto::{convert::Hello, v1};
use tokio::sync::oneshot;

use super::{denied::Denied, outbox::Outbox, summary::Summary, watchers::Changed};
use crate::{mailbox::Mailbox, store::NewEvent};

/// Where an answer goes. Whoever asked may have gone; then nobody gets it.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Denied>>;

/// See the module.
pub(crate) enum Event {
    /// From a host's session.
    Session(SessionEvent),
    /// An operator asks or changes something.
    Request(Request),
    /// A host asks for admission.
    Enrol(Enrol),
    /// From the watcher of Azure.
    Azure(AzureEvent),
}

/// What sessions say.
pub(crate) enum SessionEvent {
    /// A host said Hello, with the key of its certificate.
    Open { hello: Box<Hello>, key: String, reply: Reply<Grant> },
    /// A report.
    Reported { host: HostName, session: u64, report: Box<HostReport> },
    /// A heartbeat.
    Heard { host: HostName, session: u64, applied: Order },
    /// Something for the history.
    Note { host: HostName, session: u64, event: NewEvent },
    /// An order for one agent is taken, or why it is not.
    Ordered { host: HostName, session: u64, id: u64, refused: Option<String> },
    /// Who spoke was not who it said; there is no session.
    Refused { host: HostName, why: String },
    /// The stream ended.
    Closed { host: HostName, session: u64, why: String },
}

/// A session that may begin.
pub(crate) struct Grant {
    /// Tells this session from older ones of the same host.
    pub(crate) session: u64,
    /// What is to be sent.
    pub(crate) outbox: Mailbox<Outbox>,
}

/// What operators ask. `by` is who.
pub(crate) enum Request {
    CreatePool { pool: Box<NewPool>, by: String, reply: Reply<v1::Pool> },
    DeletePool { pool: String, insist: Insist, by: String, reply: Reply<Order> },
    Scale { pool: String, replicas: i64, insist: Insist, by: String, reply: Reply<Scaled> },
    AddGroup { pool: String, group: Box<GroupSpec>, by: String, reply: Reply<Regrouped> },
    RemoveGroup { pool: String, group: String, by: String, reply: Reply<Regrouped> },
    Invite { invitation: Box<Invitation>, by: String, reply: Reply<()> },
    RemoveHost { host: String, force: bool, by: String, reply: Reply<()> },
    SetCredential { credential: NewCredential, by: String, reply: Reply<()> },
    Explain { about: About, reply: Reply<v1::ExplainResponse> },
    Tidy { pool: Option<String>, dry_run: bool, by: String, reply: Reply<Vec<v1::TidyPool>> },
    Restrain { ask: Box<Restrain>, by: String, reply: Reply<v1::RestrainResponse> },
    OrderAgent { order: AgentOrder, reply: Reply<v1::Agent> },
    Status { reply: Reply<v1::GetStatusResponse> },
    Pools { pool: Option<String>, reply: Reply<Vec<v1::Pool>> },
    Hosts { host: Option<String>, reply: Reply<Vec<v1::Host>> },
    Agents { filter: Filter, reply: Reply<Vec<v1::Agent>> },
    Watch { filter: Filter, kinds: Kinds, reply: Reply<Mailbox<Changed>> },
    FindLog { agent: String, reply: Reply<LogPlace> },
    OpenLog { place: LogPlace, open: Box<v1::OpenLogs>, reply: Reply<()> },
    Summary { reply: Reply<Summary> },
}

/// What hosts ask before or beside their session.
pub(crate) enum Enrol {
    /// With a one-time token; `token_hash` is its SHA-256 (hex).
    Join { host: HostName, token_hash: String, key: Key, reply: Reply<()> },
    /// With a key that is known, after its certificate expired.
    Readmit { host: HostName, old_key: String, key: Key, reply: Reply<()> },
    /// In good time, with a certificate that is still good.
    Renew { host: HostName, old_key: String, key: Key, reply: Reply<()> },
}

/// A key that gets a certificate.
pub(crate) struct Key {
    /// SHA-256 (hex) of the public key.
    pub(crate) sha256: String,
    /// Until when its certificate is good.
    pub(crate) expires: At,
}

/// What Azure says.
pub(crate) enum AzureEvent {
    /// All rows of a pool, as asked for at that moment.
    Rows { pool: PoolName, rows: BTreeMap<AgentName, RowState>, asked: At },
    /// It cannot be asked, or (none) it can again.
    Trouble { pool: PoolName, trouble: Option<String> },
    /// A row that was to go is gone, or stays.
    OrphanEnded { id: String, end: RowEnd },
    /// All rows of an Azure pool with their marks, as wished for: the wish's number.
    Marked { pools: Vec<PoolName>, number: u64, rows: Vec<MarkedRow> },
}

/// What became of a row that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowEnd {
    /// By us.
    Deleted,
    /// By somebody else.
    Gone,
    /// It has an agent after all, and is as it was.
    Kept,
}

/// A pool to create.
pub(crate) struct NewPool {
    pub(crate) spec: PoolSpec,
    /// Its credential, unless that exists already.
    pub(crate) credential: Option<NewCredential>,
    /// What Azure could not be asked at this moment.
    pub(crate) trouble: Option<String>,
}

/// A secret, already sealed: the loop never sees one.
pub(crate) struct NewCredential {
    pub(crate) name: CredentialName,
    pub(crate) fingerprint: String,
    pub(crate) sealed: Vec<u8>,
    pub(crate) expires: Option<At>,
}

/// An invitation of a host.
pub(crate) struct Invitation {
    pub(crate) host: HostName,
    pub(crate) labels: Labels,
    pub(crate) token_hash: String,
    pub(crate) expires: At,
}

/// Hold something back, or no longer.
#[derive(Debug, Clone)]
pub(crate) struct Restrain {
    pub(crate) whom: Whom,
    pub(crate) verb: RestrainVerb,
    pub(crate) reason: Option<Reason>,
    /// It ends by itself after that.
    pub(crate) lasts: Option<Duration>,
    /// By when it should be done, and what happens if it is not.
    pub(crate) deadline: Option<(Duration, AtDeadline)>,
    /// Only say what would change.
    pub(crate) dry_run: bool,
}

/// Whom an operator names.
#[derive(Debug, Clone)]
pub(crate) enum Whom {
    /// A host or a pool.
    Named(String),
    Host(String),
    Pool(String),
    /// All hosts of a lab.
    Lab(String),
}

/// About what it is asked why it is as it is.
#[derive(Debug, Clone)]
pub(crate) enum About {
    /// A pool, a host or an agent.
    Named(String),
    Pool(String),
    Host(String),
    Agent(String),
}

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestrainVerb {
    Begin(RestraintKind),
    /// Ends a cordon or a drain.
    Uncordon,
    /// Ends a pause.
    Resume,
}

/// How much an operator means it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Insist {
    /// Also without Azure's word.
    pub(crate) force: bool,
    /// Why; there is one with every force.
    pub(crate) reason: Option<Reason>,
}

impl Insist {
    /// The leave that this order gives.
    pub(crate) fn leave(&self, by: &str, at: At) -> Option<Forced> {
        let reason = self.reason.clone().filter(|_| self.force)?;
        Some(Forced { by: by.to_owned(), reason, at })
    }

    /// For the history: `, forced: REASON`, `: REASON`, or nothing.
    pub(crate) fn said(&self) -> String {
        match (&self.reason, self.force) {
            (Some(reason), true) => format!(", forced: {reason}"),
            (Some(reason), false) => format!(": {reason}"),
            (None, _) => String::new(),
        }
    }
}

/// A pool was scaled.
pub(crate) struct Scaled {
    pub(crate) order: Order,
    pub(crate) before: u32,
    pub(crate) pool: v1::Pool,
}

/// A pool has other groups now, unless it had them before.
pub(crate) struct Regrouped {
    pub(crate) order: Order,
    pub(crate) changed: bool,
    pub(crate) pool: v1::Pool,
}

/// Where an agent's log is: which session has to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// As asked.
    pub(crate) agent: String,
    /// Who keeps it.
    pub(crate) host: HostName,
    /// The host's session.
    pub(crate) session: u64,
}

/// Which objects are asked for; none: all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) pool: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) agent: Option<String>,
}

/// Which kinds of objects are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kinds {
    pub(crate) pools: bool,
    pub(crate) hosts: bool,
    pub(crate) agents: bool,
}
