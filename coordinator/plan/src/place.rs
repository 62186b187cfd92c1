//! Spreading one pool over hosts: evenly, moving as little as possible, and able to say why not.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
};

use fleet_model::{
    Availability, GroupSpec, HostName, HostState, Labels, PoolSpec, Requirement, RestraintKind,
    RuntimeKind, numbers::SLOTS_MAX,
};

use crate::{
    records::Placed,
    split::{Part, split},
};

/// What placement needs to know of a host.
#[derive(Debug, Clone)]
pub struct HostView<'a> {
    /// Its name.
    pub name: &'a HostName,
    /// Its labels.
    pub labels: &'a Labels,
    /// What the operator lets it do.
    pub availability: Availability,
    /// Whether the coordinator hears of it.
    pub state: HostState,
    /// Runtimes it serves; none while it never was in session.
    pub runtimes: Option<&'a std::collections::BTreeSet<RuntimeKind>>,
    /// Agents it takes of all pools together.
    pub capacity: Option<u32>,
    /// Agents of other pools on it.
    pub taken: u32,
}

/// Why a host gets no (more) agents of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its labels do not match.
    Selector(Requirement),
    /// It serves no such runtime.
    Runtime(RuntimeKind),
    /// The operator holds it back.
    NotActive(&'static str),
    /// The operator holds the whole pool back.
    Pool(RestraintKind),
    /// It never joined, or has not been heard of for longer than its lease.
    NotThere(&'static str),
    /// It has as many agents as it takes.
    Full(u32),
    /// The group has as many agents on it as it may.
    GroupMaximum(u32),
}

/// Where the agents of a pool go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The places.
    pub placed: Placed,
    /// Wanted agents that no host can take.
    pub unplaced: u32,
    /// Why: for each reason, how many hosts gave it.
    pub refusals: BTreeMap<Refusal, u32>,
}

/// How a host stands to a group: what it may keep, what more it may take.
struct Bin<'a> {
    host: &'a HostName,
    /// Most agents of this group on it.
    room: u32,
    /// It may get more than it has.
    takes_new: bool,
    /// Agents now, then the plan.
    count: u32,
    /// Which limit `room` comes from.
    limit: Option<Refusal>,
}

