//! Every value the model can hold, for properties.

use std::{collections::BTreeSet, time::Duration};

use fleet_model::{numbers::QUARANTINE_MAX, *};
use proptest::{collection::vec, option, prelude::*};

use super::{Hello, Row, RowChange};

fn named<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    pattern: &'static str,
) -> impl Strategy<Value = T> {
    pattern.prop_map(|text: String| text.parse().expect("the pattern makes names only"))
}

fn group_name() -> impl Strategy<Value = GroupName> {
    named("[a-zA-Z0-9][a-z_-]{0,8}[a-z0-9]")
}

pub(super) fn pool_name() -> impl Strategy<Value = PoolName> {
    named("[a-zA-Z0-9][a-z._-]{0,20}[a-z0-9]")
}

fn agent_name() -> impl Strategy<Value = AgentName> {
    named("[a-z][a-z._-]{0,30}-[0-9]{2,3}")
}

fn runtime() -> impl Strategy<Value = RuntimeKind> {
    use RuntimeKind::*;
    prop::sample::select(vec![Docker, Systemd, Process, Fake])
}

pub(super) fn order() -> impl Strategy<Value = Order> {
    any::<(u64, u64)>().prop_map(|(term, generation)| Order::new(term, generation))
}

/// Longer than any setting, finer than any clock.
fn span() -> impl Strategy<Value = Duration> {
    (0..=i64::MAX as u64, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n))
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 1_700_000_000_000..1_900_000_000_000_u64]
        .prop_map(At)
}

fn selector() -> impl Strategy<Value = Selector> {
    let values = || prop::collection::btree_set("[a-zA-Z0-9.]{1,4}", 1..4);
    vec((0..3_u8, named("[a-z][a-z0-9]{0,5}"), values()), 0..4).prop_map(|parts| {
        let requirement = |(kind, key, values)| match kind {
            0 => Requirement::In(key, values),
            1 => Requirement::NotIn(key, values),
            _ => Requirement::Exists(key),
        };
        Selector(parts.into_iter().map(requirement).collect())
    })
}

pub(super) fn template() -> impl Strategy<Value = Template> {
    let limits = (option::of(any::<u32>()), option::of(any::<u64>()), option::of(any::<u32>()))
        .prop_map(|(cpu_millis, memory_bytes, pids)| Limits { cpu_millis, memory_bytes, pids });
    let text = || option::of("\\PC{0,12}");
    let proxy = (text(), text(), text()).prop_map(|(http, https, no_proxy)| Proxy {
        http,
        https,
        no_proxy,
    });
    let cache = (group_name(), "\\PC{0,12}").prop_map(|(name, path)| Cache { name, path });
    let env = prop::collection::btree_map("\\PC{0,8}", "\\PC{0,12}", 0..4);
    let modes = prop::sample::select(vec![Mode::Once, Mode::LongLived]);
    let entries = prop::sample::select(vec![Entry::Own, Entry::Image]);
    let package = ("\\PC{1,12}", "[0-9a-f]{64}");
    let package = package.prop_map(|(source, sha256)| Package { source, sha256 });
    (
        (runtime(), option::of(named("[a-z]{1,8}(:[a-z0-9]{1,4})?")), modes, entries, env),
        (limits, vec(cache, 0..3), option::of(any::<u16>()), proxy),
        (any::<bool>(), option::of(package), any::<bool>()),
    )
        .prop_map(
            |(
                (runtime, image, mode, entry, env),
                (limits, caches, mtu, proxy),
                (docker_socket, package, docker_group),
            )| Template {
                runtime,
                image,
                mode,
                entry,
                env,
                limits,
                caches,
                mtu,
                proxy,
                docker_socket,
                package,
                docker_group,
            },
        )
}

/// Longer than any group's name among the samples, so that none is both wanted and gone.
fn gone_groups() -> impl Strategy<Value = BTreeSet<GroupName>> {
    prop::collection::btree_set(named("gone-[a-z]{9}"), 0..3)
}

fn forced() -> impl Strategy<Value = Option<Forced>> {
    option::of(
        ("\\PC{1,12}", named("[a-z]([a-z ]{0,10}[a-z])?"), at())
            .prop_map(|(by, reason, at)| Forced { by, reason, at }),
    )
}

