//! Joining, the session, the certificate's renewal.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use fleet_model::{Assignment, Order, Phase, RowState};
use fleet_proto::{
    convert::{Row, RowChange},
    exit::Exit,
    seal::fingerprint,
    v1::{
        self, command::Command, session_request::Message as FromHost,
        session_response::Message as ToHost,
    },
};
use hostd::{
    host_loop::Input,
    identity::{
        IdentityError, IdentityStore,
        join::{self, Invitation, JoinError},
    },
    view::Happened,
};
use tonic::Status;

use crate::{
    coordinator::{Coordinator, FLEET, INVITE, LIMIT},
    host::{Host, NAME, join_with, status},
};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).expect("there").count()
}

#[tokio::test]
async fn a_join_leaves_a_private_identity_and_is_not_overwritten() {
    let coordinator = Coordinator::start().await;
    let dir = directory();
    let place = join_with(&coordinator, dir.path(), &format!(" {INVITE}\n"), false).await;
    let place = place.expect("let in");
    assert_eq!((place.host.as_str(), place.fleet.as_str()), (NAME, FLEET));
    let identity = dir.path().join("identity");
    assert_eq!((mode(&identity), mode(&identity.join("key.pem"))), (0o700, 0o600));
    assert_eq!((entries(dir.path()), entries(&identity)), (1, 4));
    let key = fs::read(identity.join("key.pem")).expect("there");
    let again = join_with(&coordinator, dir.path(), INVITE, false).await.expect_err("is one");
    assert!(matches!(again, JoinError::Identity(IdentityError::Present { .. })), "{again}");
    assert!(again.to_string().contains("--force"));
    assert_eq!(fs::read(identity.join("key.pem")).expect("there"), key);
    join_with(&coordinator, dir.path(), INVITE, true).await.expect("forced");
    assert_ne!(fs::read(identity.join("key.pem")).expect("there"), key);
    assert_eq!(entries(dir.path()), 1, "nothing is left beside");
}

#[tokio::test]
async fn a_join_that_fails_says_why_and_leaves_nothing() {
    let coordinator = Coordinator::start().await;
    let dir = directory();
    let used = join_with(&coordinator, dir.path(), "an-old-token", false).await.expect_err("used");
    assert!(used.to_string().contains("used already"), "{used}");
    assert_eq!(Exit::from(&used), Exit::Refused);
    let empty = join_with(&coordinator, dir.path(), " \n", false).await.expect_err("empty");
    assert!(matches!(empty, JoinError::NoToken));
    let invitation = |coordinator: String, ca_pin: String| Invitation {
        coordinator,
        name: NAME.parse().expect("a name"),
        ca_pin,
        token: INVITE.to_owned().into(),
        data: dir.path().to_owned(),
        force: false,
        proxy: None,
    };
    let here = coordinator.enroll.to_string();
    let other = join::join(invitation(here.clone(), "ab".repeat(32))).await.expect_err("other CA");
    assert!(other.to_string().contains("pin"), "{other}");
    assert_eq!(Exit::from(&other), Exit::Refused);
    let bad = join::join(invitation(here, "sha256:12".into())).await.expect_err("no pin");
    assert!(bad.to_string().contains("64 hex"), "{bad}");
    let pin = coordinator.pin();
    coordinator.end().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = free.local_addr().expect("bound").to_string();
    drop(free);
    let away = join::join(invitation(nobody, pin)).await.expect_err("nobody there");
    assert_eq!(Exit::from(&away), Exit::Unreachable);
    assert_eq!(entries(dir.path()), 0);
    let none = IdentityStore::load(dir.path()).err().expect("nothing").to_string();
    assert!(none.contains("agentctl host invite"), "{none}");
}

#[tokio::test]
async fn first_everything_is_reported_and_then_what_changed() {
    let mut coordinator = Coordinator::start().await;
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let host = Host::start(dir.path());
    let mut session = coordinator.session().await;
    assert_eq!(session.host.as_str(), NAME);
    let (hello, report) = session.begin().await;
    assert_eq!((hello.host.as_str(), hello.boot_id.as_str()), (NAME, "boot"));
    assert_eq!((hello.capacity, hello.labels["rack"].as_str()), (Some(7), "r1"));
    assert!(hello.engine.contains("fake"), "{}", hello.engine);
    assert!(report.full && report.agents.is_empty());
    host.show(|view| {
        view.applied = Order::new(3, 9);
        for number in 1..=3 {
            let one = status(number, Phase::Starting);
            view.agents.insert(one.agent.clone(), one);
        }
    });
    let report = session.report().await;
    assert!(!report.full);
    assert_eq!((report.agents.len(), report.applied.expect("said").generation), (3, 9));
    host.show(|view| {
        let one = status(2, Phase::Idle);
        view.agents.insert(one.agent.clone(), one);
        view.agents.remove(&status(3, Phase::Idle).agent);
    });
    let report = session.report().await;
    assert_eq!(report.agents.len(), 1);
    assert_eq!(report.removed, [String::from(status(3, Phase::Idle).agent)]);
    session
        .say(ToHost::Command(v1::Command {
            command: Some(Command::SendFullReport(v1::SendFullReport {})),
        }))
        .await;
    let report = session.report().await;
    assert!(report.full);
    assert_eq!(report.agents.len(), 2);
    host.history
        .send(Happened {
            at: fleet_model::At(5),
            kind: "agent.phase",
            pool: None,
            agent: None,
            message: "told".into(),
        })
        .expect("the session listens");
    let FromHost::Event(event) = session.next().await else { panic!("an event") };
    assert_eq!((event.kind.as_str(), event.message.as_str()), ("agent.phase", "told"));
    host.stop().await;
}

