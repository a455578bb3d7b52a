//! attach: the streams of a container's own process, through the runtime's streaming server.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use k8s_cri::v1::AttachRequest;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

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
    let request = AttachRequest {
        container_id,
        stdin: has_stdin,
        tty,
        stdout,
        stderr,
    };
    let url = lookup
        .attach()
        .attach(request)
        .await
        .map_err(|status| anyhow!("{}", status.message()))?
        .into_inner()
        .url;
    let mut request = url.replacen("http", "ws", 1).into_client_request()?;
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    let (socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .context("the runtime's streaming server")?;
    let (mut sink, mut source) = socket.split();
    let framed = |channel: u8, bytes: &[u8]| Message::Binary([&[channel], bytes].concat().into());
    let mut status = success();
    let mut has_stdin = has_stdin;
    loop {
        tokio::select! {
            bytes = stdin.recv(), if has_stdin => match bytes {
                Some(bytes) => sink.send(framed(0, &bytes)).await?,
                // This protocol cannot say that input has ended.
                None => has_stdin = false,
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
