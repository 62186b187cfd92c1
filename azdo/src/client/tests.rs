//! What is sent and what is never shown.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

fn client(url: &str) -> Result<Client, Error> {
    Client::new(&ClientConfig::new(url, Credential::Pat("s3cret-token\n".to_owned().into())))
}

#[test]
fn a_newline_after_the_token_is_not_sent() {
    let header = Credential::Pat("abc\r\n".to_owned().into()).header().unwrap();
    assert_eq!(header.to_str().unwrap(), format!("Basic {}", STANDARD.encode(":abc")));
}

#[test]
fn debug_output_never_holds_the_token() {
    let config = ClientConfig::new(
        "http://127.0.0.1:1/org",
        Credential::Bearer("s3cret-token".to_owned().into()),
    );
    let shown = format!("{config:?} {:?}", client("http://127.0.0.1:1/org").unwrap());
    assert!(
        !shown.contains("s3cret") && !shown.contains(&STANDARD.encode(":s3cret-token")),
        "{shown}"
    );
}

#[test]
fn pool_names_are_encoded_and_the_version_is_always_sent() {
    let base = base_url("http://host:8080/my%20org/").unwrap();
    let url =
        Ask::get("pools", &[&"distributedtask", &"pools"]).query("poolName", "a b&c").url(&base);
    assert_eq!(
        url.as_str(),
        "http://host:8080/my%20org/_apis/distributedtask/pools?poolName=a+b%26c&api-version=7.1"
    );
}

#[test]
fn an_address_with_a_password_is_refused_without_echo() {
    let error = client("https://user:hunter2@host/org").unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn an_address_without_organisation_or_scheme_is_refused() {
    for bad in ["https://dev.azure.com", "dev.azure.com/fabrikam", "ftp://host/org", ""] {
        assert!(matches!(client(bad), Err(Error::Setting { .. })), "{bad}");
    }
    assert_eq!(
        client("https://dev.azure.com/fabrikam/").unwrap().base_url(),
        "https://dev.azure.com/fabrikam"
    );
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_transient() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(&format!("http://{address}/org")).unwrap().pools(None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ClientConfig::new(
        format!("http://{}/org", listener.local_addr().unwrap()),
        Credential::Pat("t".to_owned().into()),
    );
    config.timeout = Duration::from_millis(50);
    let error = Client::new(&config).unwrap().pools(None).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { limit } if limit == config.timeout), "{error:?}");
}
