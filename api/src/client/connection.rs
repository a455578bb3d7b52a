//! A client over connections that notice when the other side is gone without a word: a cable that was pulled, a
//! machine that lost its power, a firewall that forgot.
//!
//! The kernel asks, so that waiting costs this process nothing: a watch may be silent for as long as nothing
//! happens. What was lost is not waited for either; after [`LOST`] another connection is sooner than the next
//! try of an old one would be.

use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Config;
use kube::client::ConfigExt as _;
use kube::client::retry::RetryPolicy;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// How long a connection may be silent before the other side is asked, and then from one question to the next.
const ASK: Duration = Duration::from_secs(1);
/// How long nothing may be answered.
const LOST: Duration = Duration::from_secs(2);

/// A client of the cluster that `config` leads to.
pub fn client(config: Config) -> Result<kube::Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(ASK));
    connector.set_keepalive_interval(Some(ASK));
    connector.set_keepalive_retries(Some(2));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(LOST));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = Client::builder(TokioExecutor::new()).build::<_, kube::client::Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .default_retry
                .then(|| RetryLayer::new(RetryPolicy::server_retry())),
        )
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace))
}
