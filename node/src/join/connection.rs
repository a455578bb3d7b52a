//! Clients of the API over whichever server the [`Balancer`] finds, by HTTP/2, which pings while it waits, so that a
//! server that went away without a word is noticed. One connection, and another whenever that has as many calls as a
//! server lets it have: a watch is a call, and a node has one for every ConfigMap and Secret that its Pods use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::Body;
use mizzen_api::client::lanes::Lanes;
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
const ACT_AS: HeaderName = HeaderName::from_static("impersonate-user");
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
    let current = Mutex::new((Lanes::new(CALLS), version));
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
            *current = (Lanes::new(CALLS), version);
        }
        let (http, call) = current.0.take(|| http(&balancer, tls.clone()));
        async move { Ok::<_, hyper_util::client::legacy::Error>(call.until_read(http.request(request).await?)) }
    });
    Ok(kube::Client::new(service, "default"))
}

/// The same client, on the same connections, whose calls are somebody else's; who it is has to be allowed to act as them.
pub(super) fn acting_as(client: kube::Client, user: &'static str) -> kube::Client {
    let service = tower::service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(ACT_AS, HeaderValue::from_static(user));
        let client = client.clone();
        async move { client.send(request).await }
    });
    kube::Client::new(service, "default")
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
