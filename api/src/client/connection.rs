//! A client over connections that notice when the other side is gone without a word: a cable that was pulled, a
//! machine that lost its power, a firewall that forgot, a server that hangs.
//!
//! The kernel asks the other kernel, so that waiting costs this process nothing: a watch may be silent for as long as
//! nothing happens. Behind a living kernel a server may hang all the same, or a proxy may forward no more; so calls
//! share connections of HTTP/2, which asks the server itself. What is upgraded, and logs, which may be much, have
//! connections of their own; and so has everything where a server speaks HTTP/1 only.
//!
//! What was lost is not waited for either; after [`LOST`] another connection is sooner than the next try of an old one
//! would be.

use std::sync::Arc;
use std::time::Duration;

use http::header::UPGRADE;
use http::{Request, Uri};
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt as _};
use parking_lot::Mutex;
use tower::retry::RetryLayer;
use tower::{BoxError, Service as _, ServiceBuilder};

use super::lanes::{Call, Lanes};

/// How long a connection may be silent before the other side is asked, and then from one question to the next.
const ASK: Duration = Duration::from_secs(1);
/// How long nothing may be answered.
const LOST: Duration = Duration::from_secs(2);
/// How many calls a connection is given at once: what the smallest of the usual servers and proxies take.
const CALLS: usize = 100;
/// What a server is offered to speak.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A client of the cluster that `config` leads to.
pub fn client(config: Config) -> Result<kube::Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let (own, shared) = (connector(&config, &[])?, connector(&config, &PROTOCOLS)?);
    let within = config.connect_timeout;
    let own = http(own, within);
    let lanes = Arc::new(Mutex::new(Lanes::new(CALLS)));
    let send = tower::service_fn(move |request: Request<Body>| {
        let alone = request.headers().contains_key(UPGRADE) || request.uri().path().ends_with("/log");
        let (http, call) = match alone {
            true => (own.clone(), Call::default()),
            false => lanes.lock().take(|| http(shared.clone(), within)),
        };
        async move { Ok::<_, BoxError>(call.until_read(http.request(request).await?)) }
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .default_retry
                .then(|| RetryLayer::new(RetryPolicy::server_retry())),
        )
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service(send);
    Ok(kube::Client::new(service, config.default_namespace))
}

fn connector(config: &Config, protocols: &[&[u8]]) -> Result<HttpsConnector<HttpConnector>, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(ASK));
    tcp.set_keepalive_interval(Some(ASK));
    tcp.set_keepalive_retries(Some(2));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(LOST));
    let name: Arc<dyn ResolveServerName + Send + Sync> = match &config.tls_server_name {
        Some(name) => {
            let name = name.clone().try_into();
            let name = name.map_err(|error| kube::Error::Service(Box::new(error)))?;
            Arc::new(FixedServerNameResolver::new(name))
        }
        None => Arc::new(DefaultServerNameResolver::default()),
    };
    let mut tls = config.rustls_client_config()?;
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(HttpsConnector::new(tcp, tls, false, name))
}

/// A client that makes its connections in time, up to the secret that both sides share: a server that hangs is still
/// connected to by its kernel.
fn http(
    connector: HttpsConnector<HttpConnector>,
    within: Option<Duration>,
) -> Client<
    impl tower::Service<
        Uri,
        Response = <HttpsConnector<HttpConnector> as tower::Service<Uri>>::Response,
        Error = BoxError,
        Future: Send + Unpin + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    Body,
> {
    let connect = tower::service_fn(move |uri: Uri| {
        let connected = connector.clone().call(uri);
        Box::pin(async move {
            match within {
                Some(within) => tokio::time::timeout(within, connected)
                    .await
                    .unwrap_or_else(|_| Err("it does not answer".into())),
                None => connected.await,
            }
        })
    });
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(ASK)
        .http2_keep_alive_timeout(LOST)
        // A connection that is given up for another is taken for idle while it still has a call.
        .http2_keep_alive_while_idle(true)
        .build(connect)
}
