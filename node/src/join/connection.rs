//! Clients of the API over whichever server the [`Balancer`] finds, by HTTP/2, which pings while it waits, so that a
//! server that went away without a word is noticed. One connection, and another whenever that has as many calls as a
//! server lets it have: a watch is a call, and a node has one for every ConfigMap and Secret that its Pods use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use mizzen_api::client::tls::any_server;
use parking_lot::Mutex;
use rustls::ClientConfig;

use super::balancer::Balancer;
use super::certificate::Certificate;
use super::{NODE_PASSWORD_HEADER, tls};

/// A name that every server's certificate has, whatever address it is reached at.
const SERVER_NAME: &str = "kubernetes";
/// How long a connection may be silent before it is asked, and how long the answer may take.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
const LARGEST_AUTHORITY: usize = 64 << 10;
/// How many calls a connection is given at once. Servers take 250 and let those beyond wait, for as long as it takes.
const CALLS: usize = 200;

/// How a client proves itself.
pub(super) enum Identity {
    /// By a certificate, as it is at each connection.
    Certificate(Arc<Certificate>),
    /// By a token.
    Token {
        /// The header's value.
        authorization: String,
        /// The node's password.
        node_password: String,
    },
}

/// A client of the API.
pub(super) fn client(balancer: &Arc<Balancer>, ca_pem: &str, identity: Identity) -> anyhow::Result<kube::Client> {
    let mut headers = Vec::new();
    let own = match identity {
        Identity::Certificate(own) => Some(own),
        Identity::Token {
            authorization,
            node_password,
        } => {
            let secret = |text: String| {
                let mut value = HeaderValue::try_from(text).context("a secret does not fit into a header")?;
                value.set_sensitive(true);
                anyhow::Ok(value)
            };
            headers.push((AUTHORIZATION, secret(authorization)?));
            headers.push((NODE_PASSWORD_HEADER.parse()?, secret(node_password)?));
            None
        }
    };
    let (balancer, version) = (balancer.clone(), own.as_ref().map(|own| own.version()));
    let tls = tls::client(ca_pem, own.clone())?;
    let current = Mutex::new((Lanes::default(), version));
    let service = tower::service_fn(move |mut request: Request<Body>| {
        *request.uri_mut() = absolute(request.uri());
        for (name, value) in &headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let mut current = current.lock();
        let version = own.as_ref().map(|own| own.version());
        if current.1 != version {
            // The server knows a connection by the certificate that it began with, and that one ends. What runs on
            // the old connection goes on for as long as the server lets it.
            *current = (Lanes::default(), version);
        }
        let (http, call) = current.0.take(|| http(&balancer, tls.clone()));
        async move {
            let response = http.request(request).await?;
            Ok::<_, hyper_util::client::legacy::Error>(response.map(|body| {
                body.map_frame(move |frame| {
                    // The call lasts until the last of the answer, or of who reads it.
                    let _running = &call;
                    frame
                })
            }))
        }
    });
    Ok(kube::Client::new(service, "default"))
}

/// Connections, each with the calls that run on it.
struct Lanes<H>(Vec<(H, Arc<()>)>);

impl<H> Default for Lanes<H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<H: Clone> Lanes<H> {
    /// The first connection that has room, or a new one; it is in use until what comes with it is dropped. Those that
    /// are not in use for a while close by themselves.
    fn take(&mut self, connect: impl FnOnce() -> H) -> (H, Arc<()>) {
        let free = self.0.iter().find(|(_, calls)| Arc::strong_count(calls) <= CALLS);
        if let Some((lane, calls)) = free {
            return (lane.clone(), calls.clone());
        }
        let lane = (connect(), Arc::default());
        self.0.push(lane.clone());
        lane
    }
}

/// The CA that a server shows. Nothing is known of the server yet, and nothing is told it.
pub(super) async fn show_authority(balancer: &Arc<Balancer>) -> anyhow::Result<String> {
    let http = http(balancer, any_server());
    let request = Request::get(absolute(&Uri::from_static("/cacerts"))).body(Body::empty())?;
    let response = http.request(request).await.context("cannot ask for the cluster's CA")?;
    anyhow::ensure!(
        response.status().is_success(),
        "the server does not show its CA ({}): is it a server of a mizzen cluster?",
        response.status()
    );
    let body = Limited::new(response.into_body(), LARGEST_AUTHORITY).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("cannot read the cluster's CA: {error}"))?;
    Ok(String::from_utf8(body.to_bytes().into())?)
}

fn http(
    balancer: &Arc<Balancer>,
    tls: ClientConfig,
) -> Client<
    HttpsConnector<
        impl tower::Service<
            Uri,
            Response = TokioIo<tokio::net::TcpStream>,
            Error = std::io::Error,
            Future: Send + Unpin + 'static,
        > + Clone
        + Send
        + Sync
        + use<>
        + 'static,
    >,
    Body,
> {
    let balancer = balancer.clone();
    let connect = tower::service_fn(move |_: Uri| {
        let balancer = balancer.clone();
        Box::pin(async move { balancer.connect().await.map(TokioIo::new) })
    });
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .build(HttpsConnector::from((connect, tls)))
}

fn absolute(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(Authority::from_static(SERVER_NAME));
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_filled_before_another_is_made() {
        let (mut lanes, mut made) = (Lanes::default(), 0);
        let mut take = || {
            lanes.take(|| {
                made += 1;
                made
            })
        };
        let mut calls: Vec<_> = (0..2 * CALLS + 1).map(|_| take()).collect();
        assert_eq!((calls[CALLS - 1].0, calls[CALLS].0, calls[2 * CALLS].0), (1, 2, 3));
        // A call that ended makes room.
        calls.remove(CALLS);
        assert_eq!(take().0, 2);
        calls.clear();
        assert_eq!(take().0, 1);
    }
}
