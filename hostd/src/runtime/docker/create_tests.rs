#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use fleet_model::{AzureTarget, Cache, Mode, Proxy};

use super::*;
use crate::runtime::{RunId, StartWith};

fn spec(change: impl FnOnce(&mut Template)) -> RunSpec {
    let mut template = Template::docker("img:1".parse().unwrap(), Mode::Once);
    change(&mut template);
    RunSpec {
        labels: Default::default(),
        run: RunId { agent: "nightly-h-07".parse().unwrap(), attempt: 3 },
        pool: "nightly".parse().unwrap(),
        group: "big".parse().unwrap(),
        slot: 7,
        host: "h".parse().unwrap(),
        azure: AzureTarget { url: "https://dev.azure.com/x".into(), pool: "nightly".into() },
        template: Arc::new(template),
        slot_dir: "/var/lib/hostd/slots/nightly-h-07".into(),
        start: StartWith::Token(String::from("secret").into()),
        owner: "fleet/h/7".into(),
    }
}

fn made(spec: &RunSpec) -> Result<ContainerCreateBody, RuntimeError> {
    let settings = DockerSettings::new("h".parse().unwrap());
    let handover = Path::new("/run/hostd/runs/nightly-h-07-3/fleet");
    body(spec, &settings, Surroundings { handover, socket_group: None, notify: None })
}

fn env(body: &ContainerCreateBody, name: &str) -> Option<String> {
    let all = body.env.as_ref().unwrap();
    let prefix = format!("{name}=");
    all.iter().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
}

fn mounted(body: &ContainerCreateBody, target: &str) -> Option<String> {
    let mounts = body.host_config.as_ref().unwrap().mounts.as_ref().unwrap();
    let mount = mounts.iter().find(|m| m.target.as_deref() == Some(target))?;
    mount.source.clone()
}

#[test]
fn a_container_says_whose_it_is() {
    let body = made(&spec(|_| ())).unwrap();
    let labels = body.labels.unwrap();
    for (key, value) in [
        ("fleet.managed", "true"),
        ("fleet.host", "h"),
        ("fleet.pool", "nightly"),
        ("fleet.group", "big"),
        ("fleet.slot", "7"),
        ("fleet.agent", "nightly-h-07"),
        ("fleet.attempt", "3"),
        ("fleet.owner", "fleet/h/7"),
        ("fleet.entry", "own"),
        ("fleet.mode", "once"),
    ] {
        assert_eq!(labels[key], value, "{key}");
    }
    assert_eq!(labels::run(&labels), Some(spec(|_| ()).run));
}

#[test]
fn our_entry_replaces_the_images_command_and_gets_only_a_directory() {
    let body = made(&spec(|_| ())).unwrap();
    assert_eq!(body.entrypoint.as_deref().unwrap(), ["/bin/sh", "/run/fleet/entry.sh"]);
    assert_eq!(body.cmd.as_deref().unwrap(), [""; 0]);
    assert_eq!(mounted(&body, "/run/fleet").unwrap(), "/run/hostd/runs/nightly-h-07-3/fleet");
    assert_eq!(env(&body, "VSTS_AGENT_INPUT_AGENT").unwrap(), "nightly-h-07");
    assert_eq!(env(&body, "FLEET_MODE").unwrap(), "once");
    // The listener's own environment is in a file, for the entry to start it with nothing else.
    assert_eq!(env(&body, "FLEET_OWNER"), None);
}

#[test]
fn an_image_with_its_own_start_keeps_its_command() {
    let body = made(&spec(|t| t.entry = Entry::Image)).unwrap();
    assert_eq!((body.entrypoint.clone(), body.cmd.clone()), (None, None));
    assert_eq!(env(&body, "AZP_URL").unwrap(), "https://dev.azure.com/x");
    assert_eq!(env(&body, "AZP_POOL").unwrap(), "nightly");
    assert_eq!(env(&body, "AZP_AGENT_NAME").unwrap(), "nightly-h-07");
    assert_eq!(env(&body, "AZP_TOKEN_FILE").unwrap(), "/run/fleet/token");
    assert_eq!(env(&body, "FLEET_OWNER").unwrap(), "fleet/h/7");
}

#[test]
fn no_secret_is_in_the_words_for_the_engine() {
    for entry in [Entry::Own, Entry::Image] {
        let body = made(&spec(|t| t.entry = entry)).unwrap();
        assert!(!serde_json::to_string(&body).unwrap().contains("secret"));
    }
}

