use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::btree_map, option, prelude::*};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    listen: String,
    capacity: Option<u32>,
    ratio: f64,
    verbose: bool,
    #[serde(with = "crate::settings::duration")]
    heartbeat: Duration,
    labels: BTreeMap<String, String>,
    azure: Azure,
    names: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Azure {
    url: String,
    retries: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "[::]:7443".into(),
            capacity: None,
            ratio: 1.0,
            verbose: false,
            heartbeat: Duration::from_secs(5),
            labels: BTreeMap::new(),
            azure: Azure::default(),
            names: Vec::new(),
        }
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(place.0.path().join("conf.d")).expect("made");
        for (name, text) in files {
            fs::write(place.0.path().join(name), text).expect("written");
        }
        place
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let (main, fragments) = (self.0.path().join("hostd.toml"), self.0.path().join("conf.d"));
        let sources = Sources {
            file: None,
            default_file: &main,
            fragments: &fragments,
            env_prefix: "HOSTD_",
            not_settings: &["HOSTD_CONFIG"],
        };
        load_with(&sources, env.iter().map(|(k, v)| ((*k).into(), (*v).into())))
    }

    fn refusal(&self, env: &[(&str, &str)]) -> String {
        let text = self.load(env).expect_err("must be refused").to_string();
        text.replace(&*self.0.path().to_string_lossy(), "")
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    assert_eq!(Place::new(&[]).load(&[]).expect("defaults"), Settings::default());
}

#[test]
fn the_later_source_wins_key_by_key() {
    let place = Place::new(&[
        ("hostd.toml", "listen = \"a:1\"\ncapacity = 1\n[azure]\nurl = \"u\"\nretries = 3\n"),
        ("conf.d/20-more.toml", "capacity = 3\nnames = [\"c\"]\n[labels]\nLab = \"svc\"\n"),
        ("conf.d/10-site.toml", "capacity = 2\nnames = [\"a\", \"b\"]\n[azure]\nretries = 4\n"),
        ("conf.d/.30-swap.toml", "capacity = 9\n"),
        ("conf.d/README", "not TOML"),
    ]);
    let env = [("HOSTD_VERBOSE", "true"), ("HOSTD_CONFIG", "x"), ("OTHER_CAPACITY", "x")];
    let settings = place.load(&env).expect("all good");
    assert_eq!((settings.listen.as_str(), settings.capacity), ("a:1", Some(3)));
    assert_eq!(settings.azure, Azure { url: "u".into(), retries: 4 });
    assert_eq!(settings.names, ["c"], "lists are replaced, not joined");
    assert_eq!(settings.labels.get("Lab").map(String::as_str), Some("svc"));
    assert!(settings.verbose);
    assert_eq!(place.load(&[("HOSTD_CAPACITY", "7")]).expect("good").capacity, Some(7));
}

#[test]
fn each_mistake_in_a_file_is_told_with_file_line_and_what_is_allowed() {
    let refusal = |text: &str| Place::new(&[("hostd.toml", text)]).refusal(&[]);
    for (text, parts) in [
        (
            "\nlisten = \"a:1\"\nimge = 1\n",
            ["/hostd.toml:3:1:", "unknown field `imge`", "`listen`"],
        ),
        ("capacity = 3.7\n", ["/hostd.toml:1:12:", "u32", "`capacity = 3.7`"]),
        ("capacity = \"3\"\n", ["/hostd.toml:1:12:", "u32", "capacity"]),
        ("capacity = -1\n", ["/hostd.toml:1:12:", "u32", "capacity"]),
        ("verbose = 1\n", ["/hostd.toml:1:11:", "boolean", "verbose"]),
        ("[azure]\nretry = 1\n", ["/hostd.toml:2:1:", "unknown field `retry`", "`retries`"]),
        ("heartbeat = 90\n", ["/hostd.toml:1:13:", "with its unit", "heartbeat"]),
        ("heartbeat = \"-5s\"\n", ["/hostd.toml:1:13:", "is not a span", "heartbeat"]),
        ("listen = \"a\"\nlisten = \"b\"\n", ["/hostd.toml:2:1:", "duplicate key", "listen"]),
        ("listen = \n", ["/hostd.toml:1:", "value", "correct the line"]),
    ] {
        let refusal = refusal(text);
        for part in parts {
            assert!(refusal.contains(part), "{text:?}: {refusal:?} should say {part:?}");
        }
        assert!(!refusal.contains('\n'), "one message: {refusal:?}");
    }
}

