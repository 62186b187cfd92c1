//! The `.agent` file: what a configured agent directory knows about its own registration.

use serde::{Deserialize, Serialize};

use super::lenient::without_bom;

/// Content of `.agent`. It holds no secret; the key lies beside it in `.credentials_rsaparams`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRegistration {
    /// The row's id in the pool: what a delete must name.
    pub agent_id: i64,
    /// The row's name.
    pub agent_name: String,
    /// The pool.
    pub pool_id: i64,
    /// Its name; older agents leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_name: Option<String>,
    /// The organisation's address.
    pub server_url: String,
    /// Where jobs work, relative to the agent's root unless absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_folder: Option<String>,
}

/// Why a `.agent` file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not a valid .agent file")]
pub struct RegistrationError(#[from] serde_json::Error);

impl AgentRegistration {
    /// Reads the bytes of the file, with or without the byte order mark that .NET puts in front.
    ///
    /// # Errors
    /// When it is not JSON, or the ids, the name or the address are missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, RegistrationError> {
        Ok(serde_json::from_slice(without_bom(bytes))?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const TEXT: &str = r#"{"acceptTeeEula":true,"agentId":1755,"agentName":"host1-01","poolId":44,
        "poolName":"Lab","serverUrl":"https://dev.azure.com/fabrikam/","workFolder":"_work"}"#;

    #[test]
    fn the_byte_order_mark_is_no_obstacle() {
        let with_bom = [b"\xEF\xBB\xBF".as_slice(), TEXT.as_bytes()].concat();
        let read = AgentRegistration::parse(&with_bom).unwrap();
        assert_eq!(read, AgentRegistration::parse(TEXT.as_bytes()).unwrap());
        assert_eq!((read.agent_id, read.pool_id), (1755, 44));
    }

    #[test]
    fn an_empty_or_cut_file_is_an_error() {
        assert!(AgentRegistration::parse(b"").is_err());
        assert!(AgentRegistration::parse(&TEXT.as_bytes()[..40]).is_err());
    }
}
