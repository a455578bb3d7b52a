//! Passing a request on to somewhere else: kubelets, Pods, Services.
//!
//! The answer is streamed. When it is an upgrade (WebSocket, SPDY) both connections become one pipe of
//! raw bytes, run by a task of its own until either side ends.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TE, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mizzen_api::status::{ApiError, ApiResult};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::authentication::impersonation;
use super::call::Call;

/// How long the other side may take to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer that is read for ourselves: what tens of thousands of containers use.
const FETCHED_MAX_BYTES: usize = 16 << 20;
/// Subprotocol in which browsers carry a token that is for us alone.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Where a request goes on to.
pub(super) struct Target {
    /// Address or name.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
    /// TLS, and with which certificate; plain otherwise.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// Path and query there.
    pub(super) path: String,
    /// What to put before paths in redirects, so that they lead back through us.
    pub(super) prefix: String,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Target {
    async fn open(&self) -> anyhow::Result<Box<dyn Stream>> {
        let connected = timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = connected.map_err(|_| anyhow::anyhow!("dial tcp {}:{}: i/o timeout", self.host, self.port))?;
        let stream = stream.map_err(|error| anyhow::anyhow!("dial tcp {}:{}: {error}", self.host, self.port))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone())?;
        let stream = timeout(CONNECT, TlsConnector::from(tls.clone()).connect(name, stream)).await??;
        Ok(Box::new(stream))
    }

    /// A connection over which requests can be sent; a task of its own carries it.
    async fn connect(&self) -> anyhow::Result<http1::SendRequest<Body>> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.open().await?)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a forwarded connection failed");
            }
        });
        Ok(sender)
    }
}

/// Reads what is at the target, for ourselves.
pub(super) async fn fetch(target: Target) -> anyhow::Result<Bytes> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = target.path.parse()?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&target.host)?);
    let response = target.connect().await?.send_request(request).await?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "{} answers {status}", target.path);
    let body = Limited::new(response.into_body(), FETCHED_MAX_BYTES).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
}

/// Passes the call on, and its answer back.
pub(super) async fn forward(call: &Call, body: Body, target: Target) -> ApiResult<Response<Body>> {
    let unreachable = |error: anyhow::Error| {
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        let Target { host, port, path, .. } = &target;
        ApiError::unavailable(format!(
            "error trying to reach service: {scheme}://{host}:{port}{path}: {error}"
        ))
    };
    let mut sender = target.connect().await.map_err(unreachable)?;
    let request = request(call, body, &target)?;
    let mut response = sender
        .send_request(request)
        .await
        .map_err(|error| unreachable(error.into()))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return join(call, response);
    }
    lead_back(&mut response, &target);
    strip_hop_by_hop(response.headers_mut());
    Ok(response.map(Body::new))
}

fn request(call: &Call, body: Body, target: &Target) -> ApiResult<Request<Body>> {
    let mut headers = call.parts.headers.clone();
    let upgrade = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(&mut headers);
    headers.remove(AUTHORIZATION);
    impersonation::strip(&mut headers);
    strip_token(&mut headers);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    let host = if target.host.contains(':') {
        format!("[{}]", target.host)
    } else {
        target.host.clone()
    };
    let host = HeaderValue::from_str(&format!("{host}:{}", target.port)).map_err(ApiError::internal)?;
    headers.insert(HOST, host);
    let mut request = Request::new(body);
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = target
        .path
        .parse()
        .map_err(|error| ApiError::bad_request(format!("{error}")))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Makes one pipe of both connections.
fn join(call: &Call, mut response: Response<hyper::body::Incoming>) -> ApiResult<Response<Body>> {
    let Some(ours) = call.parts.extensions.get::<OnUpgrade>().cloned() else {
        return Err(ApiError::bad_request("the connection cannot be upgraded"));
    };
    let theirs = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let (ours, theirs) = match tokio::try_join!(ours, theirs) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade failed"),
        };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        if let Err(error) = copy_bidirectional(&mut ours, &mut theirs).await {
            tracing::debug!(%error, "an upgraded connection ended");
        }
    });
    Ok(response.map(|_| Body::empty()))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 5] = [
        CONNECTION,
        TE,
        UPGRADE,
        http::header::TRANSFER_ENCODING,
        http::header::PROXY_AUTHORIZATION,
    ];
    for name in NAMES {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

fn strip_token(headers: &mut HeaderMap) {
    let name = http::header::SEC_WEBSOCKET_PROTOCOL;
    let offered: Vec<_> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let kept = offered.iter().flat_map(|value| value.split(',')).map(str::trim);
    let kept: Vec<_> = kept.filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL)).collect();
    match HeaderValue::from_str(&kept.join(", ")) {
        Ok(value) if !kept.is_empty() => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    }
}

/// Makes a redirect within the target lead through us again.
fn lead_back<B>(response: &mut Response<B>, target: &Target) {
    if target.prefix.is_empty() {
        return;
    }
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|location| location.to_str().ok());
    let Some(path) = location.filter(|location| location.starts_with('/') && !location.starts_with("//")) else {
        return;
    };
    if let Ok(location) = HeaderValue::from_str(&format!("{}{path}", target.prefix)) {
        response.headers_mut().insert(LOCATION, location);
    }
}