#[test]
fn a_mistake_in_a_fragment_names_the_fragment() {
    let place = Place::new(&[("hostd.toml", "capacity = 1\n"), ("conf.d/a.toml", "x = 1\n")]);
    assert!(place.refusal(&[]).starts_with("/conf.d/a.toml:1:1: unknown field `x`"));
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let missing = Path::new("/nonexistent/hostd.toml");
    let sources = Sources {
        file: Some(missing),
        default_file: missing,
        fragments: missing,
        env_prefix: "HOSTD_",
        not_settings: &[],
    };
    let refusal = load_with::<Settings>(&sources, []).expect_err("not there").to_string();
    assert!(refusal.starts_with("cannot read /nonexistent/hostd.toml: "), "{refusal}");
}

#[test]
fn variables_are_as_strict_as_files() {
    let place = Place::new(&[]);
    let load = |key: &str, value: &str| place.load(&[(key, value)]);
    assert_eq!(load("HOSTD_LISTEN", "15").expect("a text").listen, "15");
    assert_eq!(load("HOSTD_RATIO", "0.5").expect("a number").ratio, 0.5);
    let five = load("HOSTD_HEARTBEAT", "5m").expect("a span").heartbeat;
    assert_eq!(five, Duration::from_secs(300));
    for (key, value, said) in [
        ("HOSTD_CAPACITY", "3.7", "u32"),
        ("HOSTD_CAPACITY", "true", "u32"),
        ("HOSTD_CAPACITY", "many", "u32"),
        ("HOSTD_VERBOSE", "1", "boolean"),
        ("HOSTD_LISEN", "x", "unknown field `lisen`"),
        ("HOSTD_AZURE", "{url=\"x\"}", "Azure"),
        ("HOSTD_NAMES", "[\"a\"]", "sequence"),
        ("HOSTD_AZURE__URL", "x", "unknown field"),
    ] {
        let refusal = place.refusal(&[(key, value)]);
        assert!(refusal.contains(said) && refusal.contains(key), "{refusal:?} should say {said:?}");
        assert!(refusal.contains("unset it"), "{refusal}");
    }
}

#[test]
fn spans_are_read_with_their_units() {
    for (text, seconds) in [("90s", 90), ("5m", 300), ("1h 30m", 5400), ("PT5M", 300), ("0s", 0)] {
        assert_eq!(duration::parse(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for bad in ["", "90", "s", "-1s", "1 fortnight", "1e9s"] {
        assert!(duration::parse(bad).is_err(), "{bad:?}");
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let azure = ("\\PC{0,8}", any::<i64>()).prop_map(|(url, retries)| Azure { url, retries });
    // Keys as people write them: dots, slashes and cases that a layering could take apart.
    let labels = btree_map("[a-zA-Z0-9._/ -]{0,10}|\\PC{0,6}", "\\PC{0,8}", 0..4);
    (
        ("\\PC{0,12}", option::of(any::<u32>()), -1e12..1e12_f64, any::<bool>()),
        (any::<u32>(), 0..1_000_000_000_u32, labels, azure),
        prop::collection::vec("\\PC{0,6}", 0..3),
    )
        .prop_map(
            |((listen, capacity, ratio, verbose), (secs, nanos, labels, azure), names)| Settings {
                listen,
                capacity,
                ratio,
                verbose,
                heartbeat: Duration::new(secs.into(), nanos),
                labels,
                azure,
                names,
            },
        )
}

proptest! {
    #[test]
    fn layering_changes_nothing_in_what_was_written(settings in any_settings()) {
        let text = toml::to_string(&settings).expect("written");
        let place = Place::new(&[("hostd.toml", &text)]);
        prop_assert_eq!(place.load(&[]).expect("read"), settings);
    }

    #[test]
    fn no_input_makes_it_panic(text in "(\\PC|\n|\r){0,60}", key in "[A-Z_]{0,8}", value in "\\PC{0,12}") {
        let place = Place::new(&[("hostd.toml", &text)]);
        let key = format!("HOSTD_{key}");
        if let Err(error) = place.load(&[(&key, &value)]) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }

    #[test]
    fn damaged_files_are_refused_or_read_never_a_panic(
        settings in any_settings(),
        at in any::<prop::sample::Index>(),
        put in "\\PC|\n|\"|\\[|=",
    ) {
        let mut text: Vec<char> = toml::to_string(&settings).expect("written").chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, put.chars());
        let text: String = text.into_iter().collect();
        let _ = Place::new(&[("hostd.toml", &text)]).load(&[]);
    }
}
