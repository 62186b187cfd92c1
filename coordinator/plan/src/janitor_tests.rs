//! What is left over, and what is never touched.

use fleet_model::{
    Assigned, HostFacts, HostReport, Intent, Labels, Mode, Order, Phase, PoolSpec, RuntimeKind,
    Template,
};
use proptest::prelude::*;

use super::*;
use crate::{FleetEvent, HostRecord, Saved};

const DAY: Duration = Duration::from_secs(86_400);
const NOW: At = At(10 * 86_400_000);
const HOSTS: [&str; 3] = ["here", "away", "gone"];

fn azure() -> AzureTarget {
    AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() }
}

fn host(name: &str) -> HostName {
    name.parse().expect("a host")
}

/// The host `here` is in session and keeps agents 1 and 2 with rows 1 and 2; `away` is not; `gone`
/// was removed, and `stranger` was never heard of.
fn fleet() -> Fleet {
    let template = Template::docker("img:1".parse().expect("an image"), Mode::Once);
    let credential = "pat".parse().expect("a credential");
    let name = "nightly".parse().expect("a pool");
    let spec = PoolSpec::single(name, azure(), credential, Default::default(), template);
    let record = |name| HostRecord {
        name: host(name),
        labels: Labels::new(),
        restraint: None,
        invited: At(0),
        joined: Some(At(0)),
        keys: Vec::new(),
        certificate_expires: None,
    };
    let saved = Saved {
        order: Order::new(1, 1),
        pools: vec![spec.expect("a spec")],
        hosts: vec![record("here"), record("away")],
        ..Saved::default()
    };
    let mut fleet = Fleet::restore(saved, At(0));
    report(&mut fleet, "here", &[1, 2]);
    fleet
}

fn open(fleet: &mut Fleet, name: &str) {
    let (facts, highest) = (HostFacts::default(), Order::default());
    fleet.apply(FleetEvent::SessionOpened { host: host(name), facts, highest }, NOW);
}

/// A session with a full report.
fn report(fleet: &mut Fleet, name: &str, slots: &[u16]) {
    open(fleet, name);
    let agent = |slot: &u16| AgentStatus {
        agent: format!("nightly-{name}-{slot:02}").parse().expect("a name"),
        pool: "nightly".parse().expect("a pool"),
        group: "default".parse().expect("a group"),
        slot: *slot,
        runtime: RuntimeKind::Docker,
        attempt: 1,
        phase: Phase::Idle,
        since: NOW,
        intent: Intent::Keep,
        job: None,
        why: String::new(),
        agent_id: Some(i64::from(*slot)),
        placeholder: false,
        quarantine: None,
        disk_bytes: None,
    };
    let agents = slots.iter().map(agent).collect();
    let report = HostReport { full: true, agents, ..HostReport::default() };
    fleet.apply(FleetEvent::Reported { host: host(name), report }, NOW);
}

/// A row of `host` that has been offline for two days.
fn row(id: i64, host: &str) -> MarkedRow {
    MarkedRow {
        agent: format!("nightly-{host}-{id:02}"),
        state: RowState { agent_id: id, enabled: true, online: false, assigned: None },
        since: Some(At(NOW.0 - 2 * 86_400_000)),
        owner: format!("labs/{host}/{id}").parse().ok(),
        offers: BTreeMap::new(),
    }
}

fn changed(mut row: MarkedRow, change: impl FnOnce(&mut MarkedRow)) -> MarkedRow {
    change(&mut row);
    row
}

struct Around {
    azure: AzureTarget,
    removed: BTreeSet<HostName>,
    going: BTreeSet<i64>,
}

impl Around {
    fn new() -> Self {
        let removed = BTreeSet::from([host("gone")]);
        Self { azure: azure(), removed, going: BTreeSet::new() }
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            fleet: "labs",
            azure: &self.azure,
            removed: &self.removed,
            going: &self.going,
            age: DAY,
            last_may_go: false,
        }
    }
}

fn tidy(rows: &[MarkedRow]) -> Tidiness {
    fleet().tidy(&Around::new().pass(), rows, NOW)
}

