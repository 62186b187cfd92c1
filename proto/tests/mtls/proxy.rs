//! Channels through an HTTP CONNECT proxy.

use std::sync::Arc;

use crate::support::*;
use arc_swap::ArcSwap;
use fleet_proto::{logging::Report, pki::Life, tls::Proxy};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A proxy that hands on what it is asked, header by header, and lets through who may pass.
struct TestProxy {
    address: String,
    asked: mpsc::UnboundedReceiver<Vec<String>>,
}

impl TestProxy {
    /// `login` is the header that must be there.
    async fn start(login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, login, tell.clone()));
            }
        });
        Self { address, asked }
    }
}

async fn serve(
    client: TcpStream,
    login: Option<&'static str>,
    tell: mpsc::UnboundedSender<Vec<String>>,
) -> Option<()> {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            text => head.push(text.to_owned()),
        }
    }
    tell.send(head.clone()).ok()?;
    let target = head.first()?.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1")?.to_owned();
    if login.is_some_and(|login| !head.iter().any(|line| line == login)) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
        client.write_all(refusal).await.ok()?;
        return None;
    }
    let mut server = TcpStream::connect(target).await.ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

#[tokio::test]
async fn a_host_behind_a_proxy_reaches_the_coordinator_with_its_own_certificate() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let login = "Proxy-Authorization: Basic YW5uOnBAc3M=";
    let mut proxy = TestProxy::start(Some(login)).await;
    let url = format!("http://ann:p%40ss@{}", proxy.address);
    let config = Arc::new(ArcSwap::from(client(&host_identity(&ca, "h1", Life::of(DAY)), &ca)));
    let through = Proxy::parse(&url).expect("a proxy");
    let channel = server.channel_through(Arc::clone(&config), Some(through));
    assert_eq!(who(channel).await.expect("let through and in"), "host h1");
    let asked = proxy.asked.recv().await.expect("the proxy was asked");
    assert_eq!(asked[0], format!("CONNECT {} HTTP/1.1", server.address));
    assert_eq!(asked[1], format!("Host: {}", server.address));
}

#[tokio::test]
async fn a_refusing_or_absent_proxy_is_named_with_its_answer() {
    let ca = ca();
    let server = Server::mutual(&ca).await;
    let config = Arc::new(ArcSwap::from(client(&host_identity(&ca, "h1", Life::of(DAY)), &ca)));
    let error = async |url: &str| {
        let proxy = Proxy::parse(url).expect("a proxy");
        let channel = server.channel_through(Arc::clone(&config), Some(proxy));
        Report(&who(channel).await.expect_err("not let through")).to_string()
    };
    let proxy = TestProxy::start(Some("Proxy-Authorization: Basic other")).await;
    let report = error(&format!("http://ann:secret@{}", proxy.address)).await;
    assert!(report.contains("407 Proxy Authentication Required"), "{report}");
    assert!(report.contains(&proxy.address) && !report.contains("secret"), "{report}");

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let report = error(&format!("http://{address}")).await;
    assert!(report.contains(&format!("the proxy {address} does not answer")), "{report}");
}
