//! Operators invite and remove hosts.

use coordinator_plan::{FleetEvent, HostRecord};
use fleet_model::{HostName, Labels};

use super::{denied::Denied, event::Invitation, state::State, turn::Turn, watchers::Watched};
use crate::{
    records::{HOST, ORPHAN, Orphan, REMOVED, RemovedHost, TOKEN, TokenRecord},
    store::NewEvent,
};

impl State {
    /// The host of that name.
    pub(crate) fn known_host(&self, name: &str) -> Result<HostName, Denied> {
        self.fleet
            .hosts()
            .map(|(host, _)| host)
            .find(|host| host.as_str() == name)
            .cloned()
            .ok_or_else(|| {
                let known = self.fleet.hosts().map(|(host, _)| host.to_string()).collect();
                Denied::UnknownHost { host: name.to_owned(), known }
            })
    }

    pub(crate) fn invite(
        &mut self,
        invitation: Invitation,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) + use<>, Denied> {
        self.writable()?;
        check_labels(&invitation.labels)?;
        let Invitation { host, labels, token_hash, expires } = invitation;
        let old = self.fleet.host(&host).map(|entry| entry.record.clone());
        let again = if old.is_some() { " again" } else { "" };
        let mut record = old.unwrap_or_else(|| HostRecord {
            name: host.clone(),
            labels: Labels::new(),
            restraint: None,
            invited: turn.now,
            joined: None,
            keys: Vec::new(),
            certificate_expires: None,
        });
        record.labels = labels;
        turn.changes.put(HOST, &host, &record);
        self.drop_tokens(|token| token.host == host && token.used.is_none(), turn);
        let hash = token_hash.clone();
        let token =
            TokenRecord { hash, host: host.clone(), expires, used: None, by: by.to_owned() };
        turn.changes.put(TOKEN, &token_hash, &token);
        self.book.tokens.insert(token_hash, token);
        let labels: Vec<String> = record.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let said = format!("invited{again} with {}", labels.join(", "));
        turn.event(NewEvent::new(turn.now, "host.invited", by).host(&host).says(said));
        self.watchers.touch(Watched::Host(host), turn.now);
        self.apply(FleetEvent::HostPut(record), turn);
        Ok(|_: &mut State| ())
    }

    /// Only the newest invitation of a host counts.
    pub(crate) fn drop_tokens(&mut self, which: impl Fn(&TokenRecord) -> bool, turn: &mut Turn) {
        let old: Vec<String> =
            self.book.tokens.values().filter(|t| which(t)).map(|t| t.hash.clone()).collect();
        for hash in old {
            turn.changes.delete(TOKEN, &hash);
            self.book.tokens.remove(&hash);
        }
    }

    pub(crate) fn remove_host(
        &mut self,
        host: &str,
        force: bool,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) + use<>, Denied> {
        self.writable()?;
        let host = self.known_host(host)?;
        if !force {
            self.check_unused(&host)?;
        }
        let orphans = self.orphans_of(&host);
        for orphan in &orphans {
            turn.changes.put(ORPHAN, orphan.id(), orphan);
        }
        let rows = orphans.len();
        self.book.orphans.extend(orphans.into_iter().map(|orphan| (orphan.id(), orphan)));
        let keys = self.fleet.host(&host).map(|e| e.record.keys.clone()).unwrap_or_default();
        let gone = RemovedHost { host: host.clone(), keys, at: turn.now };
        turn.changes.put(REMOVED, &host, &gone);
        turn.changes.delete(HOST, &host);
        self.book.removed.insert(host.clone(), gone);
        self.drop_tokens(|token| token.host == host, turn);
        let how = if force { "removed by force" } else { "removed" };
        let said = format!("{how}; {rows} rows at Azure are left to the coordinator");
        turn.event(NewEvent::new(turn.now, "host.removed", by).host(&host).says(said));
        for agent in self.fleet.host(&host).iter().flat_map(|entry| entry.agents.keys()) {
            self.watchers.touch(Watched::Agent(host.clone(), agent.clone()), turn.now);
        }
        for pool in self.fleet.pool_names() {
            self.watchers.touch(Watched::Pool(pool.clone()), turn.now);
        }
        turn.hosts.insert(host.clone());
        turn.targets = true;
        self.apply(FleetEvent::HostRemoved(host.clone()), turn);
        // Its connection ends only when the removal is safe.
        Ok(move |state: &mut State| {
            state.sessions.end(&host, "this host was removed from the fleet")
        })
    }

    fn check_unused(&self, host: &HostName) -> Result<(), Denied> {
        let Some(entry) = self.fleet.host(host) else { return Ok(()) };
        let force = format!("or use `agentctl host remove {host} --force`");
        if entry.in_session {
            return Err(Denied::NotNow(format!(
                "host {host} is in session; stop hostd there first, {force}"
            )));
        }
        if !entry.agents.is_empty() {
            return Err(Denied::NotNow(format!(
                "host {host} was last seen with {} agents; bring it back and let them go first, {force}",
                entry.agents.len()
            )));
        }
        let has_part = |pool: &&fleet_model::PoolName| {
            self.fleet.pool_view(pool).is_some_and(|view| view.placed.on_host(host) > 0)
        };
        match self.fleet.pool_names().find(has_part) {
            Some(pool) => Err(Denied::NotNow(format!(
                "host {host} has a part in pool {pool}, and whether its agents are gone is not known; \
                 bring it back first, {force}"
            ))),
            None => Ok(()),
        }
    }

    /// Rows that the host knew as its own. Nobody else will delete them.
    fn orphans_of(&self, host: &HostName) -> Vec<Orphan> {
        let Some(entry) = self.fleet.host(host) else { return Vec::new() };
        let orphan = |agent: &fleet_model::AgentStatus| {
            let view = self.fleet.pool_view(&agent.pool)?;
            let (azure, rows) = (view.spec.azure.clone(), view.rows.get(&agent.agent));
            Some(Orphan {
                pool: agent.pool.clone(),
                azure,
                agent_id: agent.agent_id?,
                agent: agent.agent.clone(),
                host: host.clone(),
                why: String::new(),
                was_enabled: rows.is_some_and(|row| row.enabled),
                claimed: false,
            })
        };
        entry.agents.values().filter_map(orphan).collect()
    }
}

/// Values must be such that a selector can name them.
fn check_labels(labels: &Labels) -> Result<(), Denied> {
    let bad = |value: &str| {
        value.is_empty()
            || value.len() > 63
            || value.contains(|c: char| c.is_control() || c.is_whitespace() || "(),=!".contains(c))
    };
    match labels.iter().find(|(_, value)| bad(value)) {
        Some((key, value)) => Err(Denied::Invalid(format!(
            "{value:?} cannot be the value of label {key}: 1 to 63 characters, no blanks, none of ( ) , = !"
        ))),
        None => Ok(()),
    }
}