/// What becomes of a row beside one that offers the same.
fn verdict(row: MarkedRow) -> (Verdict, String) {
    let beside = self::row(1, "here");
    let mut found = tidy(&[beside, row]).leftovers;
    found.retain(|leftover| !leftover.row_is_gone);
    assert_eq!(found.len(), 1, "{found:?}");
    let leftover = found.remove(0);
    (leftover.verdict, leftover.why)
}

#[test]
fn a_row_that_its_host_does_not_know_is_deleted_after_its_age() {
    let (verdict_then, why) = verdict(row(9, "here"));
    assert_eq!((verdict_then, why.as_str()), (Verdict::Delete, "host here has no such agent"));
    assert_eq!(verdict(row(9, "gone")), (Verdict::Delete, "host gone was removed".into()));
    let young = At(NOW.0 - 3_600_000);
    let (waits, _) = verdict(changed(row(9, "here"), |row| row.since = Some(young)));
    assert_eq!(waits, Verdict::Wait(young + DAY));
    let (kept, why) = verdict(changed(row(9, "here"), |row| row.since = None));
    assert!(kept == Verdict::Keep && why.contains("not known"), "{why}");
}

#[test]
fn what_may_have_an_agent_or_a_job_is_kept_with_the_reason() {
    let busy = changed(row(9, "here"), |row| row.state.assigned = Some(Assigned::new(7, "build")));
    let online = changed(row(9, "here"), |row| row.state.online = true);
    for (row, word) in [
        (busy, "request 7 (build)"),
        (online, "a listener"),
        (row(9, "away"), "Disconnected"),
        (row(9, "stranger"), "not known here"),
    ] {
        let (verdict, why) = verdict(row);
        assert!(verdict == Verdict::Keep && why.contains(word), "{why}");
    }
}

#[test]
fn a_host_in_session_that_has_not_reported_yet_says_nothing() {
    let mut fleet = fleet();
    open(&mut fleet, "away");
    let rows = [row(1, "here"), row(9, "away")];
    let around = Around::new();
    let found = |fleet: &Fleet| fleet.tidy(&around.pass(), &rows, NOW).leftovers;
    assert_eq!(found(&fleet)[0].verdict, Verdict::Keep);
    report(&mut fleet, "away", &[]);
    assert_eq!(found(&fleet)[0].verdict, Verdict::Delete);
    report(&mut fleet, "away", &[9]);
    assert!(found(&fleet).iter().all(|leftover| leftover.row_is_gone), "its agent is known now");
}

#[test]
fn foreign_rows_are_counted_and_nothing_else() {
    let unmarked = changed(row(9, "here"), |row| row.owner = None);
    let other = changed(row(10, "here"), |row| row.owner = "other/here/10".parse().ok());
    let found = tidy(&[row(1, "here"), row(2, "here"), unmarked, other]);
    assert_eq!(found, Tidiness { in_use: 2, foreign: 2, leftovers: Vec::new() });
}

#[test]
fn one_that_registers_has_no_id_yet_and_is_known_by_its_name() {
    let same_name = changed(row(9, "here"), |row| row.agent = "nightly-here-01".into());
    assert_eq!(tidy(&[same_name, row(2, "here")]).in_use, 2);
}

#[test]
fn the_last_that_offers_something_stays() {
    let offers = |row: MarkedRow, what: &[(&str, &str)]| {
        let pairs = what.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        changed(row, |row| row.offers = pairs.collect())
    };
    let gpu = |id| offers(row(id, "gone"), &[("gpu", "h200")]);
    let found = tidy(&[row(1, "here"), row(2, "here"), gpu(8), gpu(9)]);
    let verdicts: Vec<Verdict> = found.leftovers.iter().map(|found| found.verdict).collect();
    assert_eq!(verdicts, [Verdict::Delete, Verdict::Keep], "one of the two stays");
    assert!(found.leftovers[1].why.contains("would fail"), "{}", found.leftovers[1].why);
    // One that offers more covers it; one that is disabled or another value does not.
    let more = offers(row(2, "here"), &[("gpu", "h200"), ("kvm", "1")]);
    let covered = tidy(&[row(1, "here"), more.clone(), gpu(9)]);
    assert_eq!(covered.leftovers[0].verdict, Verdict::Delete);
    let disabled = changed(more, |row| row.state.enabled = false);
    assert_eq!(tidy(&[row(1, "here"), disabled, gpu(9)]).leftovers[0].verdict, Verdict::Keep);
    // When the pool goes, nothing has to be left of it.
    let around = Around::new();
    let pass = Pass { last_may_go: true, ..around.pass() };
    let rows = [row(1, "here"), row(2, "here"), gpu(9)];
    assert_eq!(fleet().tidy(&pass, &rows, NOW).leftovers[0].verdict, Verdict::Delete);
}

