//! The console against a simulated server of 50,000 Pods and 500 events a second: first rows, whole list,
//! key to frame, filter keystroke, event to frame, memory.
//!
//! `cargo bench -p mizzen-tui --bench scale`; `PODS` and `SECONDS` change the size and the length.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use futures::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body as RequestBody;
use mizzen_tui::app::{App, Setup};
use mizzen_tui::bindings::Bindings;
use mizzen_tui::data::Batch;
use mizzen_tui::effect::Effect;
use mizzen_tui::event::{Event, Stamped};
use mizzen_tui::tasks::Runner;
use mizzen_tui::tasks::connect::{ClientHandle, Options};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::sync::mpsc;

/// Events a second.
const RATE: u64 = 500;
/// Events that the server sends together.
const BURST: u64 = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// When each event left the server, oldest first.
type Sent = Arc<Mutex<VecDeque<Instant>>>;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn pod(at: u64, revision: u64) -> String {
    let (namespace, app, node) = (at % 100, at % 700, at % 300);
    let restarts = if revision == 0 { 0 } else { revision % 50 };
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-{app}-{at:06}","namespace":"ns-{namespace}","uid":"{at:036}","resourceVersion":"{revision}","creationTimestamp":"2026-11-20T00:00:00Z","labels":{{"app":"web-{app}","pod-template-hash":"{app:010}","tier":"t{namespace}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-{app}","uid":"{app:036}","controller":true}}],"managedFields":[{{"manager":"kubelet","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:conditions":{{}},"f:containerStatuses":{{}},"f:phase":{{}},"f:podIP":{{}},"f:startTime":{{}}}}}}}}]}},"spec":{{"nodeName":"node-{node}","serviceAccountName":"default","restartPolicy":"Always","containers":[{{"name":"web","image":"registry.example.com/web:{app}","resources":{{"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"token","mountPath":"/var/run/secrets"}}]}}],"volumes":[{{"name":"token","projected":{{"sources":[{{"serviceAccountToken":{{"path":"token"}}}}]}}}}],"tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute"}}]}},"status":{{"phase":"Running","podIP":"10.42.{namespace}.{node}","podIPs":[{{"ip":"10.42.{namespace}.{node}"}}],"conditions":[{{"type":"Ready","status":"True"}},{{"type":"PodScheduled","status":"True"}}],"containerStatuses":[{{"name":"web","ready":true,"restartCount":{restarts},"image":"registry.example.com/web:{app}","imageID":"sha256:0","containerID":"containerd://{at:064}","state":{{"running":{{"startedAt":"2026-11-20T00:00:01Z"}}}}}}]}}}}"#
    )
}

/// One page of the list.
fn page(pods: u64, query: &str) -> String {
    let value = |key: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
    };
    let from: u64 = value("continue").and_then(|v| v.parse().ok()).unwrap_or(0);
    let limit = value("limit").and_then(|v| v.parse().ok()).unwrap_or(pods);
    let until = (from + limit).min(pods);
    let items: Vec<_> = (from..until).map(|at| pod(at, 0)).collect();
    let next = if until < pods { until.to_string() } else { String::new() };
    let (remaining, items) = (pods - until, items.join(","));
    format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1","continue":"{next}","remainingItemCount":{remaining}}},"items":[{items}]}}"#
    )
}

