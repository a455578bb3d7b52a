//! attach: the streams of a container's own process, through the runtime's streaming server.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures::stream::SplitSink;
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
use tokio_util::task::AbortOnDropHandle;

use super::lookup::Lookup;
use super::remote::{Output, Size, Streams, Wanted, failed, success};

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

/// What is sent behind the last input; it comes back when all of that has reached the container.
const END: &[u8] = b"end of input";

type Sink = SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>;

/// Carries input and sizes to a container. A task of its own: a process may not read on before somebody takes what
/// it wrote.
async fn feed(
    mut sink: Sink,
    mut stdin: Option<mpsc::Receiver<Bytes>>,
    mut resize: mpsc::Receiver<Size>,
    tty: bool,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            bytes = async { stdin.as_mut()?.recv().await }, if stdin.is_some() => match bytes {
                Some(bytes) => sink.send(framed(0, &bytes)).await?,
                None => {
                    stdin = None;
                    if !tty {
                        // The runtime takes nothing, and so what follows, before all input before is written.
                        sink.send(framed(0, &[])).await?;
                        sink.send(Message::Ping(END.into())).await?;
                    }
                }
            },
            Some(size) = resize.recv() => {
                let size = json!({ "Width": size.width, "Height": size.height });
                sink.send(framed(4, size.to_string().as_bytes())).await?;
            }
            else => return Ok(()),
        }
    }
}

/// Ends the input. The runtime's protocol has no word for it, but closing a connection that carries nothing else does it.
async fn end_input(lookup: &Lookup, request: AttachRequest) -> anyhow::Result<()> {
    let only_input = AttachRequest {
        stdout: false,
        stderr: false,
        ..request
    };
    let mut inlet = connect(lookup, only_input).await?;
    inlet.close(None).await?;
    // To its end: a connection that is dropped with something unread takes along what was sent over it.
    tokio::spawn(async move { while let Some(Ok(_)) = inlet.next().await {} });
    Ok(())
}

/// A message on a channel of the runtime's protocol.
fn framed(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

async fn carry(lookup: Lookup, container_id: String, wanted: Wanted, streams: Streams) -> anyhow::Result<()> {
    let Streams {
        stdin,
        resize,
        output,
        gone,
    } = streams;
    let request = AttachRequest {
        container_id,
        // Asked for even where none comes: the runtime takes a connection without input for one whose input has
        // ended, and closes the container's.
        stdin: true,
        tty: wanted.tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let (sink, mut source) = connect(&lookup, request.clone()).await?.split();
    let stdin = wanted.stdin.then_some(stdin);
    let _feeding = AbortOnDropHandle::new(tokio::spawn(feed(sink, stdin, resize, wanted.tty)));
    let mut status = success();
    loop {
        let message = tokio::select! {
            message = source.next() => message,
            () = gone.cancelled() => break,
        };
        let bytes = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Pong(what))) if what == END => {
                end_input(&lookup, request.clone()).await?;
                continue;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_))) => continue,
            _ => break,
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
    let _ = output.send(Output::Status(status)).await;
    Ok(())
}
