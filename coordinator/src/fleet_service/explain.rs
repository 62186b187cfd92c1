//! About what an operator asks why it is as it is.

use fleet_proto::{
    convert::WireError,
    v1::{self, explain_request::About as Wire},
};

use crate::fleet_loop::About;

pub(super) fn about(request: v1::ExplainRequest) -> Result<About, WireError> {
    match request.about {
        Some(Wire::Name(name)) if !name.is_empty() => Ok(About::Named(name)),
        Some(Wire::Pool(pool)) if !pool.is_empty() => Ok(About::Pool(pool)),
        Some(Wire::Host(host)) if !host.is_empty() => Ok(About::Host(host)),
        Some(Wire::Agent(agent)) if !agent.is_empty() => Ok(About::Agent(agent)),
        _ => Err(WireError::new("about", "is missing; name a pool, a host or an agent")),
    }
}
