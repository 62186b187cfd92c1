//! The documentation says what the program does, and the program prints what the schema promises.

use std::{collections::BTreeSet, fs};

use fleet_proto::exit::Exit;
use serde_json::Value;

use crate::{
    fake::Act,
    samples::{SVC, agent, event, fleet},
    schema::Schema,
    world::World,
};

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agentctl.md")).unwrap()
}

#[test]
fn the_table_of_exit_codes_is_the_enums() {
    let page = page();
    let section = page.split("## Exit codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> =
        section.lines().filter(|l| l.starts_with("| ") && !l.contains("Code")).collect();
    let expected: Vec<String> =
        Exit::ALL.iter().map(|e| format!("| {} | {} |", e.code(), e.meaning())).collect();
    assert_eq!(rows, expected);
}

/// Verbs that can be run, with their long options.
fn verbs(command: &clap::Command, path: &str) -> Vec<(String, BTreeSet<String>)> {
    if command.has_subcommands() {
        let subs = command.get_subcommands();
        return subs.flat_map(|c| verbs(c, &format!("{path} {}", c.get_name()))).collect();
    }
    let options = command.get_arguments().filter_map(|a| a.get_long()).map(|o| format!("--{o}"));
    vec![(path.to_owned(), options.collect())]
}

#[test]
fn every_verb_and_option_is_documented_and_nothing_else() {
    let page = page();
    let verbs = verbs(&agentctl::command(), "agentctl");
    let mut known = BTreeSet::from(["--config", "--endpoint", "--help"].map(String::from));
    for (verb, options) in verbs {
        assert!(page.contains(&format!("`{verb}")), "{verb} has no place on the page");
        for option in &options {
            assert!(page.contains(option.as_str()), "{verb} {option} is not on the page");
        }
        known.extend(options);
    }
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let said: BTreeSet<&str> =
        words.filter(|w| w.starts_with("--") && w.len() > 3 && !w.starts_with("---")).collect();
    let unknown: Vec<_> = said.iter().filter(|word| !known.contains(**word)).collect();
    assert!(unknown.is_empty(), "the page names options that do not exist: {unknown:?}");
}

/// Words of a shell line; what stands between quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 == 1 {
            true => all.push(part.to_owned()),
            false => all.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    all
}

#[test]
fn every_line_to_be_typed_is_one_that_the_program_takes() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let pages = fs::read_dir(format!("{root}/docs")).unwrap().map(|page| page.unwrap().path());
    let pages = pages.filter(|page| page.extension().is_some_and(|ext| ext == "md"));
    let mut seen = 0;
    for page in pages.chain([format!("{root}/README.md").into()]) {
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("$ agentctl ")) {
            let words = ["agentctl".to_owned()].into_iter().chain(words(line));
            let taken = agentctl::command().try_get_matches_from(words);
            assert!(taken.is_ok(), "{}: {line}: {}", page.display(), taken.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} lines were found");
}

/// Programs rely on these. A field that is missing here was promised by an earlier version and
/// taken away: put it back. New fields are added to the end of a line.
const PROMISED: &[(&str, &str)] = &[
    (
        "agent",
        "name pool group host lab slot runtime phase since intent job why attempt agentId online \
         enabled stale placeholder runUrl",
    ),
    ("job", "name requestId since"),
    (
        "host",
        "name lab labels state since availability capacity agents busy version engine applied \
         ordered certificateExpires conditions restraint",
    ),
    ("condition", "host pool kind message"),
    ("order", "term generation"),
    (
        "pool",
        "name azureUrl azurePool prefix desired ready idle busy starting failed leaving unplaced \
         unplacedReasons placement troubles credential azureSeen settleSeconds deleted groups \
         forced paused availability restraint waiting",
    ),
    ("forced", "by reason at"),
    ("restraint", "kind by reason since until deadline done"),
    ("deadline", "at then passed"),
    ("placed", "host group replicas"),
    ("credential", "name fingerprint loaded expires"),
    (
        "group",
        "name selector weight maxPerHost runtime image mode entry env cpuMillis memoryBytes pids \
         caches mtu httpProxy httpsProxy noProxy dockerSocket package packageSha256 dockerGroup",
    ),
    ("event", "seq at kind actor pool host agent message"),
    ("status", "fleet version order readOnly now pools hosts"),
    ("agents", "agents"),
    ("hosts", "hosts"),
    ("pools", "pools"),
    ("agentChange", "change agent"),
    ("removed", "name"),
    ("janitor", "dryRun leftovers tidied"),
    ("leftover", "kind agent agentId host since verdict until why"),
    ("tidied", "pools inUse foreign trouble"),
    ("why", "pools hosts agents shares events"),
    ("share", "pool group host placed told there refusal"),
];

