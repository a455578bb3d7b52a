//! attach: the streams of a container's own process, through the runtime's streaming server.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use k8s_cri::v1::AttachRequest;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::lookup::Lookup;
use super::remote::{Output, Streams, Wanted, failed, success};

const PROTOCOL: &str = "v4.channel.k8s.io";

/// Carries the streams until the container ends or the client goes.
pub(super) async fn run(lookup: Lookup, container: String, wanted: Wanted, streams: Streams) {
    let output = streams.output.clone();
    if let Err(error) = carry(lookup, container, wanted, streams).await {
        let _ = output
            .send(Output::Status(failed(&format!(
                "error attaching to container: {error:#}"
            ))))
            .await;
    }
}

async fn connect(
    lookup: &Lookup,
    request: AttachRequest,
) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let answer = lookup.attach().attach(request).await;
    let url = answer
        .map_err(|status| anyhow!("{}", status.message()))?
        .into_inner()
        .url;
    let mut request = url.replacen("http", "ws", 1).into_client_request()?;
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    let connected = tokio_tungstenite::connect_async(request).await;
    let (socket, _) = connected.context("the runtime's streaming server")?;
    Ok(socket)
}

/// Carries input to a container, and then its end.
async fn feed(mut stdin: mpsc::Receiver<Bytes>, mut inlet: WebSocketStream<MaybeTlsStream<TcpStream>>) {
    while let Some(bytes) = stdin.recv().await {
        // A process that reads no more may still write.
        if inlet.send(framed(0, &bytes)).await.is_err() {
            return;
        }
    }
    if inlet.close(None).await.is_ok() {
        // To its end: a connection that is dropped with something unread takes along what was sent over it.
        while let Some(Ok(_)) = inlet.next().await {}
    }
}

/// A message on a channel of the runtime's protocol.
fn framed(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

async fn carry(lookup: Lookup, container_id: String, wanted: Wanted, streams: Streams) -> anyhow::Result<()> {
    let Streams {
        mut stdin,
        mut resize,
        output,
        gone,
    } = streams;
    let Wanted {
        stdin: has_stdin,
        stdout,
        stderr,
        tty,
        ..
    } = wanted;
    // The runtime's protocol cannot say that input has ended, but closing a connection does. So input goes
    // over one of its own where its end matters, which is not on a terminal, and where there is output to lose.
    let apart = has_stdin && !tty && (stdout || stderr);
    let request = AttachRequest {
        container_id,
        // Asked for even where none comes over this connection: the runtime takes one without input for one whose
        // input has ended, and closes the container's.
        stdin: true,
        tty,
        stdout,
        stderr,
    };
    // The one for output first: what the input leads to must not be missed.
    let socket = connect(&lookup, request.clone()).await?;
    let mut has_stdin = has_stdin;
    if apart {
        let only_input = AttachRequest {
            stdout: false,
            stderr: false,
            ..request
        };
        let inlet = connect(&lookup, only_input).await?;
        let (_, nothing) = mpsc::channel(1);
        // A task of its own: a process may not read on before what it wrote is taken.
        tokio::spawn(feed(std::mem::replace(&mut stdin, nothing), inlet));
        has_stdin = false;
    }
    let (mut sink, mut source) = socket.split();
    let mut status = success();
    loop {
        tokio::select! {
            bytes = stdin.recv(), if has_stdin => match bytes {
                Some(bytes) => sink.send(framed(0, &bytes)).await?,
                None => {
                    has_stdin = false;
                    if !tty {
                        sink.close().await?;
                    }
                }
            },
            Some(size) = resize.recv() => {
                let size = json!({ "Width": size.width, "Height": size.height });
                sink.send(framed(4, size.to_string().as_bytes())).await?;
            }
            message = source.next() => {
                let Some(Ok(Message::Binary(bytes))) = message else {
                    if matches!(message, Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_)))) {
                        continue;
                    }
                    break;
                };
                let data: Bytes = bytes.slice(1.min(bytes.len())..);
                let sent = match bytes.first() {
                    _ if data.is_empty() => Ok(()),
                    Some(1) => output.send(Output::Stdout(data)).await,
                    Some(2) => output.send(Output::Stderr(data)).await,
                    Some(3) => {
                        status = serde_json::from_slice(&data).unwrap_or(status);
                        Ok(())
                    }
                    _ => Ok(()),
                };
                if sent.is_err() {
                    break;
                }
            }
            () = gone.cancelled() => break,
        }
    }
    let _ = output.send(Output::Status(status)).await;
    Ok(())
}
