//! What the upgraded connections share: recognising them, and turning them into plain streams of bytes.

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::response::{IntoResponse as _, Response};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::Failure;

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
const BUFFER_BYTES: usize = 64 << 10;

/// The connection under an upgraded request.
pub(super) type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

pub(super) fn is_spdy(request: &Request<Body>) -> bool {
    request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(SPDY.as_bytes()))
}

/// The stream protocols that the client offers, in its order of preference.
pub(super) fn stream_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(STREAM_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Answers with the switch to SPDY and hands the connection to `session`.
pub(super) fn spdy<F, S>(mut request: Request<Body>, protocol: &'static str, session: S) -> Result<Response, Failure>
where
    S: FnOnce(Upgraded) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let offered: Vec<&str> = stream_protocols(request.headers()).collect();
    if !offered.is_empty() && !offered.contains(&protocol) {
        let message = format!("unable to upgrade: the client does not speak {protocol}");
        return Err(Failure {
            code: StatusCode::FORBIDDEN,
            message,
        });
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => session(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!("a connection was not upgraded: {error}"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

/// The bytes of a WebSocket's binary messages as one stream.
pub(super) fn bytes_of(socket: WebSocket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
    let (mut read, mut write) = tokio::io::split(ours);
    let (mut sink, mut source) = socket.split();
    tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            let written = match message {
                Message::Binary(bytes) => write.write_all(&bytes).await,
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => Ok(()),
            };
            if written.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = bytes::BytesMut::with_capacity(BUFFER_BYTES);
        while read.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
            if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                return;
            }
            buffer.reserve(BUFFER_BYTES);
        }
        let _ = sink.send(Message::Close(None)).await;
    });
    theirs
}

/// Sends what comes as binary messages, until its end or the client's.
pub(super) async fn pour(mut source: mpsc::Receiver<std::io::Result<bytes::Bytes>>, mut socket: WebSocket) {
    loop {
        tokio::select! {
            chunk = source.recv() => match chunk {
                Some(Ok(chunk)) => if socket.send(Message::Binary(chunk)).await.is_err() {
                    return;
                },
                Some(Err(_)) | None => break,
            },
            message = socket.recv() => if matches!(message, None | Some(Err(_) | Ok(Message::Close(_)))) {
                return;
            },
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

/// The query's parameters, decoded.
pub(super) fn query(request: &Request<Body>) -> impl Iterator<Item = (String, String)> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    pairs.into_iter()
}
