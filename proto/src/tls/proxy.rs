//! HTTP CONNECT, for hosts that reach the coordinator only through a proxy.

use std::{io, net::IpAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{TlsError, channel::host_and_port};

/// A proxy says little before it lets the stream through.
const ANSWER_MAX: usize = 8 * 1024;

/// An HTTP proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// HOST:PORT.
    address: String,
    /// The value of `Proxy-Authorization`.
    authorization: Option<SecretString>,
}

impl Proxy {
    /// Of `http://[USER:PASSWORD@]HOST:PORT`.
    ///
    /// # Errors
    /// When it is something else. The text may hold a password, so the error does not repeat it.
    pub fn parse(url: &str) -> Result<Self, TlsError> {
        let rest = match url.trim().split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(TlsError::Proxy("only http:// proxies are supported")),
            None => return Err(TlsError::Proxy("it does not begin with http://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let address = host_and_port(address).map_err(|_| TlsError::Proxy("it has no HOST:PORT"))?;
        let authorization = login.map(basic).transpose()?;
        Ok(Self { address, authorization })
    }

    /// The proxy for `endpoint` (HOST:PORT): none when there is none, or when `no_proxy` names the
    /// host. `no_proxy` is a comma-separated list of host names, domains (`example.com` and
    /// `.example.com` take the hosts below it too), addresses, networks (`10.0.0.0/8`), or `*`.
    ///
    /// # Errors
    /// As [`Proxy::parse`].
    pub fn choose(
        url: Option<&str>,
        no_proxy: Option<&str>,
        endpoint: &str,
    ) -> Result<Option<Self>, TlsError> {
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _port)| host);
        match url.filter(|url| !url.trim().is_empty()) {
            Some(_) if is_exempt(no_proxy.unwrap_or_default(), host) => Ok(None),
            Some(url) => Self::parse(url).map(Some),
            None => Ok(None),
        }
    }

    /// A stream to `endpoint` through the proxy. Limits are the caller's.
    pub(super) async fn connect(&self, endpoint: &str) -> io::Result<TcpStream> {
        let failed = |error: io::Error| {
            let kind = error.kind();
            io::Error::new(kind, format!("the proxy {} does not answer: {error}", self.address))
        };
        let mut tcp = TcpStream::connect(&self.address).await.map_err(failed)?;
        tcp.write_all(self.request(endpoint).expose_secret().as_bytes()).await.map_err(failed)?;
        let answer = read_head(&mut tcp).await.map_err(failed)?;
        // "HTTP/1.1 200 Connection established"
        match answer.lines().next().and_then(|line| line.split_once(' ')) {
            Some((http, status)) if http.starts_with("HTTP/1.") && status.starts_with("200") => {
                Ok(tcp)
            }
            Some((_, status)) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the proxy {} refuses {endpoint}: {}", self.address, printable(status)),
            )),
            None => Err(failed(io::Error::other("its answer is not HTTP"))),
        }
    }

    fn request(&self, endpoint: &str) -> SecretString {
        let authorization = self
            .authorization
            .as_ref()
            .map(|value| format!("Proxy-Authorization: {}\r\n", value.expose_secret()));
        let authorization = authorization.unwrap_or_default();
        format!("CONNECT {endpoint} HTTP/1.1\r\nHost: {endpoint}\r\n{authorization}\r\n").into()
    }
}

/// Up to the empty line. In TLS the client speaks first, so nothing may follow it.
async fn read_head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    loop {
        if tcp.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match head.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) if end + 4 == head.len() || !head.starts_with(b"HTTP/1.") => break,
            // A refusal may come with a page; it is not read.
            Some(_) if !is_granted(&head) => break,
            Some(_) => return Err(io::Error::other("it sent more than its answer")),
            None if head.len() > ANSWER_MAX => return Err(io::Error::other("it sent too much")),
            None => {}
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn is_granted(head: &[u8]) -> bool {
    head.get(8..12) == Some(b" 200")
}

/// What strangers send goes to a log and a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn basic(login: &str) -> Result<SecretString, TlsError> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let plain = [decode(user)?, b":".to_vec(), decode(password)?].concat();
    Ok(format!("Basic {}", BASE64_STANDARD.encode(plain)).into())
}

/// `%40` is `@`.
fn decode(text: &str) -> Result<Vec<u8>, TlsError> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |c: Option<u8>| char::from(c?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        plain.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(TlsError::Proxy("a % in it is not followed by two hex digits")),
            },
            other => other,
        });
    }
    Ok(plain)
}

fn is_exempt(no_proxy: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    no_proxy.split(',').map(str::trim).filter(|rule| !rule.is_empty()).any(|rule| {
        let rule = rule.to_ascii_lowercase();
        rule == "*" || is_in_domain(&host, &rule) || is_in_network(&host, &rule)
    })
}

fn is_in_domain(host: &str, rule: &str) -> bool {
    let domain = rule.trim_start_matches("*.").trim_start_matches('.');
    host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn is_in_network(host: &str, rule: &str) -> bool {
    let Some((network, bits)) = rule.split_once('/') else { return false };
    let (Ok(host), Ok(network), Ok(bits)) = (host.parse(), network.parse(), bits.parse::<u32>())
    else {
        return false;
    };
    let same = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0)
    };
    match (host, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_proxy_may_ask_for_a_login_which_is_never_shown() {
        let proxy = Proxy::parse("http://ann:p%40ss@proxy.example:3128/").expect("a proxy");
        assert_eq!(proxy.address, "proxy.example:3128");
        let request = proxy.request("c:7443").expose_secret().to_owned();
        let encoded = BASE64_STANDARD.encode("ann:p@ss");
        assert!(request.contains(&format!("Proxy-Authorization: Basic {encoded}\r\n")));
        let shown = format!("{proxy:?}");
        assert!(!shown.contains(&encoded) && !shown.contains("p@ss"), "{shown}");
        let error = Proxy::parse("https://ann:secret@proxy:1").expect_err("https").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_networks() {
        let list = "localhost, .corp.example,lab.example,10.0.0.0/8,fd00::/8,192.168.1.7";
        for direct in [
            "localhost",
            "a.corp.example",
            "LAB.example",
            "x.lab.example",
            "10.9.8.7",
            "[fd00::1]",
            "192.168.1.7",
        ] {
            assert!(is_exempt(list, direct), "{direct}");
        }
        for proxied in ["evil-lab.example", "11.0.0.1", "[fe80::1]", "192.168.1.70", "example"] {
            assert!(!is_exempt(list, proxied), "{proxied}");
        }
        assert!(is_exempt("*", "anything") && !is_exempt("", "anything"));
        let choose = |no_proxy| Proxy::choose(Some("http://p:1"), Some(no_proxy), "[fd00::1]:7443");
        assert!(choose("fd00::/8").expect("good").is_none());
        assert!(choose("").expect("good").is_some());
        assert!(Proxy::choose(Some(" "), None, "c:1").expect("good").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(url in "\\PC{0,40}", list in "\\PC{0,40}", host in "\\PC{0,20}") {
            let _ = Proxy::parse(&url);
            let _ = Proxy::choose(Some(&format!("http://{url}")), Some(&list), &host);
        }
    }
}