#[test]
fn limits_are_limits() {
    let body = made(&spec(|t| {
        t.limits = Limits { cpu_millis: Some(1500), memory_bytes: Some(64 << 20), pids: Some(128) };
    }))
    .unwrap();
    let config = body.host_config.unwrap();
    assert_eq!(config.nano_cpus, Some(1_500_000_000));
    assert_eq!(config.memory, Some(64 << 20));
    assert_eq!(config.memory_swap, config.memory);
    assert_eq!(config.pids_limit, Some(128));
    assert_eq!(config.init, Some(true));
    assert_eq!(config.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));

    let free = made(&spec(|_| ())).unwrap().host_config.unwrap();
    assert_eq!((free.nano_cpus, free.memory, free.pids_limit), (None, None, None));
}

#[test]
fn the_socket_comes_with_a_root_of_the_slots_own() {
    let body = made(&spec(|t| t.docker_socket = true)).unwrap();
    let root = "/var/lib/hostd/slots/nightly-h-07/root";
    assert_eq!(mounted(&body, root).as_deref(), Some(root), "the very same path on both sides");
    assert_eq!(env(&body, "FLEET_AGENT_ROOT").unwrap(), root);
    assert_eq!(mounted(&body, "/var/run/docker.sock").unwrap(), "/var/run/docker.sock");

    let without = made(&spec(|_| ())).unwrap();
    assert_eq!(mounted(&without, "/var/run/docker.sock"), None);
    assert_eq!(env(&without, "FLEET_AGENT_ROOT"), None);

    let foreign = made(&spec(|t| {
        t.docker_socket = true;
        t.entry = Entry::Image;
    }));
    assert!(matches!(foreign, Err(RuntimeError::Unsupported(_))));
}

#[test]
fn caches_belong_to_the_slot() {
    let cache = |path: &str| Cache { name: "cargo".parse().unwrap(), path: path.into() };
    let body = made(&spec(|t| t.caches = vec![cache("/root/.cargo")])).unwrap();
    assert_eq!(
        mounted(&body, "/root/.cargo").unwrap(),
        "/var/lib/hostd/slots/nightly-h-07/caches/cargo"
    );
    assert!(made(&spec(|t| t.caches = vec![cache("relative")])).is_err());
}

#[test]
fn a_proxy_with_a_password_is_in_no_inspection_of_our_entry() {
    let with_proxy = |entry| {
        made(&spec(|t| {
            t.entry = entry;
            t.proxy = Proxy { http: Some("http://u:p@proxy:1".into()), ..Default::default() };
        }))
        .unwrap()
    };
    assert_eq!(env(&with_proxy(Entry::Own), "http_proxy"), None);
    // An image's own script knows no other place.
    assert!(env(&with_proxy(Entry::Image), "HTTP_PROXY").is_some());
}

#[test]
fn the_hand_over_is_for_the_images_user() {
    let table = [
        (None, Holder::Anyone),
        (Some(""), Holder::Me),
        (Some("root"), Holder::Me),
        (Some("0:0"), Holder::Me),
        (Some("1000:1000"), Holder::Uid(1000)),
        (Some("agent"), Holder::Anyone),
    ];
    for (user, expected) in table {
        assert_eq!(holder(user), expected, "{user:?}");
    }
}

#[test]
fn a_template_without_image_is_refused() {
    assert!(matches!(made(&spec(|t| t.image = None)), Err(RuntimeError::Unsupported(_))));
}

#[test]
fn only_a_container_on_the_hosts_network_is_told_where_to_announce_jobs() {
    let mut settings = DockerSettings::new("h".parse().unwrap());
    for (network, shares) in [(None, false), (Some("bridge"), false), (Some("host"), true)] {
        settings.network = network.map(str::to_owned);
        assert_eq!(shares_loopback(&spec(|_| ()), &settings), shares, "{network:?}");
    }
    assert!(!shares_loopback(&spec(|template| template.entry = Entry::Image), &settings));
    let handover = Path::new("/run/hostd/runs/nightly-h-07-3/fleet");
    for notify in [None, Some("127.0.0.1:7".parse().unwrap())] {
        let around = Surroundings { handover, socket_group: None, notify };
        let body = body(&spec(|_| ()), &settings, around).unwrap();
        assert_eq!(env(&body, "FLEET_NOTIFY"), notify.map(|address| address.to_string()));
    }
}
