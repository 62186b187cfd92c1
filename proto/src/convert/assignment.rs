//! What a host is told to keep.

use std::{collections::BTreeSet, sync::Arc};

use fleet_model::{
    Assignment, CredentialRef, GroupAssignment, GroupName, PoolAssignment, PoolName, Wanted,
};

use super::{
    WireError,
    read::{keyed, message, named, optional, parsed},
    session::labels,
    time::{duration, wire_duration},
    words::order,
};
use crate::v1;

impl From<Assignment> for v1::Assignment {
    fn from(assignment: Assignment) -> Self {
        Self {
            order: Some(assignment.order.into()),
            pools: assignment.pools.into_iter().map(Into::into).collect(),
            labels: assignment.labels.into_iter().map(|(k, v)| (k.into(), v)).collect(),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = WireError;
    fn try_from(wire: v1::Assignment) -> Result<Self, WireError> {
        let labels = labels(wire.labels)?;
        Ok(Self { order: order("order", wire.order)?, pools: keyed("pools", wire.pools)?, labels })
    }
}

impl From<(PoolName, PoolAssignment)> for v1::PoolAssignment {
    fn from((name, pool): (PoolName, PoolAssignment)) -> Self {
        let (gone, groups) = match pool.wanted {
            Wanted::Groups(groups) => (false, groups.into_iter().map(Into::into).collect()),
            Wanted::Gone => (true, Vec::new()),
        };
        Self {
            pool: name.into(),
            azure: Some(pool.azure.into()),
            prefix: pool.prefix.into(),
            settle: Some(wire_duration(pool.settle)),
            credential: Some(pool.credential.into()),
            gone,
            groups,
            gone_groups: pool.gone_groups.into_iter().map(Into::into).collect(),
            forced: pool.forced.map(Into::into),
            paused: pool.paused.unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::PoolAssignment> for (PoolName, PoolAssignment) {
    type Error = WireError;
    fn try_from(wire: v1::PoolAssignment) -> Result<Self, WireError> {
        let gone_groups: BTreeSet<GroupName> = named("gone_groups", &wire.gone_groups)?;
        // Wanted and gone at once: in doubt nothing is removed.
        if let Some(both) =
            wire.groups.iter().find(|g| gone_groups.iter().any(|n| n.as_str() == g.group))
        {
            let why = format!("{} is named among the wanted groups, too", both.group);
            return Err(WireError::new("gone_groups", why));
        }
        let pool = PoolAssignment {
            azure: message("azure", wire.azure)?,
            prefix: parsed("prefix", &wire.prefix)?,
            settle: duration("settle", wire.settle)?,
            credential: message("credential", wire.credential)?,
            wanted: wanted(wire.gone, wire.groups)?,
            gone_groups,
            forced: optional("forced", wire.forced)?,
            paused: (!wire.paused.is_empty()).then_some(wire.paused),
        };
        Ok((parsed("pool", &wire.pool)?, pool))
    }
}

/// A tombstone with groups says two things at once; in doubt nothing is removed.
fn wanted(gone: bool, groups: Vec<v1::GroupAssignment>) -> Result<Wanted, WireError> {
    match (gone, groups.is_empty()) {
        (true, true) => Ok(Wanted::Gone),
        (true, false) => Err(WireError::new("gone", "contradicts the groups that are named")),
        (false, _) => keyed("groups", groups).map(Wanted::Groups),
    }
}

impl From<(GroupName, GroupAssignment)> for v1::GroupAssignment {
    fn from((name, group): (GroupName, GroupAssignment)) -> Self {
        Self {
            group: name.into(),
            template: Some(Arc::unwrap_or_clone(group.template).into()),
            replicas: group.replicas,
            placeholder: group.placeholder,
        }
    }
}

impl TryFrom<v1::GroupAssignment> for (GroupName, GroupAssignment) {
    type Error = WireError;
    fn try_from(wire: v1::GroupAssignment) -> Result<Self, WireError> {
        let group = GroupAssignment {
            template: Arc::new(message("template", wire.template)?),
            replicas: wire.replicas,
            placeholder: wire.placeholder,
        };
        Ok((parsed("group", &wire.group)?, group))
    }
}

impl From<CredentialRef> for v1::CredentialRef {
    fn from(credential: CredentialRef) -> Self {
        Self { name: credential.name.into(), fingerprint: credential.fingerprint }
    }
}

impl TryFrom<v1::CredentialRef> for CredentialRef {
    type Error = WireError;
    fn try_from(wire: v1::CredentialRef) -> Result<Self, WireError> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if wire.fingerprint.len() != 12 || !wire.fingerprint.bytes().all(hex) {
            return Err(WireError::new("fingerprint", "must be 12 lower-case hex digits"));
        }
        Ok(Self { name: parsed("name", &wire.name)?, fingerprint: wire.fingerprint })
    }
}