#[test]
fn an_agent_without_a_row_is_its_hosts_to_replace() {
    let found = tidy(&[row(1, "here")]);
    assert_eq!(found.leftovers.len(), 1);
    let leftover = &found.leftovers[0];
    assert_eq!((leftover.agent.as_str(), leftover.row), ("nightly-here-02", 2));
    assert!(leftover.row_is_gone && leftover.verdict == Verdict::Replace, "{leftover:?}");
}

#[test]
fn a_placeholder_without_a_row_is_an_operators_to_replace() {
    let mut fleet = fleet();
    let entry = fleet.hosts.get_mut(&host("here")).expect("there");
    entry.agents.values_mut().for_each(|agent| agent.placeholder = true);
    let found = fleet.tidy(&Around::new().pass(), &[row(1, "here")], NOW).leftovers;
    assert_eq!(found[0].verdict, Verdict::Keep);
    assert!(found[0].why.contains("agentctl scale nightly 1"), "{}", found[0].why);
}

#[test]
fn what_names_one_agent_is_no_offer() {
    let all = [("FLEET_OWNER", "labs/h/1"), ("Agent.Name", "a"), ("HOME", "/h"), ("Lab", "svc")];
    let all: Vec<(String, String)> = all.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let offers = offers(all.iter().map(|(k, v)| (k, v)));
    assert_eq!(offers, BTreeMap::from([("lab".to_owned(), "svc".to_owned())]));
}

#[test]
fn a_row_goes_only_when_it_was_disabled_for_longer_than_answers_are_old() {
    const STALE: Duration = Duration::from_secs(30);
    let state = |enabled, online, job: bool| RowState {
        agent_id: 9,
        enabled,
        online,
        assigned: job.then(|| Assigned::new(7, "build")),
    };
    let step = |state: &RowState, claim, secs: Option<u64>| {
        next_step(Some(state), claim, secs.map(Duration::from_secs), STALE)
    };
    assert_eq!(next_step(None, Claim::Nobody, None, STALE), RowStep::Gone);
    for (enabled, online, job) in (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)) {
        let state = state(enabled, online, job);
        for disabled_for in [None, Some(0), Some(29), Some(30), Some(600)] {
            let step = |claim| step(&state, claim, disabled_for);
            let quiet = !online && !job;
            let expected = match () {
                () if !quiet => RowStep::Leave,
                () if enabled => RowStep::Disable,
                () if disabled_for >= Some(30) => RowStep::Delete,
                () => RowStep::Leave,
            };
            assert_eq!(step(Claim::Nobody), expected, "{state:?} {disabled_for:?}");
            assert_eq!(step(Claim::Kept), RowStep::Release);
            let undone = if enabled { RowStep::Release } else { RowStep::Enable };
            assert_eq!(step(Claim::Undo), undone);
        }
    }
}

