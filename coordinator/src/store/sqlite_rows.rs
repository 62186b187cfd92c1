//! The statements of the SQLite store.

use fleet_model::At;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::{
    Batch, Committed, EventQuery, Expected, Keep, NewEvent, Object, Put, StoreError, StoredEvent,
    sqlite::translate,
};

pub(super) fn load_all(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    let object = |row: &Row<'_>| {
        Ok(Object {
            kind: row.get(0)?,
            id: row.get(1)?,
            rev: unsigned(row.get(2)?),
            body: row.get(3)?,
        })
    };
    connection
        .prepare_cached("SELECT kind, id, rev, body FROM object ORDER BY kind, id")?
        .query_map([], object)?
        .collect()
}

/// One transaction: checks every expectation, then writes. IMMEDIATE takes the write lock first,
/// so that nothing can change between check and write.
pub(super) fn commit(connection: &mut Connection, batch: &Batch) -> Result<Committed, StoreError> {
    let write = |e| translate("write", e);
    let change =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(write)?;
    for delete in &batch.deletes {
        let found = revision(&change, delete.kind, &delete.id).map_err(write)?;
        if found != Some(delete.expected) {
            return Err(conflict(delete.kind, &delete.id));
        }
        change
            .prepare_cached("DELETE FROM object WHERE kind = ?1 AND id = ?2")
            .and_then(|mut s| s.execute(params![delete.kind, delete.id]))
            .map_err(write)?;
    }
    let revs = batch.puts.iter().map(|put| store(&change, put)).collect::<Result<_, _>>()?;
    for event in &batch.events {
        log(&change, event).map_err(write)?;
    }
    let last_seq = last_seq(&change).map_err(write)?;
    change.commit().map_err(write)?;
    Ok(Committed { revs, last_seq })
}

fn store(change: &Transaction<'_>, put: &Put) -> Result<u64, StoreError> {
    let write = |e| translate("write", e);
    let found = revision(change, put.kind, &put.id).map_err(write)?;
    let rev = match (put.expected, found) {
        (Expected::Absent, None) => 1,
        (Expected::Rev(expected), Some(found)) if expected == found => found + 1,
        _ => return Err(conflict(put.kind, &put.id)),
    };
    change
        .prepare_cached("INSERT OR REPLACE INTO object(kind, id, rev, body) VALUES(?1, ?2, ?3, ?4)")
        .and_then(|mut s| s.execute(params![put.kind, put.id, signed(rev), put.body]))
        .map_err(write)?;
    Ok(rev)
}

fn revision(change: &Transaction<'_>, kind: &str, id: &str) -> rusqlite::Result<Option<u64>> {
    change
        .prepare_cached("SELECT rev FROM object WHERE kind = ?1 AND id = ?2")?
        .query_row(params![kind, id], |row| row.get(0).map(unsigned))
        .optional()
}

fn log(change: &Transaction<'_>, event: &NewEvent) -> rusqlite::Result<()> {
    change
        .prepare_cached(
            "INSERT INTO event(at_ms, kind, actor, pool, host, agent, message)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            signed(event.at.0),
            event.kind,
            event.actor,
            event.pool,
            event.host,
            event.agent,
            event.message
        ])
        .map(drop)
}

/// From the counter, not from the table: pruned events keep their numbers.
fn last_seq(change: &Transaction<'_>) -> rusqlite::Result<u64> {
    let seq = change
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?
        .query_row([], |row| row.get(0).map(unsigned))
        .optional()?;
    Ok(seq.unwrap_or(0))
}

pub(super) fn events(
    connection: &Connection,
    query: &EventQuery,
) -> rusqlite::Result<Vec<StoredEvent>> {
    let order = match query.keep {
        Keep::Oldest => "ASC",
        Keep::Newest => "DESC",
    };
    // Only texts of this file are put together; every value is a parameter.
    let mut sql = String::from(
        "SELECT seq, at_ms, kind, actor, pool, host, agent, message FROM event WHERE seq > ?1",
    );
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![Box::new(signed(query.after))];
    if let Some(since) = query.since {
        values.push(Box::new(signed(since.0)));
        sql.push_str(&format!(" AND at_ms >= ?{}", values.len()));
    }
    for (column, value) in [("pool", &query.pool), ("host", &query.host), ("agent", &query.agent)] {
        if let Some(value) = value {
            values.push(Box::new(value.clone()));
            // The second half lets the partial index serve.
            sql.push_str(&format!(" AND {column} = ?{} AND {column} <> ''", values.len()));
        }
    }
    values.push(Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    sql.push_str(&format!(" ORDER BY seq {order} LIMIT ?{}", values.len()));
    let mut found = connection
        .prepare_cached(&sql)?
        .query_map(rusqlite::params_from_iter(values), event)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if query.keep == Keep::Newest {
        found.reverse();
    }
    Ok(found)
}

fn event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        seq: unsigned(row.get(0)?),
        at: At(unsigned(row.get(1)?)),
        kind: row.get(2)?,
        actor: row.get(3)?,
        pool: row.get(4)?,
        host: row.get(5)?,
        agent: row.get(6)?,
        message: row.get(7)?,
    })
}

pub(super) fn prune(connection: &Connection, before: At) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("DELETE FROM event WHERE at_ms < ?1")?
        .execute(params![signed(before.0)])
        .map(|count| count as u64)
}

fn conflict(kind: &str, id: &str) -> StoreError {
    StoreError::Conflict { kind: kind.to_owned(), id: id.to_owned() }
}

// SQLite's integers are signed; ours never come near the top of either.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
