//! Where others find the coordinator.

/// What hosts and operators are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// HOST:PORT of the mutually authenticated port.
    pub sessions: String,
    /// HOST:PORT of the enrolment port.
    pub enroll: String,
    /// The name that the server's certificate carries.
    pub server_name: String,
}

/// HOST:PORT; an IPv6 address gets its brackets.
pub(crate) fn endpoint(host: &str, port: u16) -> String {
    let bare = host.contains(':') && !host.starts_with('[');
    if bare { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The host of HOST:PORT.
pub(crate) fn host_of(endpoint: &str) -> &str {
    endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_colons_is_put_into_brackets() {
        assert_eq!(endpoint("control", 1), "control:1");
        assert_eq!(endpoint("::1", 1), "[::1]:1");
        assert_eq!(host_of("[::1]:7443"), "[::1]");
        assert_eq!(host_of("control:7443"), "control");
    }
}
