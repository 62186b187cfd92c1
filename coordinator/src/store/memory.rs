//! A store that forgets at the end of the program: for tests and simulations.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use fleet_model::At;

use super::{
    Batch, Committed, EventQuery, Expected, Keep, NewEvent, Object, Store, StoreError, StoredEvent,
};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<(String, String), (u64, Vec<u8>)>,
    events: Vec<StoredEvent>,
    last_seq: u64,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is made only after all checks, so a panic leaves no half batch.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load_all(&self) -> Result<Vec<Object>, StoreError> {
        let object = |((kind, id), (rev, body)): (&(String, String), &(u64, Vec<u8>))| Object {
            kind: kind.clone(),
            id: id.clone(),
            rev: *rev,
            body: body.clone(),
        };
        Ok(self.state().objects.iter().map(object).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let mut state = self.state();
        state.check(&batch)?;
        for delete in batch.deletes {
            state.objects.remove(&(delete.kind.to_owned(), delete.id));
        }
        let mut revs = Vec::with_capacity(batch.puts.len());
        for put in batch.puts {
            let rev = match put.expected {
                Expected::Absent => 1,
                Expected::Rev(rev) => rev + 1,
            };
            state.objects.insert((put.kind.to_owned(), put.id), (rev, put.body));
            revs.push(rev);
        }
        for event in batch.events {
            state.push(event);
        }
        Ok(Committed { revs, last_seq: state.last_seq })
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        let state = self.state();
        let matching = state.events.iter().filter(|event| wanted(&query, event));
        Ok(match query.keep {
            Keep::Oldest => matching.take(query.limit).cloned().collect(),
            Keep::Newest => {
                let mut found: Vec<_> = matching.rev().take(query.limit).cloned().collect();
                found.reverse();
                found
            }
        })
    }

    async fn prune_events(&self, before: At) -> Result<u64, StoreError> {
        let mut state = self.state();
        let had = state.events.len();
        state.events.retain(|event| event.at >= before);
        Ok((had - state.events.len()) as u64)
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::Io { what: "copy", source: "a store in memory has no copy".into() })
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let rev = |kind: &str, id: &str| {
            self.objects.get(&(kind.to_owned(), id.to_owned())).map(|(rev, _)| *rev)
        };
        let conflict =
            |kind: &str, id: &str| StoreError::Conflict { kind: kind.into(), id: id.into() };
        for put in &batch.puts {
            let expected = match put.expected {
                Expected::Absent => None,
                Expected::Rev(rev) => Some(rev),
            };
            if rev(put.kind, &put.id) != expected {
                return Err(conflict(put.kind, &put.id));
            }
        }
        match batch.deletes.iter().find(|d| rev(d.kind, &d.id) != Some(d.expected)) {
            Some(delete) => Err(conflict(delete.kind, &delete.id)),
            None => Ok(()),
        }
    }

    fn push(&mut self, event: NewEvent) {
        self.last_seq += 1;
        self.events.push(StoredEvent {
            seq: self.last_seq,
            at: event.at,
            kind: event.kind.into_owned(),
            actor: event.actor,
            pool: event.pool,
            host: event.host,
            agent: event.agent,
            message: event.message,
        });
    }
}

fn wanted(query: &EventQuery, event: &StoredEvent) -> bool {
    let same = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|a| a == is);
    event.seq > query.after
        && query.since.is_none_or(|since| event.at >= since)
        && same(&query.pool, &event.pool)
        && same(&query.host, &event.host)
        && same(&query.agent, &event.agent)
}
