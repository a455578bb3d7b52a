//! The TLS listener: accepts connections, serves HTTP/1.1 and HTTP/2 on them, and tells every request
//! what certificate its connection showed ([`PeerCertificate`], a request extension).
//!
//! One task accepts, one task per connection serves. When stopped it accepts no more, asks connections
//! to finish, and leaves after [`DRAIN`] at the latest.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::pki::{ClientTrust, PeerCertificate};

/// A client that does not finish its handshake by then is not one.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Likewise for the head of a request.
const REQUEST_HEAD: Duration = Duration::from_secs(32);
/// How long running requests may go on once we are asked to stop; watches end by themselves.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause when the system has no more descriptors or memory for connections.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// Streams per HTTP/2 connection, as upstream.
const STREAMS: u32 = 250;
/// An HTTP/2 peer that went away without a word is found out by pings.
const PING: Duration = Duration::from_secs(30);

/// A listener that is ready to serve.
#[derive(Debug)]
pub struct Listener {
    /// Where connections come from.
    pub socket: TcpListener,
    /// Certificates and protocols.
    pub tls: Arc<ServerConfig>,
    /// Who clients are.
    pub trust: ClientTrust,
}

impl Listener {
    /// Serves every request of every connection with `service` until stopped.
    pub async fn serve(self, service: axum::Router, stop: CancellationToken) -> Result<()> {
        let acceptor = TlsAcceptor::from(self.tls);
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(builder());
        loop {
            let Some(accepted) = stop.run_until_cancelled(self.socket.accept()).await else {
                break;
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if concerns_one_connection(&error) => continue,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(EXHAUSTED).await;
                    continue;
                }
            };
            let connection = Connection {
                acceptor: acceptor.clone(),
                trust: self.trust.clone(),
                builder: builder.clone(),
                watcher: graceful.watcher(),
                service: service.clone(),
            };
            tokio::spawn(async move {
                if let Err(error) = connection.serve(stream).await {
                    tracing::debug!("a connection failed: {error:#}");
                }
            });
        }
        drop(self.socket);
        if timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::debug!("some connections did not finish in time");
        }
        Ok(())
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    trust: ClientTrust,
    builder: Arc<Builder<TokioExecutor>>,
    watcher: Watcher,
    service: axum::Router,
}

impl Connection {
    async fn serve(self, stream: TcpStream) -> Result<()> {
        // Watch events are small and must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).context("cannot set up the socket")?;
        let stream = timeout(HANDSHAKE, self.acceptor.accept(stream))
            .await
            .context("the TLS handshake took too long")?
            .context("the TLS handshake failed")?;
        let peer = self.trust.identify(stream.get_ref().1.peer_certificates());
        if let PeerCertificate::Untrusted(why) = &peer {
            tracing::debug!("a client's certificate is not trusted: {why}");
        }
        let service = self.service;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            service.clone().oneshot(request.map(Body::new))
        });
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        self.watcher
            .watch(connection)
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Whether only the connection in question failed, so that the next one can be accepted at once.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
