//! The store: one suite for all its kinds, then what only the file one can show.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use coordinator::store::{
    Batch, Delete, EventQuery, Expected, Keep, MemoryStore, NewEvent, Put, SqliteStore, Store,
    StoreError,
};
use fleet_model::At;

fn put(id: &str, expected: Expected, body: &str) -> Put {
    Put { kind: "thing", id: id.into(), expected, body: body.into() }
}

fn event(at: u64, pool: &str) -> NewEvent {
    NewEvent { pool: pool.into(), ..NewEvent::new(At(at), "test", "tester") }
}

async fn suite(store: &dyn Store) {
    compare_and_swap(store).await;
    a_batch_is_all_or_nothing(store).await;
    the_log_is_read_from_both_ends(store).await;
}

async fn compare_and_swap(store: &dyn Store) {
    let first = Batch { puts: vec![put("a", Expected::Absent, "1")], ..Batch::default() };
    assert_eq!(store.commit(first.clone()).await.expect("new").revs, [1]);
    assert!(matches!(store.commit(first).await, Err(StoreError::Conflict { .. })));
    let second = Batch { puts: vec![put("a", Expected::Rev(1), "2")], ..Batch::default() };
    assert_eq!(store.commit(second.clone()).await.expect("as expected").revs, [2]);
    assert!(matches!(store.commit(second).await, Err(StoreError::Conflict { .. })));
    let gone = |expected| Batch {
        deletes: vec![Delete { kind: "thing", id: "a".into(), expected }],
        ..Batch::default()
    };
    assert!(matches!(store.commit(gone(1)).await, Err(StoreError::Conflict { .. })));
    store.commit(gone(2)).await.expect("as expected");
    assert!(store.load_all().await.expect("readable").is_empty());
}

async fn a_batch_is_all_or_nothing(store: &dyn Store) {
    let before = store.events(EventQuery { limit: 10, ..EventQuery::default() }).await;
    let mixed = Batch {
        puts: vec![put("b", Expected::Absent, "1"), put("c", Expected::Rev(7), "1")],
        events: vec![event(1, "p")],
        ..Batch::default()
    };
    let error = store.commit(mixed).await.expect_err("c is not there");
    assert!(error.to_string().contains("\"c\""), "{error}");
    assert!(store.load_all().await.expect("readable").is_empty(), "b must not be there");
    let after = store.events(EventQuery { limit: 10, ..EventQuery::default() }).await;
    assert_eq!(before.expect("readable"), after.expect("readable"));
}

async fn the_log_is_read_from_both_ends(store: &dyn Store) {
    let events = (1..=5).map(|at| event(at * 10, if at % 2 == 0 { "even" } else { "odd" }));
    let done = store.commit(Batch { events: events.collect(), ..Batch::default() }).await;
    let last = done.expect("durable").last_seq;
    let first = last - 4;
    let read = async |query: EventQuery| {
        let found = store.events(query).await.expect("readable");
        found.into_iter().map(|e| e.seq - first).collect::<Vec<_>>()
    };
    let all = EventQuery { limit: 100, ..EventQuery::default() };
    assert_eq!(read(all.clone()).await, [0, 1, 2, 3, 4]);
    assert_eq!(read(EventQuery { limit: 2, ..all.clone() }).await, [0, 1]);
    assert_eq!(read(EventQuery { limit: 2, keep: Keep::Newest, ..all.clone() }).await, [3, 4]);
    assert_eq!(read(EventQuery { after: first + 2, ..all.clone() }).await, [3, 4]);
    assert_eq!(read(EventQuery { since: Some(At(40)), ..all.clone() }).await, [3, 4]);
    let even = EventQuery { pool: Some("even".into()), ..all.clone() };
    assert_eq!(read(even).await, [1, 3]);
    assert_eq!(store.prune_events(At(30)).await.expect("writable"), 2);
    assert_eq!(read(all).await, [2, 3, 4]);
    let next = store.commit(Batch { events: vec![event(60, "")], ..Batch::default() }).await;
    assert_eq!(next.expect("durable").last_seq, last + 1, "numbers are never given twice");
}

#[tokio::test]
async fn the_memory_store_keeps_the_rules() {
    suite(&MemoryStore::default()).await;
}

#[tokio::test]
async fn the_sqlite_store_keeps_the_rules() {
    let dir = tempfile::tempdir().expect("a directory");
    suite(&SqliteStore::create(&dir.path().join("fleet.db")).expect("a new store")).await;
}

