//! Each rule of a spec, broken once.

use super::*;
use crate::{Cache, Mode};

fn pool() -> PoolSpec {
    PoolSpec::single(
        "nightly-svc".parse().expect("pool"),
        AzureTarget { url: "https://dev.example/fabrikam".into(), pool: "nightly-svc".into() },
        "nightly-svc".parse().expect("credential"),
        "lab=svc".parse().expect("selector"),
        Template::docker("fleet-agent:demo".parse().expect("image"), Mode::Once),
    )
    .expect("names fit")
}

#[test]
fn a_plain_pool_passes() {
    assert_eq!(pool().check(), Ok(()));
}

#[test]
fn each_broken_rule_is_named() {
    let broken = |change: fn(&mut PoolSpec)| {
        let mut spec = pool();
        change(&mut spec);
        spec.check().expect_err("must be refused").to_string()
    };
    let said = [
        (broken(|p| p.replicas = u32::MAX), "more than a pool may have"),
        (broken(|p| p.azure.url = "dev.example/x".into()), "must begin with https://"),
        (broken(|p| p.azure.url = "https://u:p@dev.example/x".into()), "must begin with"),
        (broken(|p| p.groups.clear()), "at least one group"),
        (broken(|p| p.groups.push(p.groups[0].clone())), "two groups"),
        (broken(|p| Arc::make_mut(&mut p.groups[0].template).image = None), "--image"),
        (broken(|p| p.settle = Duration::ZERO), "settle time"),
        (
            broken(|p| {
                p.gone_groups.insert(p.groups[0].name.clone());
            }),
            "both as wanted and as removed",
        ),
        (
            broken(|p| {
                Arc::make_mut(&mut p.groups[0].template).env.insert("AZP_TOKEN".into(), "x".into());
            }),
            "hand a credential",
        ),
    ];
    for (text, part) in said {
        assert!(text.contains(part), "{text:?} should say {part:?}");
    }
}

fn package(source: &str, sha256: &str) -> Option<Package> {
    Some(Package { source: source.into(), sha256: sha256.into() })
}

/// A pool of units, changed.
fn units(change: impl FnOnce(&mut Template)) -> Result<(), SpecError> {
    let mut spec = pool();
    let mut template = Template::systemd(Mode::Once);
    change(&mut template);
    spec.groups[0].template = template.into();
    spec.check()
}

#[test]
fn units_need_nothing_and_may_name_a_package() {
    let sum = "0123456789abcdef".repeat(4);
    assert_eq!(units(|_| ()), Ok(()), "the host's own package");
    for source in [
        "https://packages.example/agent/4.tar.gz",
        "http://mirror:8080/a@4.tgz",
        "/srv/agent.tar.gz",
    ] {
        assert_eq!(units(|t| t.package = package(source, &sum)), Ok(()), "{source}");
    }
    assert_eq!(units(|t| t.docker_group = true), Ok(()));
    for source in [
        "",
        "agent.tar.gz",
        "https://",
        "https:///agent",
        "https://u:secret@packages.example/a",
        "ftp://packages.example/a",
        "/srv/../etc/shadow",
        "/srv/a b",
        "file:///srv/a",
    ] {
        let error = units(|t| t.package = package(source, &sum)).expect_err(source).to_string();
        assert!(error.contains("--package") && !error.contains("secret"), "{error}");
    }
    for bad in ["", "0123", &sum.to_uppercase(), &format!("{sum}0"), &sum.replace('0', "g")] {
        let error = units(|t| t.package = package("/srv/a", bad)).expect_err(bad).to_string();
        assert!(error.contains("sha256sum"), "{error}");
    }
}

#[test]
fn what_a_runtime_cannot_give_is_refused_with_the_way_out() {
    let image = || "fleet-agent:demo".parse().ok();
    let cache = || vec![Cache { name: "nuget".parse().expect("name"), path: "/nuget".into() }];
    let said = |refused: Result<(), SpecError>| refused.expect_err("refused").to_string();
    let docker = |change: fn(&mut Template)| {
        let mut spec = pool();
        change(Arc::make_mut(&mut spec.groups[0].template));
        spec.check()
    };
    for (text, option, next) in [
        (said(units(|t| t.image = image())), "--image", "--runtime docker"),
        (said(units(|t| t.entry = Entry::Image)), "--entry image", "--runtime docker"),
        (said(units(|t| t.caches = cache())), "--cache", "--runtime docker"),
        (said(units(|t| t.docker_socket = true)), "--docker-socket", "--docker-group"),
        (said(docker(|t| t.docker_group = true)), "--docker-group", "--runtime systemd"),
        (
            said(docker(|t| t.package = package("/srv/a", &"0".repeat(64)))),
            "--package",
            "--runtime systemd",
        ),
    ] {
        assert!(text.contains(&format!("{option} does not go with")), "{text}");
        assert!(text.ends_with(next), "{text}");
    }
}
