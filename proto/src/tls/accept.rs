//! Connections for a tonic server.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fleet_model::numbers::LOGS_PER_HOST;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::channel::{PING_EVERY, PING_LIMIT, tune};
use crate::logging::Report;

/// A handshake takes milliseconds; who needs longer is not speaking TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Handshakes at once. Above it connections wait in the kernel's queue: after a restart of the
/// coordinator the whole fleet dials at once, and each handshake holds memory.
const HANDSHAKES_MAX: usize = 2048;
/// Finished handshakes that tonic has not taken yet.
const READY_MAX: usize = 64;
/// Until the next try when the system refuses a connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client may send on one stream before somebody reads it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What it may send on all its streams. Larger than what streams that nobody reads can hold (a host
/// uploads at most so many logs at the same time), so that its heartbeats always come through.
const CONNECTION_WINDOW: u32 = (LOGS_PER_HOST + 8) * STREAM_WINDOW;

/// A tonic server that notices dead clients: HTTP/2 pings every 10 s, given up after 20 s. A stream
/// that is not read holds back no other one of its connection.
pub fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_LIMIT))
}

/// Accepts until `shutdown`, for `serve_with_incoming_shutdown`. Every handshake runs in a task of
/// its own with a limit of 5 s, with the configuration that is newest when it begins. A client that
/// is refused is logged here with its address and the reason: it cannot see the reason itself.
pub fn accept(
    listener: TcpListener,
    config: Arc<ArcSwap<ServerConfig>>,
    shutdown: CancellationToken,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    tokio::spawn(async move {
        let work = accept_loop(listener, config, ready);
        shutdown.run_until_cancelled(work).await;
    });
    ReceiverStream::new(incoming)
}

type Ready = mpsc::Sender<io::Result<TlsStream<TcpStream>>>;

async fn accept_loop(listener: TcpListener, config: Arc<ArcSwap<ServerConfig>>, ready: Ready) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The server is gone; nobody would take the connection.
            () = ready.closed() => return,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let acceptor = TlsAcceptor::from(config.load_full());
                tokio::spawn(handshake(acceptor, tcp, peer, ready.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(reason = %Report(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    peer: SocketAddr,
    ready: Ready,
    permit: OwnedSemaphorePermit,
) {
    tune(&tcp);
    match timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            // Fails only when the server is shutting down.
            let _ = ready.send(Ok(stream)).await;
        }
        Ok(Err(error)) => {
            tracing::warn!(%peer, reason = %Report(&error), "connection refused");
        }
        Err(_) => {
            tracing::warn!(%peer, reason = "no TLS handshake within 5 s", "connection refused");
        }
    }
    // Held until tonic has the stream, so that those waiting for it are counted too.
    drop(permit);
}
