//! The store in one file, by SQLite.
//!
//! One thread owns the connection that writes, so that batches are ordered without a lock and no
//! async task ever waits in a system call. Reading the event log uses a connection of its own:
//! somebody paging through 90 days of history must not hold back a commit.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::At;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::{
    Batch, Committed, EventQuery, Object, Store, StoreError, StoredEvent, sqlite_rows as rows,
};

/// See the module.
#[derive(Debug)]
pub struct SqliteStore {
    // Dropping the sender ends the writer, after it has done what it was given.
    jobs: mpsc::Sender<Job>,
    reader: Arc<Mutex<Connection>>,
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    LoadAll(Reply<Vec<Object>>),
    Commit(Batch, Reply<Committed>),
    Prune(At, Reply<u64>),
    Backup(PathBuf, Reply<()>),
    Close(Reply<()>),
}

/// Steps from one layout to the next; the number of steps done is kept in `user_version`.
/// A step that was released is never changed, a new one is appended.
const LAYOUT: &[&str] = &["
    CREATE TABLE object(
        kind TEXT NOT NULL, id TEXT NOT NULL, rev INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY(kind, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE event(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
        actor TEXT NOT NULL, pool TEXT NOT NULL, host TEXT NOT NULL, agent TEXT NOT NULL,
        message TEXT NOT NULL) STRICT;
    CREATE INDEX event_at ON event(at_ms);
    CREATE INDEX event_pool ON event(pool, seq) WHERE pool <> '';
    CREATE INDEX event_host ON event(host, seq) WHERE host <> '';
    CREATE INDEX event_agent ON event(agent, seq) WHERE agent <> '';"];

impl SqliteStore {
    /// Makes a new, empty store readable by its owner only.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its side files the rights of the main file, so this one mode covers them.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.map_err(|source| StoreError::Io { what: "create", source: source.into() })?;
        Self::open(path)
    }

    /// Opens a store, brings its layout up to date and checks it.
    ///
    /// # Errors
    /// When it is missing, damaged, or newer than this program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Missing { path: path.display().to_string() });
        }
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        check(&writer)?;
        let reader = Arc::new(Mutex::new(connect(path)?));
        let (jobs, todo) = mpsc::channel();
        thread::Builder::new().name("store".into()).spawn(move || work(writer, &todo)).map_err(
            |source| StoreError::Io { what: "start the writer of", source: source.into() },
        )?;
        Ok(Self { jobs, reader })
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load_all(&self) -> Result<Vec<Object>, StoreError> {
        self.ask(Job::LoadAll).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.ask(|reply| Job::Commit(batch, reply)).await
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        let reader = Arc::clone(&self.reader);
        let read = move || {
            // A panic while reading leaves the connection as good as it was.
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            rows::events(&connection, &query).map_err(|e| translate("read", e))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| StoreError::Closed)?
    }

    async fn prune_events(&self, before: At) -> Result<u64, StoreError> {
        self.ask(|reply| Job::Prune(before, reply)).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.ask(|reply| Job::Backup(to.to_owned(), reply)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.ask(Job::Close).await
    }
}

/// The writer: one job after the other until nobody can send any more.
fn work(mut connection: Connection, todo: &mpsc::Receiver<Job>) {
    while let Ok(job) = todo.recv() {
        // Nobody waits for an answer whose asker has gone; the work itself is done all the same.
        match job {
            Job::LoadAll(reply) => {
                let _ = reply.send(rows::load_all(&connection).map_err(|e| translate("read", e)));
            }
            Job::Commit(batch, reply) => {
                let _ = reply.send(rows::commit(&mut connection, &batch));
            }
            Job::Prune(before, reply) => {
                let pruned = rows::prune(&connection, before).map_err(|e| translate("write", e));
                let _ = reply.send(pruned);
            }
            Job::Backup(to, reply) => {
                let _ = reply.send(backup(&connection, &to));
            }
            Job::Close(reply) => {
                let _ = reply.send(rest(connection).map_err(|e| translate("close", e)));
                return;
            }
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode NORMAL may lose the last commits at a power cut; FULL does not.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // The log of a burst is folded back soon, so that the side file stays small.
        connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    open().map_err(|e| translate("open", e))
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(LAYOUT.len()).unwrap_or(i64::MAX);
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|e| translate("read", e))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let mut step = |number: usize, sql: &str| -> rusqlite::Result<()> {
        let change = connection.transaction()?;
        change.execute_batch(sql)?;
        change.pragma_update(None, "user_version", i64::try_from(number).unwrap_or(i64::MAX))?;
        change.commit()
    };
    for (done, sql) in LAYOUT.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        step(done + 1, sql).map_err(|e| translate("bring up to date", e))?;
    }
    Ok(())
}

/// SQLite's own look at its file: cheap at our sizes, and the moment to find damage is the start.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| translate("check", e))?;
    if said == "ok" { Ok(()) } else { Err(StoreError::Damaged { detail: said }) }
}

/// Folds the side file back into the one file.
fn rest(connection: Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

fn backup(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    made.map_err(|source| StoreError::Io { what: "create the copy of", source: source.into() })?;
    let copy = || -> rusqlite::Result<()> {
        let mut target = Connection::open(to)?;
        let backup = rusqlite::backup::Backup::new(connection, &mut target)?;
        backup.run_to_completion(1024, Duration::ZERO, None)
    };
    copy().map_err(|e| translate("copy", e))
}

/// SQLite's errors in the words of the seam.
pub(super) fn translate(what: &'static str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { detail: error.to_string() }
        }
        _ => StoreError::Io { what, source: error.into() },
    }
}
