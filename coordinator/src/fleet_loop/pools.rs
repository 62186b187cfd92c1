//! Operators change pools and credentials.

use coordinator_plan::FleetEvent;
use fleet_model::{CredentialName, Order, PoolName, PoolSpec, numbers::REPLICAS_MAX};
use fleet_proto::v1;

use super::{
    denied::Denied,
    event::{Insist, NewCredential, NewPool, Scaled},
    state::{SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::{
    records::{CREDENTIAL, CredentialRecord, POOL},
    store::NewEvent,
};

impl State {
    /// The pool of that name.
    pub(crate) fn known_pool(&self, name: &str) -> Result<PoolName, Denied> {
        self.fleet.pool_names().find(|pool| pool.as_str() == name).cloned().ok_or_else(|| {
            let known = self.fleet.pool_names().map(ToString::to_string).collect();
            Denied::UnknownPool { pool: name.to_owned(), known }
        })
    }

    /// A pool as it is wanted, for a change of it.
    pub(crate) fn kept_spec(&self, name: &PoolName) -> Result<PoolSpec, Denied> {
        match self.fleet.pool_view(name) {
            Some(view) if !view.spec.deleted => Ok(view.spec.clone()),
            _ => Err(Denied::BeingDeleted(name.clone())),
        }
    }

    pub(crate) fn create_pool(
        &mut self,
        new: NewPool,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> v1::Pool + use<>, Denied> {
        self.writable()?;
        // A leave is given by scaling and deleting, a restraint by draining, with an event each.
        let spec = PoolSpec { forced: None, restraint: None, ..new.spec };
        let name = spec.name.clone();
        self.check_new(&spec)?;
        let secret_known = self.book.credentials.contains_key(&spec.credential);
        match &new.credential {
            Some(credential) => self.check_credential(credential, &name)?,
            None if secret_known => {}
            None => {
                return Err(Denied::Invalid(format!(
                    "there is no credential {}; give its secret with --pat-file",
                    spec.credential
                )));
            }
        }
        if let Some(credential) = new.credential {
            self.store_credential(credential, by, turn);
        }
        turn.changes.put(POOL, &name, &spec);
        turn.event(
            NewEvent::new(turn.now, "pool.created", by)
                .pool(&name)
                .says(format!("agents register in {} at {}", spec.azure.pool, spec.azure.url)),
        );
        self.apply(FleetEvent::PoolPut(spec), turn);
        if new.trouble.is_some() {
            let event = FleetEvent::PoolTrouble { pool: name.clone(), trouble: new.trouble };
            self.apply(event, turn);
        }
        self.watchers.touch(Watched::Pool(name.clone()), turn.now);
        turn.targets = true;
        Ok(move |state: &mut State| state.views().pool(&name).unwrap_or_default())
    }

    fn check_new(&self, spec: &PoolSpec) -> Result<(), Denied> {
        spec.check().map_err(|error| Denied::Invalid(error.to_string()))?;
        if let Some(old) = self.fleet.pool_view(&spec.name) {
            return Err(if old.spec.deleted {
                Denied::BeingDeleted(spec.name.clone())
            } else {
                Denied::Exists(format!(
                    "pool {} exists already; `agentctl scale {} N` changes its count",
                    spec.name, spec.name
                ))
            });
        }
        // Agents are told apart at Azure by their names alone.
        let same = self.fleet.pool_names().find(|other| {
            self.fleet.pool_view(other).is_some_and(|view| {
                view.spec.azure == spec.azure && view.spec.prefix == spec.prefix
            })
        });
        match same {
            Some(other) => Err(Denied::Exists(format!(
                "pool {other} names its agents {}-… in the same Azure pool; choose another --prefix",
                spec.prefix
            ))),
            None => Ok(()),
        }
    }

    /// A secret that other pools use is not replaced by the way.
    fn check_credential(&self, new: &NewCredential, pool: &PoolName) -> Result<(), Denied> {
        let Some(old) = self.book.credentials.get(&new.name) else { return Ok(()) };
        match self.users_of(&new.name).find(|user| user != pool) {
            Some(user) if old.fingerprint != new.fingerprint => Err(Denied::Exists(format!(
                "credential {} exists with another secret and pool {user} uses it; choose another \
                 --credential name, or leave the secret out to use that one",
                new.name
            ))),
            _ => Ok(()),
        }
    }

    fn users_of(&self, credential: &CredentialName) -> impl Iterator<Item = PoolName> {
        self.fleet
            .pool_names()
            .filter(move |name| {
                self.fleet.pool_view(name).is_some_and(|view| view.spec.credential == *credential)
            })
            .cloned()
    }

    pub(crate) fn set_credential(
        &mut self,
        new: NewCredential,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) + use<>, Denied> {
        self.writable()?;
        self.store_credential(new, by, turn);
        Ok(|_: &mut State| ())
    }

    fn store_credential(&mut self, new: NewCredential, by: &str, turn: &mut Turn) {
        let record = CredentialRecord {
            name: new.name.clone(),
            fingerprint: new.fingerprint.clone(),
            sealed: crate::credentials::encode(&new.sealed),
            loaded: turn.now,
            expires: new.expires,
        };
        turn.changes.put(CREDENTIAL, &new.name, &record);
        let said = format!("credential {}, secret {}", new.name, new.fingerprint);
        turn.event(NewEvent::new(turn.now, "credential.set", by).says(said));
        // Both secrets can be opened until the turn is safe; a host asks by fingerprint.
        self.vault.put(&record);
        self.book.credentials.insert(new.name.clone(), record);
        for pool in self.users_of(&new.name).collect::<Vec<_>>() {
            self.watchers.touch(Watched::Pool(pool), turn.now);
        }
        let event = FleetEvent::CredentialPut { name: new.name, fingerprint: new.fingerprint };
        self.apply(event, turn);
        turn.targets = true;
    }

    /// A secret that nobody needs any more is not kept.
    pub(crate) fn forget_unused(&mut self, credential: &CredentialName, turn: &mut Turn) {
        if self.users_of(credential).next().is_none()
            && self.book.credentials.remove(credential).is_some()
        {
            turn.changes.delete(CREDENTIAL, credential);
            self.vault.remove(credential);
            let said = format!("credential {credential}: no pool uses it any more");
            turn.event(NewEvent::new(turn.now, "credential.removed", SELF).says(said));
        }
    }

    pub(crate) fn scale(
        &mut self,
        pool: &str,
        replicas: i64,
        insist: &Insist,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> Scaled + use<>, Denied> {
        self.writable()?;
        let name = self.known_pool(pool)?;
        let wanted = u32::try_from(replicas)
            .ok()
            .filter(|n| *n <= REPLICAS_MAX)
            .ok_or(Denied::Replicas(replicas))?;
        let mut spec = self.kept_spec(&name)?;
        let before = std::mem::replace(&mut spec.replicas, wanted);
        let had_leave = std::mem::replace(&mut spec.forced, insist.leave(by, turn.now)).is_some();
        if before != wanted || had_leave || spec.forced.is_some() {
            turn.changes.put(POOL, &name, &spec);
            let said = scaled(before, wanted, insist, had_leave);
            turn.event(NewEvent::new(turn.now, "pool.scaled", by).pool(&name).says(said));
            self.watchers.touch(Watched::Pool(name.clone()), turn.now);
            self.apply(FleetEvent::PoolPut(spec), turn);
        }
        Ok(move |state: &mut State| Scaled {
            order: state.fleet.order(),
            before,
            pool: state.views().pool(&name).unwrap_or_default(),
        })
    }

    pub(crate) fn delete_pool(
        &mut self,
        pool: &str,
        insist: &Insist,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> Order + use<>, Denied> {
        self.writable()?;
        let name = self.known_pool(pool)?;
        let view = self.fleet.pool_view(&name);
        // Of a pool that goes already, a force is news: Azure may have been lost meanwhile.
        if let Some(view) = view.filter(|view| !view.spec.deleted || insist.force) {
            let mut spec = view.spec.clone();
            let before = std::mem::take(&mut spec.replicas);
            spec.deleted = true;
            spec.forced = insist.leave(by, turn.now);
            turn.changes.put(POOL, &name, &spec);
            let said = format!(
                "its {before} agents go at the end of their jobs, then their rows{}",
                insist.said()
            );
            turn.event(NewEvent::new(turn.now, "pool.deleted", by).pool(&name).says(said));
            self.watchers.touch(Watched::Pool(name), turn.now);
            self.apply(FleetEvent::PoolPut(spec), turn);
        }
        // Asked twice is as good as once.
        Ok(|state: &mut State| state.fleet.order())
    }
}

/// A scale in words, for the history.
fn scaled(before: u32, wanted: u32, insist: &Insist, had_leave: bool) -> String {
    let count = match before == wanted {
        true => format!("stays at {wanted} agents"),
        false => format!("{before} → {wanted} agents"),
    };
    let taken_back = match had_leave && !insist.force {
        true => "; the leave to remove without Azure's word is taken back",
        false => "",
    };
    format!("{count}{}{taken_back}", insist.said())
}