/// Places `pool` on `hosts`, starting from where its agents are in `prior`.
///
/// Equal input, equal placement. A count on a host only falls when the pool shrinks, or when the
/// host may not keep it (draining, no longer selected, over its capacity, removed); a host that is
/// Down keeps what it has, because waiting is the default.
pub fn place(pool: &PoolSpec, hosts: &[HostView<'_>], prior: &Placed) -> Placement {
    let mut out = Placement::default();
    if pool.deleted {
        return out;
    }
    // Agents of this pool put on each host so far, so that groups share a host's capacity.
    let mut used: BTreeMap<&HostName, u32> = BTreeMap::new();
    let held = pool.restraint.as_ref().map(|restraint| restraint.kind);
    let rooms: Vec<u32> = pool.groups.iter().map(|g| group_room(g, held, hosts, prior)).collect();
    let parts: Vec<Part> = pool
        .groups
        .iter()
        .zip(&rooms)
        .map(|(group, &room)| Part { weight: group.weight, room })
        .collect();
    let mut carried = 0;
    for (group, share) in pool.groups.iter().zip(split(pool.replicas, &parts)) {
        let wanted = if group.weight == 0 { 0 } else { share + carried };
        let mut bins = bins(group, held, hosts, prior, &used, &mut out.refusals);
        let placed = fill(&mut bins, wanted);
        // Two groups may have counted on the same room: what this one could not place, the next
        // one tries.
        carried = wanted - placed;
        for bin in bins {
            *used.entry(bin.host).or_default() += bin.count;
            if let Some(limit) = bin.limit.filter(|_| bin.takes_new && bin.count == bin.room) {
                *out.refusals.entry(limit).or_default() += 1;
            }
            out.placed.set(bin.host, &group.name, bin.count);
        }
    }
    out.unplaced = pool.replicas - out.placed.total();
    if out.unplaced == 0 {
        out.refusals.clear();
    }
    out.placed.keeper = keepers(pool, hosts, prior, &out.placed);
    out
}

fn group_room(
    group: &GroupSpec,
    held: Option<RestraintKind>,
    hosts: &[HostView<'_>],
    prior: &Placed,
) -> u32 {
    let mut ignored = BTreeMap::new();
    bins(group, held, hosts, prior, &BTreeMap::new(), &mut ignored)
        .iter()
        .map(|bin| if bin.takes_new { bin.room } else { bin.count })
        .fold(0, u32::saturating_add)
}

fn bins<'a>(
    group: &GroupSpec,
    held: Option<RestraintKind>,
    hosts: &[HostView<'a>],
    prior: &Placed,
    used: &BTreeMap<&HostName, u32>,
    refusals: &mut BTreeMap<Refusal, u32>,
) -> Vec<Bin<'a>> {
    let mut bins = Vec::new();
    for host in hosts {
        let refusal = refuses(group, held, host);
        let drains =
            held == Some(RestraintKind::Drain) || host.availability == Availability::Draining;
        let keeps = !drains
            && match &refusal {
                None => true,
                Some(Refusal::NotActive(_) | Refusal::Pool(_) | Refusal::NotThere(_)) => true,
                Some(_) => false,
            };
        let here = used.get(host.name).copied().unwrap_or(0);
        let (room, limit) = room(group, host, here);
        let count = if keeps { prior.count(host.name, &group.name).min(room) } else { 0 };
        let takes_new = refusal.is_none();
        if let Some(reason) = refusal {
            *refusals.entry(reason).or_default() += 1;
        }
        if keeps {
            bins.push(Bin { host: host.name, room, takes_new, count, limit });
        }
    }
    bins
}

/// Why `host` takes no new agent of `group`, whatever its room.
pub(crate) fn refuses(
    group: &GroupSpec,
    held: Option<RestraintKind>,
    host: &HostView<'_>,
) -> Option<Refusal> {
    if let Some(requirement) = group.selector.unmet(host.labels) {
        return Some(Refusal::Selector(requirement.clone()));
    }
    if let Some(kind) = held {
        return Some(Refusal::Pool(kind));
    }
    match host.availability {
        Availability::Active => {}
        Availability::Cordoned => return Some(Refusal::NotActive("cordoned")),
        Availability::Paused => return Some(Refusal::NotActive("paused")),
        Availability::Draining => return Some(Refusal::NotActive("draining")),
    }
    let runtime = group.template.runtime;
    match (host.state, host.runtimes) {
        (HostState::Invited, _) | (_, None) => Some(Refusal::NotThere("never joined")),
        (HostState::Down, _) => Some(Refusal::NotThere("down")),
        (_, Some(served)) if !served.contains(&runtime) => Some(Refusal::Runtime(runtime)),
        _ => None,
    }
}

/// Most agents of `group` on `host`, and which limit that is; `here` agents of other groups are on
/// it already.
pub(crate) fn room(group: &GroupSpec, host: &HostView<'_>, here: u32) -> (u32, Option<Refusal>) {
    let by_name = u32::from(SLOTS_MAX).saturating_sub(here);
    let by_group = group.max_per_host.unwrap_or(u32::MAX);
    let by_host = host.capacity.map(|all| all.saturating_sub(host.taken + here));
    match by_host {
        Some(free) if free <= by_group && free <= by_name => {
            (free, host.capacity.map(Refusal::Full))
        }
        _ if by_group <= by_name => (by_group, Some(Refusal::GroupMaximum(by_group))),
        _ => (by_name, Some(Refusal::Full(SLOTS_MAX.into()))),
    }
}

/// Brings the sum of the bins to `wanted` if there is room: takes from the fullest, gives to the
/// emptiest, one at a time. Returns the sum reached.
fn fill(bins: &mut [Bin<'_>], wanted: u32) -> u32 {
    let mut sum: u32 = bins.iter().map(|bin| bin.count).sum();
    if sum > wanted {
        // Of equally full hosts the last by name gives first, so that the first one fills first.
        let mut fullest: BinaryHeap<(u32, &HostName, usize)> =
            bins.iter().enumerate().map(|(at, bin)| (bin.count, bin.host, at)).collect();
        while sum > wanted {
            let Some((count, host, at)) = fullest.pop() else { break };
            bins[at].count = count - 1;
            sum -= 1;
            fullest.push((count - 1, host, at));
        }
    }
    let mut emptiest: BinaryHeap<Reverse<(u32, &HostName, usize)>> = bins
        .iter()
        .enumerate()
        .filter(|(_, bin)| bin.takes_new && bin.count < bin.room)
        .map(|(at, bin)| Reverse((bin.count, bin.host, at)))
        .collect();
    while sum < wanted {
        let Some(Reverse((count, host, at))) = emptiest.pop() else { break };
        bins[at].count = count + 1;
        sum += 1;
        if count + 1 < bins[at].room {
            emptiest.push(Reverse((count + 1, host, at)));
        }
    }
    sum
}

/// Who keeps each group's last registration: the same host as before while it may, else the first
/// that has agents of it. It does not move with the agents, so that the last row is never taken
/// away before another one stands.
fn keepers(
    pool: &PoolSpec,
    hosts: &[HostView<'_>],
    prior: &Placed,
    placed: &Placed,
) -> BTreeMap<fleet_model::GroupName, HostName> {
    let mut keepers = BTreeMap::new();
    for group in &pool.groups {
        let may = |name: &&HostName| {
            hosts.iter().any(|h| h.name == *name && group.selector.unmet(h.labels).is_none())
        };
        let first = placed.by_host.iter().find(|(_, groups)| groups.contains_key(&group.name));
        let keeper = prior.keeper.get(&group.name).filter(may).or(first.map(|(host, _)| host));
        if let Some(host) = keeper {
            keepers.insert(group.name.clone(), host.clone());
        }
    }
    keepers
}

impl Placement {
    /// The reasons in words, most hosts first: "3 hosts: label lab=svc is not met".
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self.refusals.iter().collect();
        reasons.sort_by_key(|(reason, hosts)| (Reverse(**hosts), (*reason).clone()));
        if reasons.is_empty() && self.unplaced > 0 {
            return vec![
                "no host has joined the fleet; invite one with agentctl host invite".into(),
            ];
        }
        reasons
            .into_iter()
            .map(|(reason, hosts)| {
                let plural = if *hosts == 1 { "host" } else { "hosts" };
                format!("{hosts} {plural}: {reason}")
            })
            .collect()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selector(requirement) => write!(f, "label {requirement} is not met"),
            Self::Runtime(kind) => write!(f, "runtime {kind} is not served"),
            Self::NotActive(what) | Self::NotThere(what) => f.write_str(what),
            Self::Pool(RestraintKind::Cordon) => f.write_str("the pool is cordoned"),
            Self::Pool(RestraintKind::Pause) => f.write_str("the pool is paused"),
            Self::Pool(RestraintKind::Drain) => f.write_str("the pool is draining"),
            Self::Full(capacity) => write!(f, "full ({capacity} agents)"),
            Self::GroupMaximum(most) => write!(f, "has the most of this group ({most})"),
        }
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
