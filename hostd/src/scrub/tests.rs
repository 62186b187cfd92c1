#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

fn knowing(secrets: &[&str]) -> Scrubber {
    Scrubber::new(secrets.iter().map(|secret| SecretString::from(*secret)))
}

#[test]
fn each_kind_of_secret_is_hidden_and_its_surroundings_stay() {
    let scrubber = knowing(&["pat-value", "two\nlines of it"]);
    let basic = BASE64_STANDARD.encode("someone:pat-value");
    for (line, shown) in [
        ("token pat-value, twice: pat-valuepat-value.".to_owned(), "token ***, twice: ***."),
        (format!("sent {basic} to x"), "sent *** to x"),
        ("see lines of it there".to_owned(), "see *** there"),
        ("GET / Authorization: Bearer abc def".to_owned(), "GET / Authorization: ***"),
        (r#"{"proxy-authorization":"Basic YTpi"}"#.to_owned(), r#"{"proxy-authorization":***"#),
        ("git AUTHORIZATION= bearer x".to_owned(), "git AUTHORIZATION= ***"),
        ("https://u:p@ss@h:80/p?q=a:b@c".to_owned(), "https://u:***@h:80/p?q=a:b@c"),
        ("x://u:p@h and y://v:q@i".to_owned(), "x://u:***@h and y://v:***@i"),
        (format!("é{}é", "a1".repeat(20)), "é***é"),
    ] {
        assert_eq!(scrubber.line(&line), shown, "{line}");
    }
}

#[test]
fn what_is_no_secret_stays_and_is_not_copied() {
    let scrubber = knowing(&["pat-value", "", "abc", "\n \n"]);
    for line in [
        "",
        "Running job: build_x86 (gcc 13) ✓",
        "00000000-0000-0000-0000-000000000000",
        "/home/az-1/agent/_work/1/s/src/main.rs:10:5",
        "https://ORG@dev.azure.com/ORG/_git/repo and http://host:8080/a@b",
        "authorization is missing; author: somebody",
        "abc pat-valu e",
        "no authorization: ",
        "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a",
    ] {
        let shown = scrubber.line(line);
        assert!(matches!(shown, Cow::Borrowed(_)) && shown == line, "{line:?}: {shown:?}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", knowing(&["pat-value"]));
    assert!(!shown.contains("pat-value"), "{shown}");
}

#[test]
fn a_cut_takes_half_secrets_along() {
    let scrubber = knowing(&["secret-word"]);
    assert_eq!(scrubber.cut("x secret-word y", 5, true), "x ***");
    assert_eq!(scrubber.cut("x secret-word y", 14, true), "x *** ");
    assert_eq!(scrubber.cut("see https://u:pass", 16, false), "see https://u:***");
    assert_eq!(scrubber.cut("aé", 2, true), "a");
}

/// As a runtime reads: in pieces of some size.
fn pieces(scrubber: Scrubber, text: &[u8], size: usize) -> Vec<Line> {
    let mut lines = Lines::new(scrubber.into());
    let mut out = Vec::new();
    text.chunks(size).for_each(|piece| lines.take(piece, |line| out.push(line)));
    out.extend(lines.end());
    out
}

#[test]
fn a_line_without_end_is_shown_up_to_the_limit_and_counted() {
    let text = "ab ".repeat(LINE_MAX);
    let lines = pieces(knowing(&[]), text.as_bytes(), 1000);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].text.len(), LINE_MAX);
    assert_eq!(lines[0].left_out, (text.len() - LINE_MAX) as u64);
    let lines = pieces(knowing(&[]), b"a\r\n\nb", 2);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["a", "b"]);
}

/// Anything but the character that hides.
const AROUND: &str = "[^*\n]{0,60}";
/// Tokens, passwords and keys; not of letters and digits only, which another rule would hide.
const SECRET: &str = "[a-zA-Z0-9+/=._~-]{12,84}";

proptest! {
    #[test]
    fn a_secret_never_survives(before in AROUND, secret in SECRET, after in AROUND) {
        let scrubber = knowing(&[&secret]);
        let shown = scrubber.line(&format!("{before}{secret}{after}")).into_owned();
        prop_assert!(!shown.contains(&secret), "{shown}");
        prop_assert!(shown.contains(HIDDEN));
    }

    #[test]
    fn nor_does_it_in_base64(user in "[a-z]{0,5}", secret in SECRET, after in "[a-z]{0,4}") {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{secret}{after}"));
        let shown = knowing(&[&secret]).line(&format!("sent {encoded} on")).into_owned();
        prop_assert_eq!(shown, "sent *** on");
    }

    #[test]
    fn nor_does_it_where_pieces_meet_or_lines_are_cut(
        fill in 0..200_usize, secret in SECRET, size in 1..9000_usize, behind in 0..2000_usize,
    ) {
        // Around the limit, so that the cut falls before, into and behind it.
        let before = "é ".repeat((LINE_MAX - 100 + fill) / 3);
        let text = format!("{before}{secret}{}\nnext {secret}\n", " z".repeat(behind));
        let lines = pieces(knowing(&[&secret]), text.as_bytes(), size);
        prop_assert_eq!(lines.len(), 2);
        prop_assert_eq!(&lines[1].text, "next ***");
        let shown = &lines[0].text[before.len().min(lines[0].text.len())..];
        prop_assert!(shown.chars().all(|c| "* z".contains(c)), "{shown}");
        prop_assert_eq!(lines, pieces(knowing(&[&secret]), text.as_bytes(), text.len()));
    }

    #[test]
    fn a_long_run_never_survives(before in "[ -/:-@]{0,9}", run in "[A-Za-z0-9]{40,84}") {
        let expected = format!("{before}*** x");
        let text = format!("{before}{run} x");
        prop_assert_eq!(without_long_runs(&text), expected);
        prop_assert!(!knowing(&[]).line(&text).contains(&run));
    }

    #[test]
    fn text_without_secrets_is_unchanged(
        name in "[A-Za-z][A-Za-z0-9]{0,30}( [A-Za-z0-9._#()-]{1,30}){0,5}",
        guid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        path in "(/[A-Za-z0-9._-]{1,30}){1,8}",
    ) {
        let scrubber = knowing(&["!secret!of!this!host!"]);
        for text in [format!("Running job: {name}"), guid, format!("{path}:10:5: error")] {
            prop_assert_eq!(scrubber.line(&text), text.as_str());
        }
    }

    #[test]
    fn no_text_makes_it_fail(text in "\\PC{0,300}", max in 0..400_usize, whole in any::<bool>()) {
        let scrubber = knowing(&["é:é@"]);
        let _ = scrubber.line(&text);
        prop_assert!(scrubber.cut(&text, max, whole).len() <= text.len() + 3 * text.len());
    }
}

#[test]
fn what_is_begun_in_another_place_is_found_too() {
    for place in 0..3 {
        let core = encoded("secret-word", place).unwrap();
        let text = BASE64_STANDARD.encode(format!("{}secret-word|", "x".repeat(place)));
        assert!(text.contains(core.expose_secret()), "{place}");
    }
}
