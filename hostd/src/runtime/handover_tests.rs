#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::symlink;

use super::*;

fn run() -> RunId {
    RunId { agent: "nightly-h-01".parse().unwrap(), attempt: 3 }
}

fn token() -> StartWith {
    StartWith::Token(String::from("secret\n").into())
}

fn place() -> (tempfile::TempDir, Handover) {
    let dir = tempfile::tempdir().unwrap();
    let handover = Handover::new(dir.path().join("runs"));
    (dir, handover)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What the entry does when the configuration run was fine.
fn register(shared: &Path, agent: &str) {
    let out = shared.join("out");
    fs::write(out.join(".agent"), format!("\u{feff}{{\"agentName\":\"{agent}\"}}")).unwrap();
    fs::write(out.join(".credentials"), "{}").unwrap();
    fs::write(out.join(".credentials_rsaparams"), "{}").unwrap();
}

#[test]
fn a_token_is_for_one_reader_and_the_parents_are_closed() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    assert_eq!(fs::read(shared.join("token")).unwrap(), b"secret");
    assert_eq!(mode(&shared.join("token")), 0o600);
    assert_eq!(mode(&shared), 0o700);
    assert_eq!(mode(shared.parent().unwrap()), 0o700);
    assert_eq!(mode(&handover.runs), 0o700);
}

#[test]
fn a_user_known_by_name_only_reads_inside_a_closed_parent() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Anyone).unwrap();
    assert_eq!(mode(&shared.join("token")), 0o644);
    assert_eq!(mode(&shared), 0o777);
    assert_eq!(mode(shared.parent().unwrap()), 0o700);
}

#[test]
fn the_environment_is_one_line_each() {
    let (_dir, handover) = place();
    let env = BTreeMap::from([("A".into(), "1 2".into()), ("B.c".into(), "=".into())]);
    let shared = handover.prepare(&run(), &token(), &env, Holder::Me).unwrap();
    assert_eq!(fs::read_to_string(shared.join("env")).unwrap(), "A=1 2\nB.c==\n");
}

#[test]
fn a_second_hand_over_does_not_replace_the_first() {
    let (_dir, handover) = place();
    handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    let again = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    handover.remove(&run()).unwrap();
    handover.remove(&run()).unwrap();
    assert!(!handover.exists(&run()));
}

#[test]
fn a_registration_is_taken_once_and_the_token_goes() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    assert!(handover.taken(&run()).unwrap().is_none());
    register(&shared, "nightly-h-01");
    let files = handover.take_registration(&run()).unwrap().unwrap();
    assert!(files[".agent"].starts_with(b"\xEF\xBB\xBF"), "the byte order mark is kept");
    assert!(!shared.join("token").exists());

    // A job may write there what it likes: nobody reads it again.
    fs::write(shared.join("out/.credentials"), "forged").unwrap();
    assert!(handover.take_registration(&run()).unwrap().is_none());
    assert_eq!(handover.taken(&run()).unwrap().unwrap(), files);
}

#[test]
fn a_run_that_began_with_its_registration_cannot_make_another() {
    let (_dir, handover) = place();
    let files = Files::from([(".agent".into(), b"x".to_vec())]);
    let start = StartWith::Registration(files);
    let shared = handover.prepare(&run(), &start, &BTreeMap::new(), Holder::Me).unwrap();
    assert_eq!(fs::read(shared.join("in/.agent")).unwrap(), b"x");
    assert_eq!(mode(&shared.join("in/.agent")), 0o600);
    register(&shared, "nightly-h-01");
    assert!(handover.take_registration(&run()).unwrap().is_none());
}

#[test]
fn another_agents_registration_is_refused() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    register(&shared, "nightly-h-02");
    let error = handover.take_registration(&run()).unwrap_err();
    assert!(error.to_string().contains("nightly-h-02"), "{error}");
}

#[test]
fn no_link_leads_out_of_the_directory() {
    let (dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    register(&shared, "nightly-h-01");
    let secret = dir.path().join("shadow");
    fs::write(&secret, "root's").unwrap();
    fs::remove_file(shared.join("out/.credentials")).unwrap();
    symlink(&secret, shared.join("out/.credentials")).unwrap();
    assert!(handover.take_registration(&run()).is_err(), "a link as a file");

    let elsewhere = dir.path().join("elsewhere");
    fs::rename(shared.join("out"), &elsewhere).unwrap();
    fs::remove_file(elsewhere.join(".credentials")).unwrap();
    fs::write(elsewhere.join(".credentials"), "{}").unwrap();
    symlink(&elsewhere, shared.join("out")).unwrap();
    assert!(handover.take_registration(&run()).is_err(), "a link as the directory");
}

#[test]
fn a_pipe_or_an_endless_file_does_not_hold_hostd_up() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    register(&shared, "nightly-h-01");
    let name = shared.join("out/.credentials");
    fs::remove_file(&name).unwrap();
    nix::unistd::mkfifo(&name, FileMode::S_IRWXU).unwrap();
    assert!(handover.take_registration(&run()).is_err());
    fs::remove_file(&name).unwrap();
    fs::write(&name, vec![b' '; FILE_MAX as usize + 1]).unwrap();
    assert!(handover.take_registration(&run()).is_err());
}

#[test]
fn where_jobs_are_announced_is_of_one_run_only() {
    let (_dir, handover) = place();
    let shared = handover.prepare(&run(), &token(), &BTreeMap::new(), Holder::Me).unwrap();
    register(&shared, "nightly-h-01");
    let agent = "\u{feff}{\"agentId\":9007199254740993,\"agentName\":\"nightly-h-01\",\
                 \"notificationSocketAddress\":\"127.0.0.1:7\",\"poolId\":1}";
    fs::write(shared.join("out/.agent"), agent).unwrap();
    let taken = handover.take_registration(&run()).unwrap().unwrap();
    let kept = String::from_utf8(taken[".agent"].clone()).unwrap();
    assert!(kept.starts_with('\u{feff}') && kept.contains("9007199254740993"), "{kept}");
    assert!(!kept.contains("SocketAddress"), "{kept}");
    assert_eq!(handover.taken(&run()).unwrap().unwrap(), taken);

    let given = |address: Option<SocketAddr>, start: &StartWith| {
        let StartWith::Registration(files) = announcing_at(start, address) else {
            panic!("{start:?}")
        };
        files
    };
    let kept = StartWith::Registration(taken.clone());
    let there = given(Some("127.0.0.1:8".parse().unwrap()), &kept);
    let agent = String::from_utf8(there[".agent"].clone()).unwrap();
    assert!(agent.starts_with('\u{feff}') && agent.contains("\"127.0.0.1:8\""), "{agent}");
    assert_eq!(there[".credentials"], taken[".credentials"]);
    // Without a socket an address of a run before is taken out, and nothing else is touched.
    assert!(
        !String::from_utf8_lossy(&given(None, &StartWith::Registration(there))[".agent"])
            .contains(":8")
    );
    assert_eq!(given(None, &kept), taken);
    let odd = Files::from([(".agent".into(), b"x".to_vec())]);
    assert_eq!(
        given(Some("127.0.0.1:8".parse().unwrap()), &StartWith::Registration(odd.clone())),
        odd
    );
}