fn restraint() -> impl Strategy<Value = Restraint> {
    use prop::sample::select;
    let kind = select(vec![RestraintKind::Cordon, RestraintKind::Pause, RestraintKind::Drain]);
    let then = select(vec![AtDeadline::Wait, AtDeadline::GiveUp]);
    let deadline =
        (at(), then, any::<bool>()).prop_map(|(at, then, passed)| Deadline { at, then, passed });
    let reason = option::of(named("[a-z]([a-z ]{0,10}[a-z])?"));
    let moments = (at(), option::of(at()), option::of(deadline), option::of(at()));
    (kind, "\\PC{1,12}", reason, moments).prop_map(
        |(kind, by, reason, (since, until, deadline, done))| Restraint {
            kind,
            by,
            reason,
            since,
            until,
            deadline,
            done,
        },
    )
}

fn azure() -> impl Strategy<Value = AzureTarget> {
    ("\\PC{1,20}", "\\PC{1,20}").prop_map(|(url, pool)| AzureTarget { url, pool })
}

pub(super) fn group_spec() -> impl Strategy<Value = GroupSpec> {
    (group_name(), selector(), template(), any::<u32>(), option::of(any::<u32>())).prop_map(
        |(name, selector, template, weight, max_per_host)| GroupSpec {
            name,
            selector,
            template: template.into(),
            weight,
            max_per_host,
        },
    )
}

pub(super) fn pool_spec() -> impl Strategy<Value = PoolSpec> {
    (
        (pool_name(), azure(), named("[a-z]{1,8}"), any::<u32>(), span()),
        (named("[a-z]{1,8}"), vec(group_spec(), 0..3), gone_groups(), any::<bool>()),
        (forced(), option::of(restraint())),
    )
        .prop_map(
            |(
                (name, azure, prefix, replicas, settle),
                (credential, groups, gone_groups, deleted),
                (forced, restraint),
            )| PoolSpec {
                name,
                azure,
                prefix,
                replicas,
                settle,
                credential,
                groups,
                gone_groups,
                forced,
                restraint,
                deleted,
            },
        )
}

fn credential() -> impl Strategy<Value = CredentialRef> {
    (named("[a-z]{1,8}"), "[0-9a-f]{12}")
        .prop_map(|(name, fingerprint)| CredentialRef { name, fingerprint })
}

pub(super) fn assignment() -> impl Strategy<Value = Assignment> {
    let group =
        (template(), any::<u32>(), any::<bool>()).prop_map(|(template, replicas, placeholder)| {
            GroupAssignment { template: template.into(), replicas, placeholder }
        });
    let wanted = prop_oneof![
        1 => Just(Wanted::Gone),
        4 => prop::collection::btree_map(group_name(), group, 0..3).prop_map(Wanted::Groups),
    ];
    let paused = option::of("[a-z: ]{1,20}");
    let pool = (
        azure(),
        named("[a-z]{1,8}"),
        span(),
        credential(),
        wanted,
        (gone_groups(), forced(), paused),
    )
        .prop_map(
            |(azure, prefix, settle, credential, wanted, (gone_groups, forced, paused))| {
                PoolAssignment {
                    azure,
                    prefix,
                    settle,
                    credential,
                    wanted,
                    gone_groups,
                    forced,
                    paused,
                }
            },
        );
    (order(), prop::collection::btree_map(pool_name(), pool, 0..3), labels())
        .prop_map(|(order, pools, labels)| Assignment { order, pools, labels })
}

pub(super) fn agent() -> impl Strategy<Value = AgentStatus> {
    let job = ("\\PC{0,12}", option::of(any::<i64>()), at())
        .prop_map(|(name, request_id, since)| Job { name, request_id, since });
    let intents = prop::sample::select(vec![Intent::Keep, Intent::Drain, Intent::Remove]);
    (
        (agent_name(), pool_name(), group_name(), any::<u16>(), runtime(), any::<u32>()),
        (prop::sample::select(Phase::ALL.to_vec()), at(), intents, option::of(job)),
        (
            "\\PC{0,20}",
            option::of(any::<i64>()),
            any::<bool>(),
            option::of(quarantine()),
            option::of(any::<u64>()),
        ),
    )
        .prop_map(
            |(
                (agent, pool, group, slot, runtime, attempt),
                (phase, since, intent, job),
                (why, agent_id, placeholder, quarantine, disk_bytes),
            )| AgentStatus {
                agent,
                pool,
                group,
                slot,
                runtime,
                attempt,
                phase,
                since,
                intent,
                job,
                why,
                agent_id,
                placeholder,
                quarantine,
                disk_bytes,
            },
        )
}

