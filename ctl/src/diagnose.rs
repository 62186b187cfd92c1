//! Why a call did not reach the coordinator, and what to do about it.
//!
//! In TLS 1.3 a refused client learns of the refusal after it believes the handshake done. Mostly
//! the alert arrives in time and [`Trouble`] knows the reason; when the connection was reset
//! before it was read, only "broken pipe" is left. Then the handshake is made once more, with
//! nothing sent after it, so that the alert can be read.

use std::{sync::Arc, time::Duration};

use fleet_proto::{exit::Exit, tls::Trouble};
use rustls::pki_types::ServerName;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::Status;

use crate::{connect::Target, error::Failure};

/// For the second look; the first already took its time.
const LIMIT: Duration = Duration::from_secs(4);

/// The failure behind a status. What the coordinator itself answered speaks for itself.
pub(crate) async fn failure(target: &Target, what: &str, status: &Status) -> Failure {
    let trouble = match Trouble::of(status) {
        // By a proxy, the second look would need the proxy, too.
        Trouble::Lost(why) if !target.by_proxy => {
            // Too slow for the second look: then the first one's words stand.
            timeout(LIMIT, second_look(target)).await.ok().flatten().unwrap_or(Trouble::Lost(why))
        }
        trouble => trouble,
    };
    explain(target, what, status, trouble)
}

fn explain(target: &Target, what: &str, status: &Status, trouble: Trouble) -> Failure {
    let Target { endpoint, server_name, fleet, .. } = target;
    let refused = |why: &str| Failure::new(Exit::Refused, format!("cannot {what}: {why}"));
    let unreachable = |why: &str| Failure::new(Exit::Unreachable, format!("cannot {what}: {why}"));
    match trouble {
        Trouble::Answered => Failure::answered(what, status),
        Trouble::Refused(why) => {
            refused("the coordinator does not take your certificate").because(why).next(format!(
                "use the credential of fleet {fleet} that `coordinator init` wrote; \
                 the coordinator's log names the reason"
            ))
        }
        Trouble::Untrusted(why) => refused("this is not the coordinator of your credential")
            .because(format!("{why} (expected: {server_name} of fleet {fleet})"))
            .next(
                "check the address; after a new `coordinator init` copy its credential file again",
            ),
        Trouble::Unreachable(why) => {
            unreachable("the coordinator is out of reach").because(why).next(format!(
                "see whether it runs (`systemctl status coordinator`) and whether {endpoint} is \
                 right and open from here"
            ))
        }
        Trouble::Lost(why) => unreachable("the coordinator was lost")
            .because(why)
            .next("look whether it took effect with `agentctl status`, then try again"),
    }
}

/// Connects, says nothing, and waits for the first byte: a coordinator that takes us speaks first
/// (HTTP/2 settings), one that does not sends an alert. None when that teaches nothing new.
async fn second_look(target: &Target) -> Option<Trouble> {
    let name = ServerName::try_from(target.server_name.clone()).ok()?;
    let tcp = match TcpStream::connect(&target.endpoint).await {
        Ok(tcp) => tcp,
        Err(error) => {
            let why = format!("cannot connect to {}: {error}", target.endpoint);
            return Some(Trouble::Unreachable(why));
        }
    };
    let connector = TlsConnector::from(Arc::clone(&target.tls));
    let first_byte = async { connector.connect(name, tcp).await?.read_u8().await };
    match first_byte.await {
        Ok(_) => None,
        // The same words as for an alert that arrived in time.
        Err(error) => Some(Trouble::of(&Status::from_error(Box::new(error))))
            .filter(|trouble| matches!(trouble, Trouble::Refused(_))),
    }
}
