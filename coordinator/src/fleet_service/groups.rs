//! Groups of a pool, added and removed.

use fleet_model::GroupSpec;
use fleet_proto::{convert::WireError, v1};
use tonic::Status;

use super::Shared;
use crate::fleet_loop::Request as Ask;

pub(super) async fn add(
    shared: &Shared,
    request: v1::AddGroupRequest,
    by: String,
) -> Result<v1::AddGroupResponse, Status> {
    let v1::AddGroupRequest { pool, group } = request;
    let group = group.ok_or_else(|| WireError::new("group", "is missing"))?;
    let group = GroupSpec::try_from(group).map_err(|error| error.within("group"))?;
    let group = Box::new(group);
    let done = shared.handle.ask(|reply| Ask::AddGroup { pool, group, by, reply }).await?;
    let (order, changed) = (Some(done.order.into()), done.changed);
    Ok(v1::AddGroupResponse { order, pool: Some(done.pool), changed })
}

pub(super) async fn remove(
    shared: &Shared,
    request: v1::RemoveGroupRequest,
    by: String,
) -> Result<v1::RemoveGroupResponse, Status> {
    let v1::RemoveGroupRequest { pool, group } = request;
    let done = shared.handle.ask(|reply| Ask::RemoveGroup { pool, group, by, reply }).await?;
    let (order, changed) = (Some(done.order.into()), done.changed);
    Ok(v1::RemoveGroupResponse { order, pool: Some(done.pool), changed })
}