#[test]
fn what_was_promised_to_programs_stays() {
    let schema = Schema::load();
    for (name, fields) in PROMISED {
        let required = schema.required(name);
        for field in fields.split_whitespace() {
            assert!(required.contains(field), "{name}.{field} is no longer promised");
        }
    }
}

#[tokio::test]
async fn what_is_printed_is_what_the_schema_says() {
    let mut state = fleet();
    state.change_pool("nightly-svc", |pool| {
        pool.placement = vec![Default::default()];
        pool.troubles = vec![Default::default()];
        pool.spec.as_mut().unwrap().forced = Some(Default::default());
        let template = pool.spec.as_mut().unwrap().groups[0].template.as_mut().unwrap();
        template.env = [("A".to_owned(), "b".to_owned())].into();
        template.caches = vec![Default::default()];
    });
    state.change_host(SVC, |host| host.conditions = vec![Default::default()]);
    // Everything that may be absent is absent.
    state.put_pool(fleet_proto::v1::Pool { spec: Some(Default::default()), ..Default::default() });
    state.put_agent(fleet_proto::v1::Agent {
        status: Some(Default::default()),
        ..Default::default()
    });
    let bare = fleet_proto::v1::Event { seq: 2, ..Default::default() };
    state.events = vec![event(1, "pool.scaled", "", "0 → 3"), bare];
    state.lines = crate::logs::lines();
    state.tidied = crate::janitor::tidied();
    let world = World::start(state).await;
    let schema = Schema::load();
    for (def, args) in [
        ("agents", &["get", "agents"][..]),
        ("hosts", &["get", "hosts"]),
        ("pools", &["get", "pools"]),
        ("status", &["status"]),
        ("janitor", &["janitor", "--dry-run"]),
        ("why", &["why", "nightly-svc"]),
    ] {
        let shown = world.run(&[args, &["-o", "json"]].concat()).await;
        schema.check(def, &json(shown.strip_prefix("exit: Some(0)\n--- out\n").expect(&shown)));
    }
    let shown = world.run(&["events", "-o", "json"]).await;
    let lines: Vec<&str> = shown.lines().skip(2).collect();
    assert_eq!(lines.len(), 2, "{shown}");
    lines.iter().for_each(|line| schema.check("event", &json(line)));
    let shown = world.run(&["logs", "nightly-svc-svcstr-server-2-01", "-o", "json"]).await;
    let lines: Vec<&str> = shown.lines().skip(2).collect();
    assert_eq!(lines.len(), 6, "{shown}");
    lines.iter().for_each(|line| schema.check("line", &json(line)));
}

#[tokio::test]
async fn changes_are_what_the_schema_says() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        Act::agent(agent("nightly-svc", SVC, 4, fleet_proto::v1::Phase::Starting)),
        Act::Gone("nightly-svc-svcstr-server-2-03"),
    ]);
    let shown = crate::get::watch(&world, &["get", "agents", "-w", "-o", "json"], 5).await;
    let schema = Schema::load();
    shown.lines().for_each(|line| schema.check("agentChange", &json(line)));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