fn any_row() -> impl Strategy<Value = MarkedRow> {
    let owner = prop_oneof![
        1 => Just(None),
        1 => (0..3_usize).prop_map(|at| Some(("other", HOSTS[at]))),
        6 => (0..3_usize).prop_map(|at| Some(("labs", HOSTS[at]))),
        1 => Just(Some(("labs", "stranger"))),
    ];
    let offers = prop::collection::btree_map(
        prop::sample::select(vec!["gpu", "kvm", "lab"]).prop_map(str::to_owned),
        prop::sample::select(vec!["1", "2"]).prop_map(str::to_owned),
        0..3,
    );
    let state = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let since = prop::option::weighted(0.9, 0..4 * 86_400_000_u64);
    (1..20_i64, owner, offers, state, since).prop_map(|(id, owner, offers, state, ago)| {
        let (enabled, online, job) = state;
        MarkedRow {
            agent: format!("nightly-x-{id:02}"),
            state: RowState {
                agent_id: id,
                enabled,
                online,
                assigned: job.then(|| Assigned::new(id, "")),
            },
            since: ago.map(|ago| At(NOW.0 - ago)),
            owner: owner.and_then(|(fleet, host)| format!("{fleet}/{host}/{id}").parse().ok()),
            offers,
        }
    })
}

proptest! {
    /// Whatever a pool holds: what is deleted is ours, old, offline, free and nobody's, and what it
    /// offered is still offered.
    #[test]
    fn nothing_is_deleted_that_may_be_anybodys(
        rows in prop::collection::vec(any_row(), 0..24),
        going in prop::collection::btree_set(1..20_i64, 0..3),
    ) {
        let mut ids = BTreeSet::new();
        let rows: Vec<MarkedRow> =
            rows.into_iter().filter(|row| ids.insert(row.state.agent_id)).collect();
        let around = Around { going, ..Around::new() };
        let found = fleet().tidy(&around.pass(), &rows, NOW);
        let of = |id: i64| rows.iter().find(|row| row.state.agent_id == id);
        let deleted: BTreeSet<i64> = found
            .leftovers
            .iter()
            .filter(|leftover| leftover.verdict == Verdict::Delete)
            .map(|leftover| leftover.row)
            .collect();
        for id in &deleted {
            let row = of(*id).expect("a row that was shown");
            let owner = row.owner.as_ref().expect("a mark");
            prop_assert_eq!(owner.fleet.as_str(), "labs");
            prop_assert!(["here", "gone"].contains(&owner.host.as_str()), "{}", owner);
            prop_assert!(*id > 2, "rows 1 and 2 have agents");
            prop_assert!(!row.state.online && row.state.assigned.is_none());
            prop_assert!(row.since.is_some_and(|since| NOW.since(since) >= DAY));
            prop_assert!(!around.going.contains(id));
            let covers = |other: &&MarkedRow| {
                other.state.enabled
                    && !deleted.contains(&other.state.agent_id)
                    && !around.going.contains(&other.state.agent_id)
                    && row.offers.iter().all(|(k, v)| other.offers.get(k) == Some(v))
            };
            prop_assert!(rows.iter().any(|other| covers(&other)), "{row:?} was the last");
        }
        let shown = found.leftovers.iter().filter(|leftover| !leftover.row_is_gone).count();
        let all = found.in_use as usize + found.foreign as usize + shown;
        prop_assert_eq!(all, rows.len(), "every row is counted once");
    }

    /// And what is due to go goes only while it is disabled, offline and free, and not the last.
    #[test]
    fn what_goes_is_disabled_and_free(
        rows in prop::collection::vec(any_row(), 0..24),
        due in prop::collection::btree_set(1..20_i64, 0..6),
    ) {
        let mut ids = BTreeSet::new();
        let rows: Vec<MarkedRow> =
            rows.into_iter().filter(|row| ids.insert(row.state.agent_id)).collect();
        let goes = may_go(&rows, &due, &due, false);
        for row in rows.iter().filter(|row| goes.contains(&row.state.agent_id)) {
            prop_assert!(due.contains(&row.state.agent_id));
            let state = &row.state;
            prop_assert!(!state.enabled && !state.online && state.assigned.is_none());
            let covers = |other: &MarkedRow| {
                other.state.enabled
                    && !due.contains(&other.state.agent_id)
                    && row.offers.iter().all(|(k, v)| other.offers.get(k) == Some(v))
            };
            prop_assert!(rows.iter().any(covers), "{row:?} was the last");
        }
    }
}
