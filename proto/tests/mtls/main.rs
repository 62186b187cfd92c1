//! The TLS setting with real sockets and real handshakes, on ports of the system's choice.

mod handshakes;
mod proxy;
mod support;
