//! Holding hosts and pools back: the request, read.

use std::time::Duration;

use fleet_model::{AtDeadline, RestraintKind, numbers::RESTRAINT_MAX};
use fleet_proto::{
    convert::{WireError, duration},
    v1::{self, restrain_request::Target},
};
use tonic::Status;

use super::{Shared, said};
use crate::fleet_loop::{Request as Ask, Restrain, RestrainVerb, Whom};

pub(super) async fn restrain(
    shared: &Shared,
    request: v1::RestrainRequest,
    by: String,
) -> Result<v1::RestrainResponse, Status> {
    let ask = Box::new(read(request)?);
    Ok(shared.handle.ask(|reply| Ask::Restrain { ask, by, reply }).await?)
}

fn read(request: v1::RestrainRequest) -> Result<Restrain, WireError> {
    let whom = match request.target {
        Some(Target::Name(name)) if !name.is_empty() => Whom::Named(name),
        Some(Target::Lab(lab)) if !lab.is_empty() => Whom::Lab(lab),
        Some(Target::Host(host)) if !host.is_empty() => Whom::Host(host),
        Some(Target::Pool(pool)) if !pool.is_empty() => Whom::Pool(pool),
        _ => return Err(WireError::new("target", "is missing; name a host, a pool or a lab")),
    };
    let verb = match v1::RestrainVerb::try_from(request.verb) {
        Ok(v1::RestrainVerb::Cordon) => RestrainVerb::Begin(RestraintKind::Cordon),
        Ok(v1::RestrainVerb::Pause) => RestrainVerb::Begin(RestraintKind::Pause),
        Ok(v1::RestrainVerb::Drain) => RestrainVerb::Begin(RestraintKind::Drain),
        Ok(v1::RestrainVerb::Uncordon) => RestrainVerb::Uncordon,
        Ok(v1::RestrainVerb::Resume) => RestrainVerb::Resume,
        Ok(v1::RestrainVerb::Unspecified) | Err(_) => {
            return Err(WireError::new("verb", "is not known"));
        }
    };
    let lasts = request.lasts.map(|lasts| span("lasts", lasts)).transpose()?;
    let deadline = request.deadline.map(|wait| span("deadline", wait)).transpose()?;
    let waits = matches!(verb, RestrainVerb::Begin(RestraintKind::Pause | RestraintKind::Drain));
    if deadline.is_some() && !waits {
        return Err(WireError::new("deadline", "goes with a pause or a drain only"));
    }
    if lasts.is_some() && !matches!(verb, RestrainVerb::Begin(_)) {
        return Err(WireError::new("lasts", "goes with a cordon, a pause or a drain only"));
    }
    if let (Some(lasts), Some(deadline)) = (lasts, deadline)
        && deadline >= lasts
    {
        return Err(WireError::new("deadline", "is not before the end of what it is for"));
    }
    let then = match v1::AtDeadline::try_from(request.at_deadline) {
        Ok(v1::AtDeadline::GiveUp) => AtDeadline::GiveUp,
        Ok(v1::AtDeadline::Wait | v1::AtDeadline::Unspecified) => AtDeadline::Wait,
        Err(_) => return Err(WireError::new("at_deadline", "is not known")),
    };
    Ok(Restrain {
        whom,
        verb,
        reason: said(&request.reason)?,
        lasts,
        deadline: deadline.map(|wait| (wait, then)),
        dry_run: request.dry_run,
    })
}

fn span(field: &str, wire: prost_types::Duration) -> Result<Duration, WireError> {
    match duration(field, Some(wire))? {
        span if span.is_zero() || span > RESTRAINT_MAX => {
            let days = RESTRAINT_MAX.as_secs() / 86_400;
            Err(WireError::new(field, format!("is not between nothing and {days} days")))
        }
        span => Ok(span),
    }
}
