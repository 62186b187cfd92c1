//! Hosts are admitted: by an invitation, by a known key, or in good time by renewal.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use coordinator_plan::{FleetEvent, HostRecord};
use fleet_model::{HostName, numbers::JOIN_TOKEN_LIFE};

use super::{
    denied::Denied,
    event::{Enrol, Key},
    state::{SELF, State},
    turn::Turn,
};
use crate::{
    records::{HOST, REMOVED, TOKEN},
    store::NewEvent,
};

/// Keys a host may come back with: the newest, and the ones it may have fallen back to when it
/// crashed between asking for a certificate and keeping it.
const KEYS_KEPT: usize = 3;

impl State {
    pub(crate) fn take_enrol(&mut self, enrol: Enrol, turn: &mut Turn) {
        let (host, what, checked, reply) = match enrol {
            Enrol::Join { host, token_hash, key, reply } => {
                let checked =
                    self.writable().and_then(|()| self.join(&host, &token_hash, key, turn));
                (host, "host.join-refused", checked, reply)
            }
            Enrol::Readmit { host, old_key, key, reply } => {
                let checked = self.renew(&host, &old_key, key, "host.readmitted", turn);
                (host, "host.readmit-refused", checked, reply)
            }
            Enrol::Renew { host, old_key, key, reply } => {
                let checked = self.renew(&host, &old_key, key, "host.renewed", turn);
                (host, "host.renew-refused", checked, reply)
            }
        };
        if let Err(denied) = &checked {
            tracing::warn!(%host, reason = %denied, "{what}");
            let event = NewEvent::new(turn.now, what, SELF).host(&host).says(denied.to_string());
            self.refusals.note(event, turn);
        }
        turn.settle(reply, checked.map(|()| |_: &mut State| ()));
    }

    fn join(
        &mut self,
        host: &HostName,
        token_hash: &str,
        key: Key,
        turn: &mut Turn,
    ) -> Result<(), Denied> {
        let record = self.redeem(host, token_hash, turn)?;
        let mut record = record;
        record.joined = Some(turn.now);
        // A host that joins anew is a new one: what it was before may not come back beside it.
        record.keys = vec![key.sha256];
        record.certificate_expires = Some(key.expires);
        if self.book.removed.remove(host).is_some() {
            turn.changes.delete(REMOVED, host);
        }
        // Its rows are its own business again.
        self.claim_rows(|orphan| orphan.host == *host, turn);
        turn.event(NewEvent::new(turn.now, "host.joined", format!("host {host}")).host(host));
        if self.sessions.has(host) {
            self.sessions.end(host, "this host joined anew, with another key");
            self.apply(FleetEvent::SessionClosed { host: host.clone() }, turn);
        }
        self.put_host(record, turn);
        Ok(())
    }

    /// Uses up the token, or says what is wrong with it.
    fn redeem(
        &mut self,
        host: &HostName,
        hash: &str,
        turn: &mut Turn,
    ) -> Result<HostRecord, Denied> {
        let next = format!("ask for a new one with `agentctl host invite {host} --lab LAB`");
        let refuse = |why: &str| Err(Denied::NotAdmitted(format!("the join token {why}; {next}")));
        // Every token is looked at, so that the time taken says nothing about which one is near.
        let mut found = None;
        for token in self.book.tokens.values() {
            if verify_slices_are_equal(token.hash.as_bytes(), hash.as_bytes()).is_ok() {
                found = Some(token.clone());
            }
        }
        let Some(mut token) = found else { return refuse("is not known") };
        // Only the invited host learns more; a token says nothing to others.
        if token.host != *host {
            return refuse("is for another host");
        }
        if token.used.is_some() {
            return refuse("was used already");
        }
        if turn.now >= token.expires {
            return refuse("has expired");
        }
        let Some(entry) = self.fleet.host(host) else { return refuse("is for a removed host") };
        token.used = Some(turn.now);
        turn.changes.put(TOKEN, &token.hash, &token);
        self.book.tokens.insert(token.hash.clone(), token);
        Ok(entry.record.clone())
    }

    /// A key that is known may bring a new one.
    fn renew(
        &mut self,
        host: &HostName,
        old_key: &str,
        key: Key,
        what: &'static str,
        turn: &mut Turn,
    ) -> Result<(), Denied> {
        let refuse = |why: &str| {
            let next = format!("invite it again with `agentctl host invite {host} --lab LAB`");
            Err(Denied::NotAdmitted(format!("host {host} {why}; {next}")))
        };
        // Not `writable`: a read-only coordinator must not let its hosts' certificates run out.
        let Some(entry) = self.fleet.host(host) else {
            return refuse("is not part of the fleet");
        };
        let mut record = entry.record.clone();
        if !record.keys.iter().any(|known| known == old_key) {
            return refuse("shows a key that is not its own (any more)");
        }
        record.keys.retain(|known| *known != key.sha256);
        record.keys.push(key.sha256);
        let surplus = record.keys.len().saturating_sub(KEYS_KEPT);
        record.keys.drain(..surplus);
        record.certificate_expires = Some(key.expires);
        turn.event(NewEvent::new(turn.now, what, format!("host {host}")).host(host));
        self.put_host(record, turn);
        Ok(())
    }

    fn put_host(&mut self, record: HostRecord, turn: &mut Turn) {
        turn.changes.put(HOST, &record.name, &record);
        turn.hosts.insert(record.name.clone());
        self.apply(FleetEvent::HostPut(record), turn);
        // Used tokens stay for a while, so that using one again gets the right answer.
        let (now, keep) = (turn.now, JOIN_TOKEN_LIFE * 6 * 24);
        self.drop_tokens(|token| now.since(token.expires) > keep, turn);
    }
}
