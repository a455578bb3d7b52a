//! The streaming clients against a server in this process that speaks the protocols as Kubernetes does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::{SinkExt as _, StreamExt as _};
use mizzen_api::client::exec::{self, Exit, Streams};
use mizzen_api::client::forward::{Forward, LOCALHOST};
use mizzen_api::client::logs::{self, Containers, Event, Options, Source};
use mizzen_api::client::pods::{self, Succession, Target};
use mizzen_api::client::rest::Rest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the server knows: its Pods, and how often a log was opened.
struct World {
    pods: watch::Sender<Vec<Value>>,
    opened: AtomicUsize,
    protocol: &'static str,
}

async fn serve(protocol: &'static str, first: Vec<Value>) -> (Arc<World>, Rest) {
    let world = Arc::new(World {
        pods: watch::Sender::new(first),
        opened: AtomicUsize::new(0),
        protocol,
    });
    let app = Router::new()
        .route("/api/v1/namespaces/a/pods", get(list))
        .route("/api/v1/namespaces/a/pods/{name}", get(one))
        .route("/api/v1/namespaces/a/pods/{name}/log", get(log))
        .route("/api/v1/namespaces/a/pods/{name}/exec", get(run))
        .route("/api/v1/namespaces/a/pods/{name}/portforward", get(forward))
        .route("/apis/apps/v1/namespaces/a/deployments/{name}", get(deployment))
        .with_state(world.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
    let client = kube::Client::try_from(config).expect("a client");
    (world, Rest::new(client, "test"))
}

fn pod(name: &str, instance: &str, running: bool) -> Value {
    let state = match running {
        true => json!({"running": {}}),
        false => json!({"terminated": {"exitCode": 1, "containerID": instance}}),
    };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "1", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}]}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "containerID": instance, "state": state}]}})
}

async fn deployment(Path(name): Path<String>) -> Response {
    axum::Json(
        json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}),
    )
    .into_response()
}

async fn one(State(world): State<Arc<World>>, Path(name): Path<String>) -> Response {
    let found = world
        .pods
        .borrow()
        .iter()
        .find(|p| p["metadata"]["name"] == *name)
        .cloned();
    match found {
        Some(pod) => axum::Json(pod).into_response(),
        None => {
            let status =
                json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "gone"});
            (http::StatusCode::NOT_FOUND, axum::Json(status)).into_response()
        }
    }
}

/// A list, or a watch that tells of every change to the set of Pods.
async fn list(State(world): State<Arc<World>>, RawQuery(query): RawQuery) -> Response {
    if !query.unwrap_or_default().contains("watch=") {
        let items = world.pods.borrow().clone();
        return axum::Json(json!({"metadata": {"resourceVersion": "1"}, "items": items})).into_response();
    }
    let mut pods = world.pods.subscribe();
    let events = async_stream(async move |sender: tokio::sync::mpsc::Sender<String>| {
        let mut before: Vec<Value> = pods.borrow_and_update().clone();
        while pods.changed().await.is_ok() {
            let now = pods.borrow_and_update().clone();
            let same = |a: &Value, b: &Value| a["metadata"]["name"] == b["metadata"]["name"];
            for gone in before.iter().filter(|p| !now.iter().any(|n| same(p, n))) {
                let _ = sender
                    .send(json!({"type": "DELETED", "object": gone}).to_string() + "\n")
                    .await;
            }
            for pod in &now {
                let _ = sender
                    .send(json!({"type": "MODIFIED", "object": pod}).to_string() + "\n")
                    .await;
            }
            before = now;
        }
    });
    Response::new(events)
}

/// A body that a task writes.
fn async_stream<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(tokio::sync::mpsc::Sender<String>) -> F,
) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<String>(16);
    tokio::spawn(work(sender));
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(text), receiver))
    });
    Body::from_stream(stream)
}

