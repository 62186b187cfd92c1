//! Logs on their way from hosts to operators.
//!
//! ```text
//!   operator ──Logs──► asked(id) ──Command over the session──► host
//!      ▲                  │                                      │
//!      └── lines ◄── relay ◄── claimed by id, host ◄────Logs─────┘   (a stream of its own)
//! ```
//! A host only dials out, so it is asked over its session and calls back. What ties the two calls
//! together is an id that nobody can guess, good for the host that was asked, once. Between them lies
//! next to nothing: an operator who is slow holds back the host that reads its disk.

mod relay;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::rand;
use fleet_model::{
    HostName,
    numbers::{LOGS_MAX, LOGS_PER_HOST},
};
use fleet_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};

pub(crate) use relay::relay;

use crate::fleet_loop::LogPlace;

/// 128 bits: nobody guesses one in ten seconds, or ever.
type LogId = [u8; 16];

/// A host's end of a log.
pub(crate) struct Upload {
    /// What it says.
    pub(crate) incoming: Streaming<v1::UploadLogsRequest>,
    /// Where it is told the end.
    pub(crate) answer: mpsc::Sender<Result<v1::UploadLogsResponse, Status>>,
}

/// All logs that are asked for or being told.
#[derive(Default)]
pub(crate) struct LogDesk(Mutex<BTreeMap<LogId, Entry>>);

struct Entry {
    place: LogPlace,
    /// None: the host has called.
    waiting: Option<oneshot::Sender<Upload>>,
    /// Why the host's session is over.
    lost: watch::Sender<Option<String>>,
}

/// A log that was asked for. Dropped, it is forgotten: a host that offers it later is refused.
pub(crate) struct Asked {
    desk: Arc<LogDesk>,
    id: LogId,
    /// Who was asked.
    pub(crate) place: LogPlace,
    offered: oneshot::Receiver<Upload>,
    lost: watch::Receiver<Option<String>>,
}

impl LogDesk {
    /// Makes a place for a log of that host's session.
    ///
    /// # Errors
    /// When too many are open already.
    pub(crate) fn ask(self: &Arc<Self>, place: LogPlace) -> Result<Asked, Status> {
        let mut id = LogId::default();
        rand::fill(&mut id).map_err(|_| Status::internal("the system gave no randomness"))?;
        let (waiting, offered) = oneshot::channel();
        let (lost, ended) = watch::channel(None);
        let mut open = self.open();
        room(&open, &place.host)?;
        open.insert(id, Entry { place: place.clone(), waiting: Some(waiting), lost });
        Ok(Asked { desk: Arc::clone(self), id, place, offered, lost: ended })
    }

    /// The operator who waits for this log of this host. It can be had once.
    ///
    /// # Errors
    /// When nobody waits for it, or not from this host.
    pub(crate) fn claim(
        &self,
        id: &[u8],
        host: &HostName,
    ) -> Result<oneshot::Sender<Upload>, Status> {
        let nobody = || Status::not_found("nobody waits for this log (any more)");
        let id: LogId = id.try_into().map_err(|_| Status::invalid_argument("that is no id"))?;
        let mut open = self.open();
        let entry = open.get_mut(&id).ok_or_else(nobody)?;
        if entry.place.host != *host {
            return Err(Status::permission_denied("another host was asked for this log"));
        }
        entry.waiting.take().ok_or_else(nobody)
    }

    /// A host's session is over, and with it every log that was asked for in it.
    pub(crate) fn session_ended(&self, host: &HostName, session: u64, why: &str) {
        let open = self.open();
        let of = |entry: &&Entry| entry.place.host == *host && entry.place.session == session;
        for entry in open.values().filter(of) {
            entry.lost.send_replace(Some(why.to_owned()));
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<LogId, Entry>> {
        // Each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each log that is read costs its host a connection to its engine, or a process.
fn room(open: &BTreeMap<LogId, Entry>, host: &HostName) -> Result<(), Status> {
    let full = |count: usize, max: u32| u32::try_from(count).unwrap_or(u32::MAX) >= max;
    let of_host = open.values().filter(|entry| entry.place.host == *host).count();
    let why = match () {
        () if full(open.len(), LOGS_MAX) => format!("{LOGS_MAX} logs are being read already"),
        () if full(of_host, LOGS_PER_HOST) => {
            format!("{LOGS_PER_HOST} logs of host {host} are being read already")
        }
        () => return Ok(()),
    };
    Err(Status::resource_exhausted(format!("{why}; end one of them (-f never ends by itself)")))
}

impl Asked {
    /// As the host is told it.
    pub(crate) fn id(&self) -> Vec<u8> {
        self.id.to_vec()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.desk.open().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, session: u64) -> LogPlace {
        LogPlace { agent: "a-01".into(), host: host.parse().expect("a name"), session }
    }

    #[test]
    fn an_id_is_good_for_its_host_once_and_while_somebody_waits() {
        let desk = Arc::new(LogDesk::default());
        let asked = desk.ask(place("h1", 1)).expect("room");
        let other = desk.ask(place("h1", 1)).expect("room");
        assert_ne!(asked.id(), other.id());
        let code = |id: &[u8], host: &str| {
            let host = host.parse().expect("a name");
            desk.claim(id, &host).err().map(|status| status.code())
        };
        assert_eq!(code(&asked.id(), "h2"), Some(tonic::Code::PermissionDenied));
        assert_eq!(code(&[0; 16], "h1"), Some(tonic::Code::NotFound));
        assert_eq!(code(&[0; 15], "h1"), Some(tonic::Code::InvalidArgument));
        assert_eq!(code(&asked.id(), "h1"), None, "h2 has not spoiled it");
        assert_eq!(code(&asked.id(), "h1"), Some(tonic::Code::NotFound));
        let id = other.id();
        drop((asked, other));
        assert_eq!(code(&id, "h1"), Some(tonic::Code::NotFound));
        assert!(desk.open().is_empty());
    }

    #[test]
    fn there_is_room_for_so_many_of_a_host_and_so_many_in_all() {
        let desk = Arc::new(LogDesk::default());
        let ask = |number: u32| desk.ask(place(&format!("h{}", number / LOGS_PER_HOST), 1));
        let mut all: Vec<Asked> = (0..LOGS_MAX).map(|n| ask(n).expect("room")).collect();
        assert!(ask(LOGS_MAX).is_err(), "another host");
        drop(all.drain(LOGS_PER_HOST as usize..));
        let full = desk.ask(place("h0", 1)).err().expect("of this host there are enough");
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
        assert!(full.message().contains("h0"), "{full}");
        all.pop();
        desk.ask(place("h0", 2)).expect("room again");
    }

    #[test]
    fn only_the_session_that_was_asked_loses_its_logs() {
        let desk = Arc::new(LogDesk::default());
        let (old, new) = (desk.ask(place("h1", 1)), desk.ask(place("h1", 2)));
        desk.session_ended(&"h1".parse().expect("a name"), 1, "gone");
        let lost = |asked: Result<Asked, Status>| asked.expect("room").lost.borrow().clone();
        assert_eq!((lost(old), lost(new)), (Some("gone".to_owned()), None));
    }
}
