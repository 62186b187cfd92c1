//! The store's content in memory, and changes on their way into the store.
//!
//! A change is made in memory and noted in [`Changes`]; the notes of one turn of the loop become one
//! batch. When the batch is refused, memory is ahead of the store and is loaded anew.

use std::collections::BTreeMap;

use coordinator_plan::{HostRecord, Placed, Saved};
use fleet_model::{CredentialName, HostName, PoolName, PoolSpec};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    records::{
        CREDENTIAL, CredentialRecord, HOST, META, META_ID, Meta, ORPHAN, Orphan, PLACEMENT, POOL,
        REMOVED, RemovedHost, TOKEN, TokenRecord,
    },
    store::{Batch, Committed, Delete, Expected, NewEvent, Object, Put, StoreError},
};

type Key = (&'static str, String);

/// Everything stored that the plan does not hold itself.
#[derive(Debug)]
pub(crate) struct Book {
    /// The fleet as a whole.
    pub meta: Meta,
    /// Invitations by the hash of their token.
    pub tokens: BTreeMap<String, TokenRecord>,
    /// Sealed secrets.
    pub credentials: BTreeMap<CredentialName, CredentialRecord>,
    /// Hosts that may not come back.
    pub removed: BTreeMap<HostName, RemovedHost>,
    /// Rows that the coordinator has to delete itself.
    pub orphans: BTreeMap<String, Orphan>,
    revs: BTreeMap<Key, u64>,
}

/// What one turn changes. The last word on an object counts.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New bodies; none: the object ends.
    objects: BTreeMap<Key, Option<Vec<u8>>>,
    /// For the history.
    pub events: Vec<NewEvent>,
}

/// A batch with the keys of its puts, so that their new revisions find home.
pub(crate) struct Outgoing {
    /// For the store.
    pub batch: Batch,
    puts: Vec<Key>,
    deletes: Vec<Key>,
}

impl Book {
    /// Reads all objects; the plan's part comes out beside the book.
    ///
    /// # Errors
    /// When an object cannot be read or the fleet's own is missing.
    pub(crate) fn load(objects: Vec<Object>) -> Result<(Self, Saved), StoreError> {
        let mut revs = BTreeMap::new();
        let (mut meta, mut saved) = (None, Saved::default());
        let (mut tokens, mut credentials) = (BTreeMap::new(), BTreeMap::new());
        let (mut removed, mut orphans) = (BTreeMap::new(), BTreeMap::new());
        for object in objects {
            let kind = match object.kind.as_str() {
                META => {
                    meta = Some(read::<Meta>(&object)?);
                    META
                }
                POOL => {
                    saved.pools.push(read::<PoolSpec>(&object)?);
                    POOL
                }
                HOST => {
                    saved.hosts.push(read::<HostRecord>(&object)?);
                    HOST
                }
                PLACEMENT => {
                    let pool: PoolName = object.id.parse().map_err(|e| damaged(&object, &e))?;
                    saved.placements.insert(pool, read::<Placed>(&object)?);
                    PLACEMENT
                }
                CREDENTIAL => {
                    let record: CredentialRecord = read(&object)?;
                    saved.credentials.insert(record.name.clone(), record.fingerprint.clone());
                    credentials.insert(record.name.clone(), record);
                    CREDENTIAL
                }
                TOKEN => {
                    let record: TokenRecord = read(&object)?;
                    tokens.insert(record.hash.clone(), record);
                    TOKEN
                }
                REMOVED => {
                    let record: RemovedHost = read(&object)?;
                    removed.insert(record.host.clone(), record);
                    REMOVED
                }
                ORPHAN => {
                    let orphan: Orphan = read(&object)?;
                    orphans.insert(orphan.id(), orphan);
                    ORPHAN
                }
                // Written by a newer version with the same layout: kept, not understood.
                _ => continue,
            };
            revs.insert((kind, object.id), object.rev);
        }
        let meta = meta.ok_or_else(|| StoreError::Damaged {
            detail: "the fleet's own entry is gone".into(),
        })?;
        saved.order = meta.order;
        Ok((Self { meta, tokens, credentials, removed, orphans, revs }, saved))
    }

    /// The batch for these changes, each with the revision it was decided on.
    pub(crate) fn outgoing(&self, changes: Changes) -> Outgoing {
        let mut out = Outgoing {
            batch: Batch { events: changes.events, ..Batch::default() },
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        for ((kind, id), body) in changes.objects {
            let rev = self.revs.get(&(kind, id.clone())).copied();
            match (body, rev) {
                (Some(body), rev) => {
                    let expected = rev.map_or(Expected::Absent, Expected::Rev);
                    out.batch.puts.push(Put { kind, id: id.clone(), expected, body });
                    out.puts.push((kind, id));
                }
                (None, Some(expected)) => {
                    out.batch.deletes.push(Delete { kind, id: id.clone(), expected });
                    out.deletes.push((kind, id));
                }
                // Made and ended within one turn.
                (None, None) => {}
            }
        }
        out
    }

    /// Takes in the revisions of a batch that is safe.
    pub(crate) fn committed(&mut self, puts: Vec<Key>, deletes: &[Key], committed: &Committed) {
        for key in deletes {
            self.revs.remove(key);
        }
        self.revs.extend(puts.into_iter().zip(committed.revs.iter().copied()));
    }

    /// Notes the fleet's own entry as changed.
    pub(crate) fn put_meta(&self, changes: &mut Changes) {
        changes.put(META, META_ID, &self.meta);
    }
}

impl Outgoing {
    /// The batch, and the keys that [`Book::committed`] wants back.
    pub(crate) fn split(self) -> (Batch, Vec<Key>, Vec<Key>) {
        (self.batch, self.puts, self.deletes)
    }
}

impl Changes {
    /// Nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.events.is_empty()
    }

    /// The first batch of a store, where nothing is there yet.
    pub(crate) fn into_first_batch(self) -> Batch {
        let put = |((kind, id), body): (Key, Option<Vec<u8>>)| {
            Some(Put { kind, id, expected: Expected::Absent, body: body? })
        };
        let puts = self.objects.into_iter().filter_map(put).collect();
        Batch { puts, deletes: Vec::new(), events: self.events }
    }

    /// A new body.
    pub(crate) fn put<T: Serialize>(&mut self, kind: &'static str, id: impl ToString, body: &T) {
        let body = serde_json::to_vec(body).expect("records are plain data with text keys");
        self.objects.insert((kind, id.to_string()), Some(body));
    }

    /// The end of an object.
    pub(crate) fn delete(&mut self, kind: &'static str, id: impl ToString) {
        self.objects.insert((kind, id.to_string()), None);
    }

    /// A line of history.
    pub(crate) fn event(&mut self, event: NewEvent) {
        self.events.push(event);
    }
}

fn read<T: DeserializeOwned>(object: &Object) -> Result<T, StoreError> {
    serde_json::from_slice(&object.body).map_err(|error| damaged(object, &error))
}

fn damaged(object: &Object, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { detail: format!("{} {:?}: {why}", object.kind, object.id) }
}
