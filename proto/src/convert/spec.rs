//! What an operator asks for: pools, groups, templates.

use std::sync::Arc;

use fleet_model::{
    AzureTarget, Cache, Forced, GroupSpec, Limits, Package, PoolSpec, Proxy, Template,
};

use super::{
    WireError,
    read::{list, message, named, narrow, optional, parsed, parsed_or_none, word},
    time::{at, duration, timestamp, wire_duration},
};
use crate::v1;

impl From<PoolSpec> for v1::PoolSpec {
    fn from(spec: PoolSpec) -> Self {
        Self {
            name: spec.name.into(),
            azure: Some(spec.azure.into()),
            prefix: spec.prefix.into(),
            replicas: spec.replicas,
            settle: Some(wire_duration(spec.settle)),
            credential: spec.credential.into(),
            groups: spec.groups.into_iter().map(Into::into).collect(),
            deleted: spec.deleted,
            gone_groups: spec.gone_groups.into_iter().map(Into::into).collect(),
            forced: spec.forced.map(Into::into),
            restraint: spec.restraint.map(Into::into),
        }
    }
}

impl TryFrom<v1::PoolSpec> for PoolSpec {
    type Error = WireError;
    fn try_from(wire: v1::PoolSpec) -> Result<Self, WireError> {
        Ok(Self {
            name: parsed("name", &wire.name)?,
            azure: message("azure", wire.azure)?,
            prefix: parsed("prefix", &wire.prefix)?,
            replicas: wire.replicas,
            settle: duration("settle", wire.settle)?,
            credential: parsed("credential", &wire.credential)?,
            groups: list("groups", wire.groups)?,
            deleted: wire.deleted,
            gone_groups: named("gone_groups", &wire.gone_groups)?,
            forced: optional("forced", wire.forced)?,
            restraint: optional("restraint", wire.restraint)?,
        })
    }
}

impl From<GroupSpec> for v1::GroupSpec {
    fn from(group: GroupSpec) -> Self {
        Self {
            name: group.name.into(),
            selector: group.selector.into(),
            template: Some(Arc::unwrap_or_clone(group.template).into()),
            weight: group.weight,
            max_per_host: group.max_per_host,
        }
    }
}

impl TryFrom<v1::GroupSpec> for GroupSpec {
    type Error = WireError;
    fn try_from(wire: v1::GroupSpec) -> Result<Self, WireError> {
        Ok(Self {
            name: parsed("name", &wire.name)?,
            selector: parsed("selector", &wire.selector)?,
            template: Arc::new(message("template", wire.template)?),
            weight: wire.weight,
            max_per_host: wire.max_per_host,
        })
    }
}

impl From<AzureTarget> for v1::AzureTarget {
    fn from(target: AzureTarget) -> Self {
        Self { url: target.url, pool: target.pool }
    }
}

impl TryFrom<v1::AzureTarget> for AzureTarget {
    type Error = WireError;
    fn try_from(wire: v1::AzureTarget) -> Result<Self, WireError> {
        for (field, text) in [("url", &wire.url), ("pool", &wire.pool)] {
            if text.is_empty() {
                return Err(WireError::new(field, "is missing"));
            }
        }
        Ok(Self { url: wire.url, pool: wire.pool })
    }
}

impl From<Template> for v1::Template {
    fn from(template: Template) -> Self {
        Self {
            runtime: v1::RuntimeKind::from(template.runtime).into(),
            image: template.image.map(String::from).unwrap_or_default(),
            mode: v1::Mode::from(template.mode).into(),
            entry: v1::Entry::from(template.entry).into(),
            env: template.env,
            limits: Some(template.limits.into()),
            caches: template.caches.into_iter().map(Into::into).collect(),
            mtu: template.mtu.map(u32::from),
            proxy: Some(template.proxy.into()),
            docker_socket: template.docker_socket,
            package: template.package.map(Into::into),
            docker_group: template.docker_group,
        }
    }
}

impl TryFrom<v1::Template> for Template {
    type Error = WireError;
    fn try_from(wire: v1::Template) -> Result<Self, WireError> {
        Ok(Self {
            runtime: word::<v1::RuntimeKind, _>("runtime", wire.runtime)?,
            image: parsed_or_none("image", &wire.image)?,
            mode: word::<v1::Mode, _>("mode", wire.mode)?,
            entry: word::<v1::Entry, _>("entry", wire.entry)?,
            env: wire.env,
            // No limits and no proxies at all is what their absence says, too.
            limits: wire.limits.map(Limits::from).unwrap_or_default(),
            caches: list("caches", wire.caches)?,
            mtu: wire.mtu.map(|mtu| narrow("mtu", mtu)).transpose()?,
            proxy: wire.proxy.map(Proxy::from).unwrap_or_default(),
            docker_socket: wire.docker_socket,
            package: optional("package", wire.package)?,
            docker_group: wire.docker_group,
        })
    }
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        let Limits { cpu_millis, memory_bytes, pids } = limits;
        Self { cpu_millis, memory_bytes, pids }
    }
}

impl From<v1::Limits> for Limits {
    fn from(wire: v1::Limits) -> Self {
        let v1::Limits { cpu_millis, memory_bytes, pids } = wire;
        Self { cpu_millis, memory_bytes, pids }
    }
}

impl From<Cache> for v1::Cache {
    fn from(cache: Cache) -> Self {
        Self { name: cache.name.into(), path: cache.path }
    }
}

impl TryFrom<v1::Cache> for Cache {
    type Error = WireError;
    fn try_from(wire: v1::Cache) -> Result<Self, WireError> {
        Ok(Self { name: parsed("name", &wire.name)?, path: wire.path })
    }
}

impl From<Proxy> for v1::Proxy {
    fn from(proxy: Proxy) -> Self {
        let Proxy { http, https, no_proxy } = proxy;
        Self { http, https, no_proxy }
    }
}

impl From<v1::Proxy> for Proxy {
    fn from(wire: v1::Proxy) -> Self {
        let v1::Proxy { http, https, no_proxy } = wire;
        Self { http, https, no_proxy }
    }
}

impl From<Package> for v1::Package {
    fn from(package: Package) -> Self {
        let Package { source, sha256 } = package;
        Self { source, sha256 }
    }
}

/// What is missing is refused here: a package that names nothing must not pass for the host's own.
impl TryFrom<v1::Package> for Package {
    type Error = WireError;
    fn try_from(wire: v1::Package) -> Result<Self, WireError> {
        for (field, text) in [("source", &wire.source), ("sha256", &wire.sha256)] {
            if text.is_empty() {
                return Err(WireError::new(field, "is missing"));
            }
        }
        let v1::Package { source, sha256 } = wire;
        Ok(Self { source, sha256 })
    }
}

impl From<Forced> for v1::Forced {
    fn from(forced: Forced) -> Self {
        let Forced { by, reason, at } = forced;
        Self { by, reason: reason.into(), at: Some(timestamp(at)) }
    }
}

impl TryFrom<v1::Forced> for Forced {
    type Error = WireError;
    fn try_from(wire: v1::Forced) -> Result<Self, WireError> {
        if wire.by.is_empty() {
            return Err(WireError::new("by", "is missing"));
        }
        let reason = parsed("reason", &wire.reason)?;
        Ok(Self { by: wire.by, reason, at: at("at", wire.at)? })
    }
}
