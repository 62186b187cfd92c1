#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fleet_model::{Assignment, Quarantine, numbers::EVIDENCE_KEPT, numbers::LEFT_OVER_KEPT};
use hostd_plan::{Ledger, Moment, Slot};

use super::*;

fn moment() -> Moment {
    Moment { at: At(1_000_000), boot: "b1".into(), up_ms: 1_000 }
}

struct Bench {
    dir: tempfile::TempDir,
    ledger: LedgerFile,
    place: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = LedgerFile::within(dir.path());
        let known = Ledger { assignment: Some(Assignment::default()), ..Ledger::default() };
        ledger.store(&known, &moment()).unwrap();
        let places = [(dir.path().to_owned(), [RuntimeKind::Fake].into())];
        let place = super::super::room::measure(&places)[0].place.clone();
        Self { dir, ledger, place }
    }

    fn make(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), vec![1; 1 << 16]).unwrap();
        dir
    }

    fn slot(&self, agent: &str, evidence: Option<&Path>) {
        let mut ledger = self.ledger.look().unwrap().ledger;
        let word = |text: &str| text.parse().unwrap();
        let mut slot = Slot::new(word("p"), "default".parse().unwrap(), 1, RuntimeKind::Fake);
        slot.quarantine = evidence.map(|place| Quarantine {
            since: At(0),
            until: At(1),
            why: String::new(),
            by: None,
            evidence: Some(place.display().to_string()),
        });
        ledger.slots.insert(agent.parse().unwrap(), slot);
        self.ledger.store(&ledger, &moment()).unwrap();
    }

    /// A cleaner that has seen everything unused for `ago`.
    fn cleaner(&self, ago: Duration, names: &[&str]) -> Cleaner {
        let since = At(wall_clock().0 - u64::try_from(ago.as_millis()).unwrap());
        let book: UnusedBook = names.iter().map(|name| ((*name).to_owned(), since)).collect();
        let bytes = serde_json::to_vec(&book).unwrap();
        files::write_private(&self.dir.path().join("unused.json"), &bytes).unwrap();
        Cleaner::within(self.dir.path(), self.ledger.clone())
    }
}

const ONE: &str = "slot directory of p-h-01";
const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn a_slots_directory_goes_when_there_has_been_no_such_slot_for_a_day() {
    let bench = Bench::new();
    let one = bench.make("slots/p-h-01");
    let place = bench.place.clone();
    let clean = async |cleaner: &Cleaner| cleaner.clean(&Runtimes::new(), &place, true).await;
    let fresh = Cleaner::within(bench.dir.path(), bench.ledger.clone());
    assert_eq!(clean(&fresh).await.unwrap(), Vec::<String>::new(), "seen for the first time");
    let old = bench.cleaner(LEFT_OVER_KEPT + HOUR, &[ONE]);
    // Something of an agent is being started.
    let start = old.gate.read().await;
    assert_eq!(clean(&old).await.unwrap(), Vec::<String>::new());
    drop(start);
    assert!(one.exists());
    let removed = clean(&old).await.unwrap();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(removed[0].starts_with(ONE) && removed[0].contains("KiB"), "{removed:?}");
    assert_eq!(fs::read_dir(bench.dir.path().join("slots")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_may_be_used_stays() {
    let bench = Bench::new();
    let (one, two) = (bench.make("slots/p-h-01"), bench.make("slots/p-h-02"));
    let names = [ONE, "slot directory of p-h-02"];
    let long = LEFT_OVER_KEPT * 30;
    // There may still be a row at Azure.
    fs::write(two.join("registration.sealed"), "x").unwrap();
    // Another disk is to be cleaned.
    let cleaner = bench.cleaner(long, &names);
    assert_eq!(cleaner.clean(&Runtimes::new(), "/proc", true).await.unwrap(), Vec::<String>::new());
    // It is a slot's.
    bench.slot("p-h-01", None);
    let cleaner = bench.cleaner(long, &names);
    let removed = cleaner.clean(&Runtimes::new(), &bench.place, true).await.unwrap();
    assert_eq!(removed, Vec::<String>::new());
    // What is in use is not known: no assignment, or no good ledger.
    bench.ledger.store(&Ledger::default(), &moment()).unwrap();
    let cleaner = bench.cleaner(long, &names);
    cleaner.clean(&Runtimes::new(), &bench.place, true).await.unwrap_err();
    let file = bench.ledger.path().to_owned();
    fs::write(file, "damaged").unwrap();
    let cleaner = bench.cleaner(long, &names);
    cleaner.clean(&Runtimes::new(), &bench.place, true).await.unwrap_err();
    assert!(one.exists() && two.exists());
}

#[tokio::test]
async fn old_evidence_goes_but_that_of_an_agent_that_is_aside() {
    let bench = Bench::new();
    let (one, two) = (bench.make("evidence/p-h-01-3"), bench.make("evidence/p-h-02-1"));
    bench.slot("p-h-02", Some(&two));
    let names = ["evidence of p-h-01-3", "evidence of p-h-02-1"];
    let young = bench.cleaner(EVIDENCE_KEPT - HOUR, &names);
    assert!(young.clean(&Runtimes::new(), &bench.place, true).await.unwrap().is_empty());
    let old = bench.cleaner(EVIDENCE_KEPT + HOUR, &names);
    let removed = old.clean(&Runtimes::new(), &bench.place, false).await.unwrap();
    assert!(removed.len() == 1 && removed[0].contains("p-h-01-3"), "{removed:?}");
    assert!(!one.exists() && two.exists());
}