/// Changes of Pods for ever, at the rate.
fn news(pods: u64, sent: Sent) -> Body {
    let start = Instant::now();
    let frames = stream::unfold(0u64, move |at| {
        let sent = sent.clone();
        async move {
            let due = start + Duration::from_secs_f64(at as f64 / RATE as f64);
            tokio::time::sleep_until(due.into()).await;
            let lines: Vec<_> = (at..at + BURST)
                .map(|n| format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", pod(n * 7919 % pods, n + 2)))
                .collect();
            let now = Instant::now();
            sent.lock().expect("no panic holds it").extend((0..BURST).map(|_| now));
            let frame = http_body::Frame::data(Bytes::from(lines.concat()));
            Some((Ok::<_, Infallible>(frame), at + BURST))
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

fn client(pods: u64, sent: Sent) -> Client {
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let sent = sent.clone();
        async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let response = match request.uri().path() {
                "/api/v1/pods" if query.contains("watch=") => Response::new(news(pods, sent)),
                "/api/v1/pods" => Response::new(full(page(pods, &query))),
                _ => {
                    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":503,"reason":"ServiceUnavailable","message":"not simulated"}"#;
                    let mut response = Response::new(full(status.to_owned()));
                    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    response
                }
            };
            Ok::<_, Infallible>(response)
        }
    });
    Client::new(service, "default")
}

struct Console {
    app: App,
    runner: Runner,
    terminal: Terminal<TestBackend>,
}

impl Console {
    fn take(&mut self, event: Event) {
        let effects = self.app.update(Stamped {
            at: Timestamp::now(),
            event,
        });
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.runner.run(effect);
        }
    }

    fn draw(&mut self) {
        self.terminal
            .draw(|frame| self.app.draw(frame))
            .expect("memory can be drawn on");
    }

    /// Does what is left for later, as the loop does between events.
    fn settle(&mut self) {
        while self.app.due().is_some_and(|due| due <= Timestamp::now()) {
            self.take(Event::Tick);
        }
        self.draw();
    }

    /// Presses a key and draws: how long that takes.
    fn press(&mut self, code: KeyCode) -> Duration {
        let start = Instant::now();
        self.take(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self.draw();
        start.elapsed()
    }
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or_default()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() {
    let (pods, seconds) = (number("PODS", 50_000), number("SECONDS", 10));
    let sent = Sent::default();
    let (sender, mut events) = mpsc::channel(256);
    let options = Options {
        client: Some(("simulated".to_owned(), ClientHandle(client(pods, sent.clone())))),
        ..Options::default()
    };
    let setup = Setup {
        namespaces: Some(Vec::new()),
        ..Setup::default()
    };
    let start = Instant::now();
    let (app, effects) = App::new(setup, Bindings::default(), Timestamp::now());
    let mut console = Console {
        app,
        runner: Runner::new(options, sender),
        terminal: Terminal::new(TestBackend::new(200, 60)).expect("a terminal in memory"),
    };
    console.take(Event::Resize(200, 60));
    console.draw();
    println!("start to first frame        {:>10.1?}", start.elapsed());
    console.carry_out(effects);
    let mut first = None;
    loop {
        let event = events.recv().await.expect("the runner lives");
        let (rows, end) = match &event {
            Event::Data(_, Batch::Rows(..)) => (true, false),
            Event::Data(_, Batch::End) => (false, true),
            _ => (false, false),
        };
        console.take(event);
        if rows && first.is_none() {
            console.draw();
            first = Some(start.elapsed());
        }
        if end {
            console.draw();
            break;
        }
    }
    println!("first rows of {pods} Pods   {:>10.1?}", first.unwrap_or_default());
    println!("all rows                    {:>10.1?}", start.elapsed());
    churn(&mut console, &mut events, &sent, Duration::from_secs(seconds)).await;
    filter(&mut console);
    whole(&mut console);
    println!("resident, server included   {:>7} MiB", resident_mib());
}

/// Events at the rate, and a key every 50 ms.
async fn churn(console: &mut Console, events: &mut mpsc::Receiver<Event>, sent: &Sent, length: Duration) {
    const FRAME: Duration = Duration::from_millis(16);
    let (mut keys, mut delays) = (Vec::new(), Vec::new());
    let (begun, mut drawn, mut arrived) = (Instant::now(), Instant::now(), 0);
    let mut key_due = begun;
    while begun.elapsed() < length {
        let frame = tokio::time::sleep_until((drawn + FRAME).into());
        tokio::select! {
            event = events.recv() => {
                let event = event.expect("the runner lives");
                if let Event::Data(_, Batch::News(rows, _)) = &event {
                    arrived += rows.len();
                }
                console.take(event);
            }
            () = frame => {
                if key_due <= Instant::now() {
                    key_due = Instant::now() + Duration::from_millis(50);
                    keys.push(console.press(if keys.len() % 40 < 30 { KeyCode::Down } else { KeyCode::PageDown }));
                } else {
                    console.draw();
                }
                drawn = Instant::now();
                let mut sent = sent.lock().expect("no panic holds it");
                let seen = arrived.min(sent.len());
                delays.extend(sent.drain(..seen).map(|at| drawn.duration_since(at)));
                arrived = 0;
            }
        }
    }
    let rate = delays.len() as f64 / length.as_secs_f64();
    println!("events shown a second       {rate:>10.0}");
    println!("event to frame, p50         {:>10.1?}", percentile(&mut delays, 0.5));
    println!("event to frame, p99         {:>10.1?}", percentile(&mut delays, 0.99));
    println!("key to frame, p50           {:>10.1?}", percentile(&mut keys, 0.5));
    println!("key to frame, p99           {:>10.1?}", percentile(&mut keys, 0.99));
}

/// Filters letter by letter: when the letter is on screen, and when the rows are.
fn filter(console: &mut Console) {
    for text in ["web-7", "status:run !node:node-1", "-f w77", "^web-.*9$", "zzz"] {
        console.press(KeyCode::Char('/'));
        // Nobody types the first letter at once.
        console.settle();
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        for letter in text.chars() {
            let start = Instant::now();
            keys.push(console.press(KeyCode::Char(letter)));
            console.settle();
            rows.push(start.elapsed());
        }
        println!(
            "filter keystroke, worst     {:>10.1?} to its frame, {:>10.1?} to its rows   {text}",
            percentile(&mut keys, 1.0),
            percentile(&mut rows, 1.0)
        );
        let start = Instant::now();
        console.press(KeyCode::Esc);
        console.press(KeyCode::Esc);
        console.settle();
        println!("all rows again              {:>10.1?}", start.elapsed());
    }
}

/// Keys that mean all rows: another order, another view and back.
fn whole(console: &mut Console) {
    for (what, keys) in [
        ("sorted by IP", "I"),
        ("sorted by status", "S"),
        ("sorted by name", "N"),
    ] {
        let key = console.press(KeyCode::Char(keys.chars().next().unwrap_or_default()));
        println!("{what:<27} {key:>10.1?}");
    }
    let covered = console.press(KeyCode::Char('d'));
    let back = console.press(KeyCode::Esc);
    println!("describe and back           {covered:>10.1?} {back:>10.1?}");
}
