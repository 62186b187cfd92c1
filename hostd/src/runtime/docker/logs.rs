//! A container's log as lines with their time. The time is the only thing that tells an old line
//! from a new one when a log is opened again, so nothing here works without it.

use bollard::{Docker, container::LogOutput, errors::Error, query_parameters::LogsOptionsBuilder};
use futures_util::{Stream, StreamExt, future, stream::BoxStream};

/// Enough of a log to know what its listener does now; a job adds two lines.
const HISTORY: &str = "200";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The engine's time, of fixed width: older sorts first.
    pub(super) at: String,
    /// Without its line end.
    pub(super) text: String,
}

/// Lines, or the reason why there are no more.
pub(super) type Lines = BoxStream<'static, Result<Line, Error>>;

/// The newest lines up to now.
pub(super) fn history(docker: &Docker, name: &str) -> Lines {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true);
    lines(docker.logs(name, Some(options.tail(HISTORY).build()))).boxed()
}

/// Lines as they come, after the one at `last`; ends when the container ends.
pub(super) fn follow(docker: &Docker, name: &str, last: Option<&str>) -> Lines {
    let options = LogsOptionsBuilder::default()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .tail("all")
        .since(last.map_or(0, seconds));
    let last = last.unwrap_or_default().to_owned();
    // The engine counts in whole seconds, so it repeats some.
    lines(docker.logs(name, Some(options.build())))
        .filter(move |line| {
            future::ready(line.as_ref().map_or(true, |line| line.at.as_str() > last.as_str()))
        })
        .boxed()
}

fn lines(
    log: impl Stream<Item = Result<LogOutput, Error>> + Send + 'static,
) -> impl Stream<Item = Result<Line, Error>> + Send + 'static {
    log.filter_map(|output| future::ready(output.map(|o| split(o.as_ref())).transpose()))
}

/// `2026-11-21T10:44:05.123456789Z text` → time and text.
fn split(message: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(message);
    let (at, text) = text.trim_end_matches(['\r', '\n']).split_once(' ')?;
    Some(Line { at: at.to_owned(), text: text.to_owned() })
}

/// Whole seconds of the engine's time; 0, which is everything, when it cannot be read.
fn seconds(at: &str) -> i32 {
    let time = at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    time.ok().and_then(|second| i32::try_from(second).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_and_a_text() {
        let line = split(b"2026-11-21T10:44:05.000000001Z Listening for Jobs\r\n");
        let at = "2026-11-21T10:44:05.000000001Z".to_owned();
        assert_eq!(line, Some(Line { at, text: "Listening for Jobs".to_owned() }));
        assert_eq!(split(b"\n"), None);
        assert_eq!(split(b""), None);
    }

    #[test]
    fn a_log_is_opened_again_at_the_second_of_its_last_line() {
        assert_eq!(seconds("1970-01-01T00:01:01.999999999Z"), 61);
        assert_eq!(seconds("odd"), 0);
        assert_eq!(seconds("9999-01-01T00:00:00.0Z"), 0);
    }
}
