//! The sockets on which listeners announce their jobs: the agent's own `--notificationsocketaddress`,
//! saved as `notificationSocketAddress` in its `.agent` file. At its start a listener connects, and
//! then says `Starting job: {guid}` and `Finished job: {guid}`, as UTF-8 and without a line end. That
//! nobody listens there is only logged by it. (Its relative `--monitorsocketaddress` must never be
//! used: it hands out the job's token.)
//!
//! ```text
//!   open(run) ─► 127.0.0.1:port ─► .agent of the run ─► its listener connects ─► Sign(JobAnnounced)
//!      closed with the run, or by its 32nd connection            └ another user: hung up on at once
//! ```
//!
//! The loopback address is everybody's who is on the host, and a job is. So a word from here makes
//! an agent busy, never free, and what one says is bounded: a connection of another user than the
//! agent's is not heard, four are read at a time, a few words a second. What a forger of the same user
//! can do beside that is cost a look for a worker (`hostd/plan/src/announced.rs`).
//!
//! It is a socket for each run and not one for all, because a word names no agent. It ends with hostd;
//! a run that is older than hostd has none, and its console and processes tell of its jobs as ever.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc},
    task::JoinSet,
    time::sleep,
};
use uuid::Uuid;

use super::{RunId, RuntimeEvent, Sign};

/// A listener connects once in its life, and a run has two listeners when it updates itself.
const CONNECTIONS_MAX: usize = 32;
/// Connections of a run that are read at the same time.
const AT_ONCE: usize = 4;
/// After words were heard the next ones are read no sooner.
const PAUSE: Duration = Duration::from_secs(1);
/// Announcements that may wait for a runtime's watch; more are lost, as they may be.
const WAITING: usize = 256;
/// What the socket tables call a connection that stands.
const ESTABLISHED: &str = "01";

/// The sockets of one runtime's runs.
pub(super) struct Notices {
    open: Mutex<BTreeMap<RunId, Socket>>,
    said: broadcast::Sender<RuntimeEvent>,
}

struct Socket {
    address: SocketAddr,
    /// One task; it ends with this.
    _serving: JoinSet<()>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { open: Mutex::default(), said: broadcast::Sender::new(WAITING) }
    }
}

