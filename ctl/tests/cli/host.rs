//! Care of the lab servers.

use fleet_proto::v1::HostState;

use crate::{
    samples::{fleet, host},
    world::{World, shown},
};

#[tokio::test]
async fn an_invitation_is_one_line_to_paste() {
    let world = World::start(fleet()).await;
    let args = ["host", "invite", "bjw-ca-serv-5", "--lab", "bjw", "--label", "rack=7"];
    shown!(world.run(&args).await);
    assert_eq!(world.state().log[1], r#"bjw-ca-serv-5 bjw {"rack": "7"} 600"#);
}

#[tokio::test]
async fn a_quiet_invitation_is_that_line_alone() {
    let world = World::start(fleet()).await;
    let args = ["host", "invite", "bjw-ca-serv-5", "--lab", "bjw", "-q", "--valid-for", "5m"];
    shown!(world.run(&args).await);
    assert_eq!(world.state().log[1], "bjw-ca-serv-5 bjw {} 300");
}

#[tokio::test]
async fn a_bad_invitation_asks_nobody() {
    let world = World::start(fleet()).await;
    let shown = world.run(&["host", "invite", "Upper_Case", "--lab", "bjw"]).await;
    // The rest of the sentence is the model's.
    assert!(shown.starts_with("exit: Some(1)") && shown.contains("host name"), "{shown}");
    let mut all = String::new();
    for args in [
        &["bjw-ca-serv-5"][..],
        &["bjw-ca-serv-5", "--lab", "bjw", "--valid-for", "1h"],
        &["bjw-ca-serv-5", "--lab", "bjw", "--label", "rack"],
        &["bjw-ca-serv-5", "--lab", "bjw", "--label", "lab=svc"],
    ] {
        all += &format!("$ host invite {}\n", args.join(" "));
        all += &world.run(&[&["host", "invite"][..], args].concat()).await;
    }
    shown!(all);
    assert!(world.state().log.is_empty());
}

#[tokio::test]
async fn hosts_are_listed_as_by_get() {
    let world = World::start(fleet()).await;
    assert_eq!(world.run(&["host", "list"]).await, world.run(&["get", "hosts"]).await);
}

#[tokio::test]
async fn a_host_in_session_is_removed_by_force_only() {
    let mut state = fleet();
    state.put_host(host("strtk5-serv-02", "tk5", HostState::Down));
    let world = World::start(state).await;
    let mut all = String::new();
    for args in [
        &["strtk5-serv-02"][..],
        &["svcstr-server-2"],
        &["svcstr-server-2", "--force"],
        &["svcstr-server-2"],
    ] {
        all += &format!("$ host remove {}\n", args.join(" "));
        all += &world.run(&[&["host", "remove"][..], args].concat()).await;
    }
    shown!(all);
}
