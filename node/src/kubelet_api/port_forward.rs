//! Port-forward: connections of a client, carried to ports inside a Pod.
//!
//! Three ways in: SPDY itself, SPDY inside a WebSocket (kubectl from 1.31 on), and plain WebSocket channels. All end in
//! [`dial`], which enters the Pod's network namespace for as long as it takes to make a socket.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::spdy::{self, Stream};
use super::{Failure, upgrade};

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const CHANNELS_OLD: &str = "portforward.k8s.io";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 32 << 10;
/// Messages that wait for one port.
const QUEUE: usize = 16;

/// Where the ports are.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `namespace/pod`, for messages.
    pub(super) pod: String,
    pub(super) network_namespace: Option<PathBuf>,
}

/// Takes the connection over in the way that the client asks for.
pub(super) async fn serve(request: Request<axum::body::Body>, target: Target) -> Result<Response, Failure> {
    if upgrade::is_spdy(&request) {
        return upgrade::spdy(request, CHANNELS_OLD, move |io| spdy_session(io, target));
    }
    let ports = upgrade::query(&request)
        .filter(|(name, _)| name == "port" || name == "ports")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .map(|port| {
            port.parse()
                .map_err(|_| Failure::bad_request(format!("\"{port}\" is not a port")))
        })
        .collect::<Result<Vec<u16>, _>>()?;
    let (mut parts, _) = request.into_parts();
    let websocket = WebSocketUpgrade::from_request_parts(&mut parts, &())
        .await
        .map_err(|_| Failure {
            code: StatusCode::BAD_REQUEST,
            message: "unable to upgrade: an Upgrade to WebSocket or SPDY/3.1 is needed".into(),
        })?
        .protocols([TUNNEL, CHANNELS, CHANNELS_OLD]);
    let tunnel = websocket
        .selected_protocol()
        .is_some_and(|protocol| protocol.as_bytes() == TUNNEL.as_bytes());
    if !tunnel && ports.is_empty() {
        return Err(Failure::bad_request("query parameter \"port\" is required".into()));
    }
    Ok(websocket
        .on_upgrade(move |socket| async move {
            match tunnel {
                true => spdy_session(upgrade::bytes_of(socket), target).await,
                false => channels(socket, ports, target).await,
            }
        })
        .into_response())
}

/// Pairs the streams of a session: one for data and one for errors make a connection.
async fn spdy_session<S>(io: S, target: Target)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
{
    let mut streams = spdy::serve(io);
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = streams.recv().await {
        let request = stream.headers.get("requestid").cloned().unwrap_or_default();
        match halves.remove(&request) {
            None => _ = halves.insert(request, stream),
            Some(other) => {
                let is_data = |stream: &Stream| stream.headers.get("streamtype").is_some_and(|kind| kind == "data");
                let (data, error) = if is_data(&stream) {
                    (stream, other)
                } else {
                    (other, stream)
                };
                tokio::spawn(forward(data, error, target.clone()));
            }
        }
    }
}

async fn forward(data: Stream, error: Stream, target: Target) {
    let Stream {
        headers,
        mut incoming,
        outgoing,
        gone,
    } = data;
    let port = headers
        .get("port")
        .and_then(|port| port.parse().ok())
        .unwrap_or_default();
    let connection = match dial(target.network_namespace.as_deref(), port).await {
        Ok(connection) => connection,
        Err(failure) => {
            error.outgoing.send(refusal(&target.pod, port, &failure).into()).await;
            error.outgoing.finish().await;
            outgoing.reset().await;
            return;
        }
    };
    let (mut read, mut write) = connection.into_split();
    let inbound = async {
        while let Some(bytes) = incoming.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let outbound = async {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        while read.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
            if !outgoing.send(buffer.split().freeze()).await {
                return;
            }
            buffer.reserve(BUFFER_BYTES);
        }
        outgoing.finish().await;
    };
    let both = async { tokio::join!(inbound, outbound) };
    tokio::select! {
        _ = both => error.outgoing.finish().await,
        () = gone.cancelled() => {}
    }
}

/// Two channels per port, in the order of the ports: data and errors. The first message of each is the port.
async fn channels(socket: WebSocket, ports: Vec<u16>, target: Target) {
    let (mut sink, mut source) = socket.split();
    let (out, mut queue) = mpsc::channel::<(u8, Bytes)>(QUEUE);
    let mut inputs = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let channel = u8::try_from(index * 2).unwrap_or(u8::MAX);
        for channel in [channel, channel + 1] {
            let _ = out.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await;
        }
        let (input, receiver) = mpsc::channel(QUEUE);
        inputs.push(input);
        tokio::spawn(one_channel(channel, port, receiver, out.clone(), target.clone()));
    }
    drop(out);
    let write = async {
        while let Some((channel, bytes)) = queue.recv().await {
            if send(&mut sink, channel, &bytes).await.is_err() {
                break;
            }
        }
        let _ = sink.send(Message::Close(None)).await;
    };
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(bytes) = message
                && let Some((channel, _)) = bytes.split_first()
                && channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                let _ = input.send(bytes.slice(1..)).await;
            }
        }
        inputs.clear();
    };
    tokio::join!(write, read);
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, channel: u8, bytes: &[u8]) -> Result<(), axum::Error> {
    sink.send(Message::Binary([&[channel], bytes].concat().into())).await
}

async fn one_channel(
    channel: u8,
    port: u16,
    mut input: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<(u8, Bytes)>,
    target: Target,
) {
    let connection = match dial(target.network_namespace.as_deref(), port).await {
        Ok(connection) => connection,
        Err(failure) => {
            let _ = out
                .send((channel + 1, refusal(&target.pod, port, &failure).into()))
                .await;
            return;
        }
    };
    let (mut read, mut write) = connection.into_split();
    let inbound = async {
        while let Some(bytes) = input.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let outbound = async {
        let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
        while read.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
            if out.send((channel, buffer.split().freeze())).await.is_err() {
                return;
            }
            buffer.reserve(BUFFER_BYTES);
        }
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
    }
}

fn refusal(pod: &str, port: u16, error: &io::Error) -> String {
    format!("error forwarding port {port} to pod {pod}: {error}")
}

/// Connects to a port on a Pod's loopback address.
async fn dial(network_namespace: Option<&Path>, port: u16) -> io::Result<TcpStream> {
    let namespace = network_namespace.map(Path::to_owned);
    let (answer, dialled) = tokio::sync::oneshot::channel();
    // A thread of its own: it cannot be used for anything else after it entered the namespace.
    std::thread::Builder::new()
        .name("port-forward".into())
        .stack_size(128 << 10)
        .spawn(move || {
            let _ = answer.send(connect(namespace.as_deref(), port));
        })?;
    let stream = dialled.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn connect(namespace: Option<&Path>, port: u16) -> io::Result<std::net::TcpStream> {
    if let Some(path) = namespace {
        nix::sched::setns(File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
    }
    let connect = |address: SocketAddr| std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
    connect((Ipv4Addr::LOCALHOST, port).into())
        .or_else(|error| connect((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error))
}