impl Notices {
    fn sockets(&self) -> MutexGuard<'_, BTreeMap<RunId, Socket>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the socket of a run that is about to be made, for a listener of this user (none: its
    /// number is not known beforehand). None when that cannot be: then it has none.
    pub(super) fn open(&self, run: &RunId, uid: Option<u32>) -> Option<SocketAddr> {
        match self.listen(run, uid) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!(%run, %error, "it can announce no jobs; its console tells of them");
                None
            }
        }
    }

    fn listen(&self, run: &RunId, uid: Option<u32>) -> io::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Own { run: run.clone(), uid }, self.said.clone()));
        self.sockets().insert(run.clone(), Socket { address, _serving: serving });
        Ok(address)
    }

    /// Where a run announces its jobs, if it can.
    pub(super) fn address(&self, run: &RunId) -> Option<SocketAddr> {
        self.sockets().get(run).map(|socket| socket.address)
    }

    /// Nothing of the run announces anything any more.
    pub(super) fn close(&self, run: &RunId) {
        self.sockets().remove(run);
    }

    /// The run ended with this code: after an update it goes on in the same place.
    pub(super) fn ended(&self, run: &RunId, code: Option<i32>) {
        if !matches!(code, Some(3 | 4)) {
            self.close(run);
        }
    }

    /// Hands on what is announced, beside a runtime's watch and for as long as that goes on.
    pub(super) async fn beside(
        &self,
        watching: impl Future<Output = ()>,
        events: mpsc::Sender<RuntimeEvent>,
    ) {
        tokio::select! {
            () = watching => {}
            () = self.pass_on(events) => {}
        }
    }

    /// Until nobody listens.
    async fn pass_on(&self, events: mpsc::Sender<RuntimeEvent>) {
        let mut said = self.said.subscribe();
        loop {
            match said.recv().await {
                Ok(event) => {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Whose socket it is.
struct Own {
    run: RunId,
    uid: Option<u32>,
}

async fn serve(listener: TcpListener, own: Own, said: broadcast::Sender<RuntimeEvent>) {
    let mut readers = JoinSet::new();
    for _ in 0..CONNECTIONS_MAX {
        let Ok((stream, _)) = listener.accept().await else { break };
        while readers.try_join_next().is_some() {}
        // Never left waiting: a listener whose connection is not taken would wait, too.
        if readers.len() >= AT_ONCE {
            continue;
        }
        match is_of(&stream, own.uid).await {
            Ok(true) => drop(readers.spawn(read(stream, own.run.clone(), said.clone()))),
            Ok(false) => tracing::debug!(run = %own.run, "somebody else connects to its socket"),
            Err(error) => tracing::debug!(run = %own.run, %error, "nobody knows who connects"),
        }
    }
    // From here on no more connections are taken: these are none of a listener.
    drop(listener);
    while readers.join_next().await.is_some() {}
}

async fn read(mut stream: TcpStream, run: RunId, said: broadcast::Sender<RuntimeEvent>) {
    let mut words = Words::default();
    let mut bytes = [0; 4 * Words::SIZE];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        let Some(heard) = bytes.get(..count).and_then(|bytes| words.take(bytes)) else {
            return tracing::debug!(%run, "what connects to its socket is no listener");
        };
        if heard.is_empty() {
            continue;
        }
        let over = (heard.last() == Some(&Word::Finished)).then_some(Sign::JobAnnouncedOver);
        let began = heard.contains(&Word::Starting).then_some(Sign::JobAnnounced);
        for sign in began.into_iter().chain(over) {
            // Nobody watches: nobody is told.
            let _ = said.send(RuntimeEvent::Sign(run.clone(), sign));
        }
        sleep(PAUSE).await;
    }
}

/// What a listener says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Starting,
    Finished,
}

/// Words of a listener as they come: each as long as any other, and nothing between them.
#[derive(Default)]
struct Words {
    half: Vec<u8>,
}

impl Words {
    /// Bytes of one word: `Starting job: ` or `Finished job: `, and the job's id.
    const SIZE: usize = 14 + 36;

    /// The words that are whole with these bytes; none: no listener says that.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<Word>> {
        self.half.extend_from_slice(bytes);
        let whole = self.half.len() - self.half.len() % Self::SIZE;
        let rest = self.half.split_off(whole);
        let words = std::mem::replace(&mut self.half, rest);
        words.chunks(Self::SIZE).map(word).collect()
    }
}

fn word(bytes: &[u8]) -> Option<Word> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (word, id) = match text.strip_prefix("Starting job: ") {
        Some(id) => (Word::Starting, id),
        None => (Word::Finished, text.strip_prefix("Finished job: ")?),
    };
    Uuid::try_parse(id).ok().map(|_| word)
}

/// Does a process of this user hold the other end? The kernel's tables of sockets say whose each is;
/// what connects over the loopback address is in the same ones as we are.
async fn is_of(stream: &TcpStream, uid: Option<u32>) -> io::Result<bool> {
    let (SocketAddr::V4(own), SocketAddr::V4(peer)) = (stream.local_addr()?, stream.peer_addr()?)
    else {
        return Ok(false);
    };
    if !peer.ip().is_loopback() {
        return Ok(false);
    }
    let Some(uid) = uid else { return Ok(true) };
    let mut tables = tokio::fs::read_to_string("/proc/net/tcp").await?;
    // One that speaks both protocols stands in the other table. There may be none.
    tables += &tokio::fs::read_to_string("/proc/net/tcp6").await.unwrap_or_default();
    Ok(owner(&tables, peer, own) == Some(uid))
}

/// Whose socket it is that is bound to `local` and connected to `remote` (proc_pid_net(5): the address
/// as the machine's number of its bytes, the port, then the state in the fourth column and the user
/// in the eighth). One that is about to go is nobody's any more.
fn owner(tables: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u32> {
    let (local, remote) = (spelled(local), spelled(remote));
    tables.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, from, to, state, _, _, _, uid, ..] = columns.as_slice() else { return None };
        let is_it = *state == ESTABLISHED && local.contains(from) && remote.contains(to);
        is_it.then(|| uid.parse().ok()).flatten()
    })
}

/// An address as the two tables have it.
fn spelled(address: SocketAddrV4) -> Spelled {
    let number = u32::from_ne_bytes(address.ip().octets());
    let short = format!("{number:08X}:{:04X}", address.port());
    let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let long = format!("{:016X}{mapped:08X}{short}", 0);
    Spelled([short, long])
}

struct Spelled([String; 2]);

impl Spelled {
    fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|spelled| spelled == text)
    }
}

#[cfg(test)]
#[path = "notify_tests.rs"]
mod tests;