#[tokio::test]
async fn what_the_coordinator_says_reaches_the_loop() {
    let mut coordinator = Coordinator::start().await;
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let mut host = Host::start(dir.path());
    let mut session = coordinator.session().await;
    session.begin().await;
    // Damaged on its way, then unreadable, then good: the session goes on all the time.
    let credential = |secret: &str, announced: &str| {
        let credential = v1::CredentialRef {
            name: "pat".into(),
            fingerprint: fingerprint(announced.as_bytes()),
        };
        ToHost::Credential(v1::Credential {
            credential: Some(credential),
            secret: secret.as_bytes().to_vec(),
        })
    };
    session.say(credential("token-2", "token-1")).await;
    session.say(ToHost::Assignment(v1::Assignment::default())).await;
    session.say(credential("token-1", "token-1")).await;
    assert!(matches!(host.hear().await, Input::CredentialsChanged));
    let (_, held) = host.secrets.get(&"pat".parse().expect("a name")).expect("held");
    assert_eq!(held, fingerprint(b"token-1"));
    let wanted = Assignment { order: Order::new(1, 2), ..Default::default() };
    session.say(ToHost::Assignment(wanted.clone().into())).await;
    let Input::Assignment(got) = host.hear().await else { panic!("an assignment") };
    assert_eq!(got, wanted);
    let state = RowState { agent_id: 4, enabled: true, online: true, assigned: None };
    let row = Row {
        pool: "nightly".parse().expect("a name"),
        agent: status(1, Phase::Idle).agent,
        change: RowChange::Seen(state),
    };
    session.say(ToHost::Rows(v1::Rows { rows: vec![row.clone().into()] })).await;
    let Input::Rows(got) = host.hear().await else { panic!("rows") };
    assert_eq!(got, [row]);
    host.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_restarts_has_its_host_back_within_three_seconds() {
    let mut coordinator = Coordinator::start().await;
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let host = Host::start(dir.path());
    coordinator.session().await.begin().await;
    host.show(|view| view.applied = Order::new(2, 2));
    let mut coordinator = coordinator.restart().await;
    let since = Instant::now();
    let mut session = coordinator.session().await;
    let (hello, report) = session.begin().await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(report.full);
    assert_eq!(hello.highest_order.expect("said").term, 2);
    assert_eq!(hello.instance_id, "instance");
    host.stop().await;
}

#[tokio::test]
async fn a_silent_coordinator_is_called_anew() {
    let mut coordinator = Coordinator::start().await;
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let host = Host::start(dir.path());
    let mut silent = coordinator.session().await;
    assert!(matches!(silent.next().await, FromHost::Hello(_)));
    silent.welcome(Duration::from_millis(100), Duration::from_millis(400)).await;
    // It says nothing more, and its stream stays open.
    let mut session = coordinator.session().await;
    session.begin().await;
    // Heartbeats go on by themselves on a session that lives.
    let beat = tokio::time::timeout(LIMIT, session.from.message()).await.expect("in time");
    assert!(beat.expect("open").is_some());
    drop(silent);
    host.stop().await;
}

#[tokio::test]
async fn a_host_that_is_refused_keeps_its_distance() {
    let mut coordinator = Coordinator::start().await;
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let host = Host::start(dir.path());
    let session = coordinator.session().await;
    session.refuse(Status::already_exists("another instance is in session")).await;
    let since = Instant::now();
    let mut session = coordinator.session().await;
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());
    session.begin().await;
    host.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_and_the_session_goes_on() {
    let mut coordinator = Coordinator::start().await;
    // More than half of its life is over.
    let hour = Duration::from_secs(3600);
    coordinator.set_life(SystemTime::now() - hour * 3, hour * 4);
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let old = fs::read(dir.path().join("identity/cert.pem")).expect("there");
    let host = Host::start(dir.path());
    let mut session = coordinator.session().await;
    session.begin().await;
    let until = Instant::now() + LIMIT;
    while host.identity.current().certificate_pem.as_bytes() == old {
        assert!(Instant::now() < until, "not renewed");
        tokio::task::yield_now().await;
    }
    assert_eq!(coordinator.renewals(), 1);
    assert_ne!(fs::read(dir.path().join("identity/cert.pem")).expect("there"), old);
    let life = IdentityStore::load(dir.path()).expect("good").current().life().expect("read");
    assert!(life.1 > SystemTime::now() + hour * 20);
    // The same stream still carries words in both directions.
    session
        .say(ToHost::Command(v1::Command {
            command: Some(Command::SendFullReport(v1::SendFullReport {})),
        }))
        .await;
    assert!(session.report().await.full);
    assert!(coordinator.sessions.try_recv().is_err(), "no other session was needed");
    // And the new certificate opens the next one.
    drop(session);
    let mut coordinator = coordinator.restart().await;
    coordinator.session().await.begin().await;
    host.stop().await;
}

#[tokio::test]
async fn a_host_that_was_away_too_long_is_readmitted_by_its_key() {
    let mut coordinator = Coordinator::start().await;
    let hour = Duration::from_secs(3600);
    coordinator.set_life(SystemTime::now() - hour * 48, hour * 24);
    let dir = directory();
    join_with(&coordinator, dir.path(), INVITE, false).await.expect("let in");
    let host = Host::start(dir.path());
    coordinator.session().await.begin().await;
    assert_eq!((coordinator.readmissions(), coordinator.renewals()), (1, 0));
    host.stop().await;
}