#[tokio::test]
async fn files_are_for_the_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::create(&dir.path().join("fleet.db")).expect("a new store");
    store.commit(Batch { events: vec![event(1, "")], ..Batch::default() }).await.expect("durable");
    store.backup(&dir.path().join("copy.db")).await.expect("a copy");
    for entry in std::fs::read_dir(dir.path()).expect("listed") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    let copy = SqliteStore::open(&dir.path().join("copy.db")).expect("the copy is a store");
    let found = copy.events(EventQuery { limit: 9, ..EventQuery::default() }).await;
    assert_eq!(found.expect("readable").len(), 1);
}

#[tokio::test]
async fn a_store_at_rest_is_one_file_and_takes_nothing_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::create(&dir.path().join("fleet.db")).expect("a new store");
    let batch = || Batch { puts: vec![put("a", Expected::Absent, "1")], ..Batch::default() };
    store.commit(batch()).await.expect("durable");
    store.close().await.expect("at rest");
    assert!(matches!(store.commit(batch()).await, Err(StoreError::Closed)));
    std::fs::copy(dir.path().join("fleet.db"), dir.path().join("copy.db")).expect("copied");
    let copy = SqliteStore::open(&dir.path().join("copy.db")).expect("the copy is a store");
    assert_eq!(copy.load_all().await.expect("readable").len(), 1);
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fleet.db");
    drop(SqliteStore::create(&path).expect("a new store"));
    let raw = rusqlite::Connection::open(&path).expect("a database");
    raw.pragma_update(None, "user_version", 999).expect("changed");
    let error = SqliteStore::open(&path).expect_err("it is newer").to_string();
    assert!(error.contains("layout 999") && error.contains("install the newer"), "{error}");
}

#[tokio::test]
async fn damage_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fleet.db");
    std::fs::write(&path, "this is not a database, however long it may look".repeat(100))
        .expect("written");
    let error = SqliteStore::open(&path).expect_err("it is damaged").to_string();
    assert!(error.contains("restore a backup"), "{error}");
    let error = SqliteStore::open(&dir.path().join("none.db")).expect_err("missing").to_string();
    assert!(error.contains("coordinator init"), "{error}");
}

/// The test starts itself again as the writer that will be killed.
const WRITER: &str = "COORDINATOR_TEST_WRITER";

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    if let Some(path) = std::env::var_os(WRITER) {
        return write_until_killed(Path::new(&path));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fleet.db");
    drop(SqliteStore::create(&path).expect("a new store"));
    let mut acknowledged = 0;
    for round in 0..5 {
        let newest = write_and_kill(&path, 20 + round * 7);
        let events = read_events(&path);
        assert!(newest > acknowledged, "round {round}: the writer went on");
        assert!(events >= newest, "round {round}: {newest} acknowledged, {events} found");
        acknowledged = events;
    }
}

/// Kills the writer after so many acknowledgements; returns the last one it gave.
fn write_and_kill(path: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kill_nine_loses_nothing_acknowledged", "--nocapture"])
        .env(WRITER, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut numbers = output.lines().map_while(Result::ok).filter_map(|l| l.parse::<u64>().ok());
    let newest = numbers.by_ref().take(lines).last().expect("it acknowledges");
    child.kill().expect("killed");
    // What it still managed to say before the signal reached it counts too.
    let newest = numbers.last().unwrap_or(newest);
    child.wait().expect("reaped");
    newest
}

fn read_events(path: &Path) -> u64 {
    let store = SqliteStore::open(path).expect("the store opens again");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (events, objects) = runtime.block_on(async {
        let query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
        let events = store.events(query).await.expect("readable");
        (events, store.load_all().await.expect("readable"))
    });
    // State and event of a batch come together: neither may be ahead of the other.
    let counter = objects.first().map_or(0, |o| o.rev);
    assert_eq!(counter, events.len() as u64, "state and log agree");
    counter
}

fn write_until_killed(path: &Path) {
    use std::io::Write as _;
    let store = SqliteStore::open(path).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut rev = store.load_all().await.expect("readable").first().map_or(0, |o| o.rev);
        loop {
            let expected = if rev == 0 { Expected::Absent } else { Expected::Rev(rev) };
            let batch = Batch {
                puts: vec![put("counter", expected, "x")],
                events: vec![event(rev, "p")],
                ..Batch::default()
            };
            rev = store.commit(batch).await.expect("durable").revs[0];
            println!("{rev}");
            std::io::stdout().flush().expect("said");
        }
    });
}