/// The first time two lines, then the connection breaks off; later from the second line on, without end.
async fn log(State(world): State<Arc<World>>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    let follow = query.unwrap_or_default().contains("follow=true");
    let round = world.opened.fetch_add(1, SeqCst);
    let line = |second: usize| format!("2026-01-01T00:00:0{second}Z {name} line {second}\n");
    let body = match (follow, round) {
        (false, _) => Body::from(line(1) + &line(2)),
        (true, 0) => Body::from(line(1) + &line(2)),
        (true, _) => {
            let text = line(2) + &line(3 + round.min(5));
            async_stream(async move |sender| {
                let _ = sender.send(text).await;
                sender.closed().await;
            })
        }
    };
    Response::new(body)
}

/// Echoes what comes in, tells of sizes on the second output, and ends with code 7 when the input does.
async fn run(State(world): State<Arc<World>>, upgrade: WebSocketUpgrade) -> Response {
    let protocol = world.protocol;
    upgrade
        .protocols([protocol])
        .on_upgrade(move |socket| echo(socket, protocol))
}

async fn echo(mut socket: WebSocket, protocol: &str) {
    let send = |channel: u8, bytes: &[u8]| Message::Binary([&[channel], bytes].concat().into());
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Binary(bytes) = message else { continue };
        match (bytes[0], &bytes[1..]) {
            (0, text) => {
                let sent = socket.send(send(1, text)).await;
                let ended = protocol.starts_with("v4") && text.ends_with(b"end");
                if sent.is_err() || ended {
                    break;
                }
            }
            (4, size) => {
                let _ = socket.send(send(1, size)).await;
            }
            (255, [0]) => break,
            _ => {}
        }
    }
    let status = json!({"status": "Failure", "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
    let _ = socket.send(send(3, status.to_string().as_bytes())).await;
    let _ = socket.send(Message::Close(None)).await;
}

/// Answers each message with the Pod's name, then closes.
async fn forward(Path(name): Path<String>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols(["v4.channel.k8s.io"])
        .on_upgrade(async move |socket| {
            let (mut sink, mut source) = socket.split();
            for channel in [0u8, 1] {
                let _ = sink.send(Message::Binary(vec![channel, 80, 0].into())).await;
            }
            if let Some(Ok(Message::Binary(bytes))) = source.next().await {
                let answer = [&[0u8], name.as_bytes(), b" got ", &bytes[1..]].concat();
                let _ = sink.send(Message::Binary(answer.into())).await;
            }
            let _ = sink.send(Message::Close(None)).await;
        })
}

#[tokio::test]
async fn exec_passes_streams_sizes_and_the_exit_code() {
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let (_, rest) = serve(protocol, Vec::new()).await;
        let streams = Streams {
            stdin: true,
            tty: true,
            ..Streams::default()
        };
        let command = ["cat".to_owned()];
        let mut process = exec::exec(rest.client(), ("a", "p"), &command, &streams)
            .await
            .expect("started");
        let exit = process.exit();
        let mut stdin = process.stdin().expect("an input");
        let mut stdout = process.stdout().expect("an output");
        assert!(process.size().expect("a terminal").set(80, 24).await);
        let mut seen = String::new();
        while !seen.ends_with('}') {
            seen.push(char::from(stdout.read_u8().await.expect("a byte")));
        }
        assert_eq!(seen, r#"{"Width":80,"Height":24}"#);
        stdin.write_all(b"hello ").await.expect("written");
        match protocol.starts_with("v5") {
            true => stdin.shutdown().await.expect("closed"),
            false => stdin.write_all(b"end").await.expect("written"),
        }
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.expect("text");
        assert!(rest.starts_with("hello "), "{rest:?}");
        assert_eq!(exit.await, Exit::Code(7), "{protocol}");
    }
}

#[tokio::test]
async fn a_log_goes_on_after_a_break_without_saying_anything_twice() {
    let (_, rest) = serve("", vec![pod("web-1", "1", true)]).await;
    let selection = pods::resolve(&rest, &Target::pod("a", "web-1"), Succession::Name)
        .await
        .expect("a pod");
    let options = Options {
        follow: true,
        ..Options::default()
    };
    let mut follower = logs::follow(&rest, vec![selection], Containers::Default, options);
    let mut lines = String::new();
    while lines.lines().count() < 3 {
        match tokio::time::timeout(PATIENCE, follower.next())
            .await
            .expect("in time")
            .expect("an event")
        {
            Event::Lines(0, block) => lines.push_str(std::str::from_utf8(&block).expect("text")),
            Event::Source(0, source) => assert_eq!((&*source.pod, &*source.container), ("web-1", "c")),
            Event::CaughtUp | Event::Note(..) => {}
            other => panic!("{other:?}"),
        }
    }
    let texts: Vec<_> = lines.lines().map(|line| &line[line.len() - 6..]).collect();
    assert_eq!(texts, ["line 1", "line 2", "line 4"]);
}

#[tokio::test]
async fn logs_of_a_workload_are_merged_and_new_pods_join() {
    let (world, rest) = serve("", vec![pod("web-1", "1", true), pod("web-2", "2", true)]).await;
    world.opened.store(1, SeqCst);
    let target = Target::new("a", "apps", "Deployment", "web");
    let selection = pods::resolve(&rest, &target, Succession::Workload).await.expect("pods");
    let options = Options {
        follow: true,
        ..Options::default()
    };
    let mut follower = logs::follow(&rest, vec![selection], Containers::Default, options);
    let (mut history, mut sources, mut caught_up) = (String::new(), Vec::new(), false);
    let mut grown = false;
    while !sources.iter().any(|s: &Source| s.pod == "web-3") {
        match tokio::time::timeout(PATIENCE, follower.next())
            .await
            .expect("in time")
            .expect("an event")
        {
            Event::Lines(_, block) if !caught_up => history.push_str(std::str::from_utf8(&block).expect("text")),
            Event::Source(_, source) => sources.push(source),
            Event::CaughtUp => caught_up = true,
            Event::Lines(..) if !grown => {
                grown = true;
                let pods = ["web-1", "web-2", "web-3"].map(|name| pod(name, name, true));
                world.pods.send_replace(pods.to_vec());
            }
            _ => {}
        }
    }
    let order: Vec<_> = history
        .lines()
        .map(|line| line.split_once(' ').expect("a time").1)
        .collect();
    assert_eq!(order, ["web-1 line 1", "web-2 line 1", "web-1 line 2", "web-2 line 2"]);
}

#[tokio::test]
async fn a_forward_moves_to_the_next_pod() {
    let (world, rest) = serve("", vec![pod("web-1", "1", true)]).await;
    let target = Target::new("a", "apps", "Deployment", "web");
    let selection = pods::resolve(&rest, &target, Succession::Workload).await.expect("pods");
    let mappings = [":http".parse().expect("a mapping")];
    let mut forward = Forward::open(&rest, selection, &LOCALHOST[..1], &mappings)
        .await
        .expect("open");
    let (address, port) = forward.listening[0];
    assert_eq!(port, 80);
    let ask = async || {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        connection.write_all(b"hi").await.expect("written");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("text");
        answer
    };
    assert_eq!(ask().await, "web-1 got hi");
    // The watch must be up before the Pods change; the first event of the forward tells nothing of that.
    tokio::time::timeout(PATIENCE, async {
        loop {
            world.pods.send_replace(vec![pod("web-2", "2", true)]);
            if let Ok(Some(mizzen_api::client::forward::Event::Moved(name))) =
                tokio::time::timeout(Duration::from_millis(100), forward.next()).await
            {
                assert_eq!(name, "web-2");
                break;
            }
        }
    })
    .await
    .expect("moved in time");
    assert_eq!(ask().await, "web-2 got hi");
    let traffic = forward.traffic();
    assert_eq!((traffic.connections, traffic.sent), (2, 4));
}
