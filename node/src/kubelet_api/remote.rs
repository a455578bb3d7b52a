//! The client's side of exec and attach, whatever way it came: WebSocket channels or SPDY streams.
//!
//! A way in turns into [`Streams`]; exec and attach know only those. Two tasks per session carry bytes: one from the
//! client to the channels, one back; they end with the connection or after the final status.

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::spdy::{self, Stream};
use super::{Failure, upgrade};

/// With half-close.
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
/// Without a status: nothing is said of success, and of failure a text.
const V1: &str = "channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the channel whose input has ended.
const CLOSE: u8 = 255;
const NORMAL_CLOSURE: u16 = 1000;
const QUEUE: usize = 16;

/// What the client wants to be connected to.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    pub(super) command: Vec<String>,
}

/// The size of the client's terminal.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

/// What goes back to the client.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The end of the session.
    Status(Value),
}

/// A client, ready to be connected.
#[derive(Debug)]
pub(super) struct Streams {
    /// Ends when the client closes its input.
    pub(super) stdin: mpsc::Receiver<Bytes>,
    pub(super) resize: mpsc::Receiver<Size>,
    pub(super) output: mpsc::Sender<Output>,
    /// Cancelled when the client is gone.
    pub(super) gone: CancellationToken,
}

impl Wanted {
    /// Reads the query, in the words of the kubelet's API and in those of the API server.
    pub(super) fn parse(query: impl Iterator<Item = (String, String)>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query {
            let yes = matches!(value.as_str(), "1" | "true");
            match name.as_str() {
                "input" | "stdin" => wanted.stdin = yes,
                "output" | "stdout" => wanted.stdout = yes,
                "error" | "stderr" => wanted.stderr = yes,
                "tty" => wanted.tty = yes,
                "command" => wanted.command.push(value),
                _ => {}
            }
        }
        // A terminal has one output only.
        wanted.stderr &= !wanted.tty;
        wanted
    }
}

/// The status of a session without a failure.
pub(super) fn success() -> Value {
    json!({ "metadata": {}, "status": "Success" })
}

/// The status of a command that ended by itself, as kubectl takes its exit code from.
pub(super) fn exited(code: u32) -> Value {
    if code == 0 {
        return success();
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// The status of a session that did not come about.
pub(super) fn failed(message: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError",
        "details": { "causes": [{ "message": message }] },
        "code": 500,
    })
}

/// Takes the connection over and hands the client to `session`.
pub(super) async fn serve<F, S>(
    request: Request<axum::body::Body>,
    wanted: Wanted,
    session: S,
) -> Result<Response, Failure>
where
    S: FnOnce(Streams) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    if upgrade::is_spdy(&request) {
        return upgrade::spdy(request, V4, move |io| async move {
            if let Some(streams) = spdy_streams(spdy::serve(io), &wanted).await {
                session(streams).await;
            }
        });
    }
    let (mut parts, _) = request.into_parts();
    let websocket = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|_| Failure {
            code: StatusCode::BAD_REQUEST,
            message: "unable to upgrade: an Upgrade to WebSocket or SPDY/3.1 is needed".into(),
        })?;
    let websocket = websocket.protocols([V5, V4, V1]);
    let protocol = websocket.selected_protocol();
    let has_status = protocol.is_some_and(|protocol| protocol.as_bytes() != V1.as_bytes());
    if protocol.is_none() {
        return Err(Failure::bad_request(format!(
            "unable to upgrade: one of the protocols {V5}, {V4}, {V1} is needed"
        )));
    }
    Ok(websocket
        .on_upgrade(move |socket| session(websocket_streams(socket, has_status)))
        .into_response())
}

fn websocket_streams(socket: WebSocket, has_status: bool) -> Streams {
    let (mut sink, mut source) = socket.split();
    let (stdin_sender, stdin) = mpsc::channel(QUEUE);
    let (resize_sender, resize) = mpsc::channel(QUEUE);
    let (output, mut outputs) = mpsc::channel(QUEUE);
    let gone = CancellationToken::new();
    let guard = gone.clone().drop_guard();
    tokio::spawn(async move {
        let _guard = guard;
        let mut stdin = Some(stdin_sender);
        while let Some(Ok(message)) = source.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Close(_) => return,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
            };
            match bytes.split_first() {
                Some((&STDIN, data)) if !data.is_empty() => {
                    if let Some(stdin) = &stdin {
                        let _ = stdin.send(bytes.slice(1..)).await;
                    }
                }
                Some((&RESIZE, data)) => {
                    if let Ok(size) = serde_json::from_slice(data) {
                        let _ = resize_sender.try_send(size);
                    }
                }
                Some((&CLOSE, [STDIN])) => stdin = None,
                _ => {}
            }
        }
    });
    tokio::spawn(async move {
        while let Some(output) = outputs.recv().await {
            let last = matches!(output, Output::Status(_));
            let message = match output {
                Output::Stdout(bytes) => [&[STDOUT], &bytes[..]].concat(),
                Output::Stderr(bytes) => [&[STDERR], &bytes[..]].concat(),
                Output::Status(status) if !has_status => match status["message"].as_str() {
                    Some(message) => [&[STATUS], message.as_bytes()].concat(),
                    None => break,
                },
                Output::Status(status) => [&[STATUS], status.to_string().as_bytes()].concat(),
            };
            if sink.send(Message::Binary(message.into())).await.is_err() || last {
                break;
            }
        }
        let _ = sink
            .send(Message::Close(Some(CloseFrame {
                code: NORMAL_CLOSURE,
                reason: "".into(),
            })))
            .await;
    });
    Streams {
        stdin,
        resize,
        output,
        gone,
    }
}

/// Collects the streams that the client said it would open. `None` when it goes before.
async fn spdy_streams(mut opened: mpsc::Receiver<Stream>, wanted: &Wanted) -> Option<Streams> {
    let names = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr),
        ("resize", wanted.tty),
    ];
    let expected = names.iter().filter(|(_, wanted)| *wanted).count();
    let mut streams = std::collections::HashMap::new();
    while streams.len() < expected {
        let stream = opened.recv().await?;
        streams.insert(stream.headers.get("streamtype")?.clone(), stream);
    }
    let status = streams.remove("error")?;
    let gone = status.gone.clone();
    let stdin = streams
        .remove("stdin")
        .map_or_else(|| mpsc::channel(1).1, |stream| stream.incoming);
    let (resize_sender, resize) = mpsc::channel(QUEUE);
    if let Some(mut stream) = streams.remove("resize") {
        tokio::spawn(async move {
            while let Some(bytes) = stream.incoming.recv().await {
                for size in serde_json::Deserializer::from_slice(&bytes).into_iter().flatten() {
                    let _ = resize_sender.try_send(size);
                }
            }
        });
    }
    let (stdout, stderr) = (streams.remove("stdout"), streams.remove("stderr"));
    let (output, mut outputs) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        // Keeps the connection from being dropped while it is in use.
        let _opened = opened;
        while let Some(output) = outputs.recv().await {
            let (stream, bytes) = match output {
                Output::Stdout(bytes) => (stdout.as_ref(), bytes),
                Output::Stderr(bytes) => (stderr.as_ref(), bytes),
                Output::Status(value) => {
                    status.outgoing.send(value.to_string().into()).await;
                    break;
                }
            };
            if let Some(stream) = stream
                && !stream.outgoing.send(bytes).await
            {
                break;
            }
        }
        for stream in [stdout, stderr, Some(status)].into_iter().flatten() {
            stream.outgoing.finish().await;
        }
    });
    Some(Streams {
        stdin,
        resize,
        output,
        gone,
    })
}