fn quarantine() -> impl Strategy<Value = Quarantine> {
    let said = || option::of("\\PC{1,12}");
    (at(), at(), "\\PC{0,12}", said(), said()).prop_map(|(since, until, why, by, evidence)| {
        Quarantine { since, until, why, by, evidence }
    })
}

pub(super) fn agent_order() -> impl Strategy<Value = AgentOrder> {
    let longest = QUARANTINE_MAX.as_millis() as u64;
    let verb = prop_oneof![
        Just(AgentVerb::Restart),
        Just(AgentVerb::Release),
        (1..longest).prop_map(|ms| AgentVerb::Quarantine(Duration::from_millis(ms))),
    ];
    let reason = option::of("[a-z]{1,12}".prop_map(|text| text.parse().expect("a reason")));
    (agent_name(), verb, "[a-z]{1,8}", reason).prop_map(|(agent, verb, by, reason)| AgentOrder {
        agent,
        verb,
        by,
        reason,
    })
}

pub(super) fn condition() -> impl Strategy<Value = Condition> {
    use ConditionKind::*;
    let kinds = vec![
        EngineDown,
        ImageMissing,
        AzureTrouble,
        NoCredential,
        StartsCapped,
        PoolUnknown,
        NoLiveRestore,
        Unsupported,
        LedgerTrouble,
        DiskLow,
        DiskFull,
    ];
    (prop::sample::select(kinds), option::of(pool_name()), "\\PC{0,20}")
        .prop_map(|(kind, pool, message)| Condition { kind, pool, message })
}

pub(super) fn report() -> impl Strategy<Value = HostReport> {
    (
        (any::<bool>(), order(), vec(agent(), 0..3)),
        (vec(agent_name(), 0..3), vec(condition(), 0..3), vec(credential(), 0..3)),
        (vec(disk(), 0..3), vec(cache_size(), 0..3)),
    )
        .prop_map(
            |((full, applied, agents), (removed, conditions, credentials), (disks, caches))| {
                HostReport {
                    full,
                    applied,
                    agents,
                    removed,
                    conditions,
                    credentials,
                    disks,
                    caches,
                }
            },
        )
}

fn disk() -> impl Strategy<Value = Disk> {
    let room = || any::<(u64, u64)>().prop_map(|(total, free)| Room { total, free });
    let runtimes = prop::collection::btree_set(runtime(), 0..4);
    ("\\PC{0,8}", room(), room(), runtimes).prop_map(|(place, bytes, inodes, runtimes)| Disk {
        place,
        bytes,
        inodes,
        runtimes,
    })
}

fn cache_size() -> impl Strategy<Value = CacheSize> {
    ("\\PC{0,8}", any::<u64>()).prop_map(|(what, bytes)| CacheSize { what, bytes })
}

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(named("[a-z][a-z0-9./_-]{0,8}[a-z]"), "\\PC{0,8}", 0..4)
}

pub(super) fn hello() -> impl Strategy<Value = Hello> {
    let facts =
        (
            (labels(), option::of(any::<u32>()), prop::collection::btree_set(runtime(), 0..4)),
            ("\\PC{0,8}", "\\PC{1,8}", "\\PC{0,8}"),
        )
            .prop_map(|((labels, capacity, runtimes), (version, boot_id, engine))| {
                HostFacts { labels, capacity, runtimes, version, boot_id, engine }
            });
    (named("[a-z][a-z0-9.-]{0,20}[a-z]"), "\\PC{1,8}", order(), facts)
        .prop_map(|(host, instance_id, highest, facts)| Hello { host, instance_id, highest, facts })
}

pub(super) fn row() -> impl Strategy<Value = Row> {
    let assigned = option::of((any::<i64>(), "\\PC{0,8}"))
        .prop_map(|held| held.map(|(request, job)| Assigned::new(request, job)));
    let seen = (any::<i64>(), any::<bool>(), any::<bool>(), assigned).prop_map(
        |(agent_id, enabled, online, assigned)| {
            RowChange::Seen(RowState { agent_id, enabled, online, assigned })
        },
    );
    let gone = any::<i64>().prop_map(|agent_id| RowChange::Gone { agent_id });
    (pool_name(), agent_name(), prop_oneof![seen, gone]).prop_map(|(pool, agent, change)| Row {
        pool,
        agent,
        change,
    })
}
