//! One record of the journal → what it says about the agent. Pure.
//!
//! Names that begin with an underscore are the journal's own word; all others are the writer's, and a
//! job may write what it likes. So who said something is taken from the former.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::runtime::log::{LogEntry, LogWhat, RawLine};

/// "Unit @UNIT@ has begun to start", and "has finished starting": systemd's fixed ids.
const BEGINS: [&str; 2] = ["7d4958e842da4a758f6c1cdc7b36dcc5", "39f53479d3a045ac8e11786248231fbf"];
/// "Messages from a service have been suppressed".
const SUPPRESSED: &str = "a596d6fe7bfa4994828e72309e95d61e";

/// What a record says: an entry for each line of it, none when it is none of ours.
pub(super) fn entries(record: &str) -> Vec<LogEntry> {
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(record) else { return Vec::new() };
    let at = text(&fields, "__REALTIME_TIMESTAMP").and_then(|micros| micros.parse().ok());
    let at = at.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let entry = |what| LogEntry { at, what };
    let id = text(&fields, "MESSAGE_ID").unwrap_or_default();
    let from_journal = text(&fields, "_TRANSPORT").as_deref() == Some("driver");
    if from_journal && id == SUPPRESSED {
        let count = text(&fields, "N_DROPPED").and_then(|count| count.parse().ok());
        return vec![entry(LogWhat::Skipped(count.unwrap_or(1)))];
    }
    let message = text(&fields, "MESSAGE").unwrap_or_default();
    let source = source(&fields);
    let begins = source == Some("systemd") && BEGINS.contains(&id.as_str());
    let run = begins.then(|| run_of(&message)).flatten();
    let message = message + &values(&fields, source);
    let said = message.lines().filter(|line| !line.is_empty()).map(|line| {
        let line = RawLine::new(line.to_owned());
        entry(match source {
            Some(source) => LogWhat::Note(source, line),
            None => LogWhat::Line(line),
        })
    });
    run.map(|run| entry(LogWhat::Run(run))).into_iter().chain(said).collect()
}

/// Who wrote it, unless the listener or something that it started did.
fn source(fields: &Map<String, Value>) -> Option<&'static str> {
    let is = |name: &str, value: &str| text(fields, name).as_deref() == Some(value);
    match () {
        () if is("_PID", "1") => Some("systemd"),
        // agent-run is the only part of the unit that is root; what the listener writes comes to the
        // journal by agent-run's output, and agent-run's own words by the journal's protocol.
        () if is("_UID", "0") && is("_TRANSPORT", "journal") => Some("hostd"),
        () => None,
    }
}

/// `…, run 7.` at the end of what systemd says about a unit that is described so.
fn run_of(message: &str) -> Option<u32> {
    let (_, number) = message.trim_end_matches(['.', '…']).rsplit_once(", run ")?;
    number.parse().ok()
}

/// What hostd said beside its words: ` error="…"`.
fn values(fields: &Map<String, Value>, source: Option<&str>) -> String {
    const PREFIX: &str = "F_";
    if source != Some("hostd") {
        return String::new();
    }
    let named = fields.keys().filter_map(|key| Some((key, key.strip_prefix(PREFIX)?)));
    let shown = named.filter_map(|(key, name)| {
        Some(format!(" {}={}", name.to_ascii_lowercase(), text(fields, key)?))
    });
    shown.collect()
}

/// A field's text. One with odd bytes comes as a list of them, one that was given several times as a
/// list of texts, of which the first counts.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => match all.first()? {
            Value::String(text) => Some(text.clone()),
            _ => {
                let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
                let bytes: Vec<u8> = all.iter().map_while(byte).collect();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(record: &Value) -> Vec<String> {
        let show = |entry: LogEntry| match entry.what {
            LogWhat::Line(line) => line.text,
            LogWhat::Note(source, line) => format!("{source}: {}", line.text),
            other => format!("{other:?}"),
        };
        entries(&record.to_string()).into_iter().map(show).collect()
    }

    #[test]
    fn each_kind_of_record_is_understood() {
        for (record, expected) in [
            (
                json!({"_TRANSPORT": "stdout", "_UID": "0", "MESSAGE": "Listening for Jobs"}),
                vec!["Listening for Jobs"],
            ),
            (
                json!({"_TRANSPORT": "journal", "_UID": "0", "MESSAGE": "it hangs", "F_ERROR": "x"}),
                vec!["hostd: it hangs error=x"],
            ),
            // A job may use the journal's protocol, too.
            (
                json!({"_TRANSPORT": "journal", "_UID": "40001", "MESSAGE": "a\n\nb", "F_X": "y"}),
                vec!["a", "b"],
            ),
            (
                json!({"_PID": "1", "MESSAGE_ID": BEGINS[1],
                    "MESSAGE": "Started fleet-agent-a.service - Azure Pipelines agent a, run 7."}),
                vec![
                    "Run(7)",
                    "systemd: Started fleet-agent-a.service - Azure Pipelines agent a, run 7.",
                ],
            ),
            (
                json!({"_PID": "1", "MESSAGE": "a.service: Killing process 5, run 8."}),
                vec!["systemd: a.service: Killing process 5, run 8."],
            ),
            (
                json!({"_TRANSPORT": "driver", "MESSAGE_ID": SUPPRESSED, "N_DROPPED": "12",
                    "MESSAGE": "Suppressed 12 messages from a.service"}),
                vec!["Skipped(12)"],
            ),
            (
                json!({"_TRANSPORT": "stdout", "MESSAGE_ID": SUPPRESSED, "MESSAGE": "forged"}),
                vec!["forged"],
            ),
            (json!({"_TRANSPORT": "stdout", "MESSAGE": [104, 105, 255]}), vec!["hi\u{fffd}"]),
            (json!({"MESSAGE": ["one", "two"]}), vec!["one"]),
            (json!({"MESSAGE": null}), vec![]),
        ] {
            assert_eq!(shown(&record), expected, "{record}");
        }
    }

    #[test]
    fn a_record_has_the_time_at_which_it_came() {
        let record = json!({"__REALTIME_TIMESTAMP": "1800000000123456", "MESSAGE": "a"});
        let at = entries(&record.to_string())[0].at.unwrap();
        assert_eq!(at.to_string(), "2027-01-15T08:00:00.123456Z");
    }

    proptest! {
        #[test]
        fn no_record_makes_it_fail(text in "\\PC{0,80}", key in "[A-Z_]{1,12}") {
            entries(&text);
            entries(&json!({"MESSAGE": text, key: text}).to_string());
        }
    }
}
