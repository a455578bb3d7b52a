//! The console's program in a terminal: how soon it shows something (`start`), what it costs when nothing happens
//! (`idle`), rows and news of many Pods from a real server, and its record of them replayed (`rows`), and a log that
//! is much (`logs`).
//!
//! `cargo bench -p mizzen-tests --bench tui -- start` and so on; all of them without a word. `MIZZEN_TUI_PODS` chooses
//! another number of Pods than 10,000 (`idle`) and 15,000 (`rows`), `MIZZEN_TUI_SECONDS` another length than 60.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mizzen_tests::console::Console;
use mizzen_tests::measure::{NAMESPACE, asked, client, count, namespace, number, process, run, ticks, until};
use mizzen_tests::simulated::{LAST, Simulated};
use mizzen_tests::{Cluster, Simulation, pause, succeed};
use mizzen_tui::app::{App, Setup};
use mizzen_tui::bindings::Bindings;
use mizzen_tui::event::Stamped;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

/// Columns and rows of the terminal.
const SIZE: (u16, u16) = (200, 60);
/// Pods of a simulated node.
const ON_A_NODE: usize = 100;
/// Changes of Pods a second.
const RATE: u32 = 500;
/// How often an event's way to the screen is measured.
const PROBES: usize = 200;
/// Lines of log a second, and for how many seconds.
const LINES: (usize, usize) = (50_000, 10);
/// How long the cluster and the console rest before their cost is read.
const REST: Duration = Duration::from_secs(30);

fn main() {
    let is_asked = asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    if is_asked("start") {
        start();
    }
    if is_asked("idle") {
        runtime.block_on(idle());
    }
    if is_asked("rows") {
        runtime.block_on(rows());
    }
    if is_asked("logs") {
        logs();
    }
}

/// Waits for something on screen, and gives how long that took.
fn seen(console: &Console, what: &str, holds: impl Fn(&str) -> bool) -> Duration {
    let began = Instant::now();
    while !holds(&console.text()) {
        let on_screen = || console.text();
        assert!(
            began.elapsed() < Duration::from_mins(2),
            "waited for {what}; on screen:\n{}",
            on_screen()
        );
        pause(Duration::from_millis(1));
    }
    began.elapsed()
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or_default()
}

fn start() {
    let cluster = Cluster::start_with(&["--disable-agent"]);
    let (mut frames, mut connected) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let began = Instant::now();
        let mut console = Console::start(&cluster, SIZE, &["nodes"]);
        seen(&console, "a frame", |screen| screen.contains("mizzen"));
        frames.push(began.elapsed());
        seen(&console, "an answer", |screen| screen.contains("there are no nodes"));
        connected.push(began.elapsed());
        console.keys("\x03");
        console.ends();
    }
    println!(
        "start to first frame (at most 100 ms): p50 {:.1?}, worst {:.1?}; to the server's answer p50 {:.1?}, worst {:.1?}",
        percentile(&mut frames, 0.5),
        percentile(&mut frames, 1.0),
        percentile(&mut connected, 0.5),
        percentile(&mut connected, 1.0)
    );
}

/// A cluster in which so many Pods run.
async fn full(pods: usize) -> (Cluster, Client, Simulation) {
    let cluster = Cluster::start_with(&["--disable-agent"]);
    let client = client(&cluster).await;
    let nodes = pods.div_ceil(ON_A_NODE);
    let simulation = cluster.simulate(nodes);
    until("all nodes", || async { count(&client, "/api/v1/nodes").await == nodes }).await;
    run(&namespace(&client).await, pods).await;
    (cluster, client, simulation)
}

/// What a process received over its connections, in bytes.
fn received(pid: u32) -> u64 {
    let sockets = succeed(Command::new("ss").args(["-tinpHO"]));
    let own = sockets.lines().filter(|line| line.contains(&format!("pid={pid},")));
    let bytes = own.filter_map(|line| line.split_once("bytes_received:")?.1.split_whitespace().next());
    bytes.filter_map(|bytes| bytes.parse::<u64>().ok()).sum()
}

async fn idle() {
    let pods = number("MIZZEN_TUI_PODS", 10_000);
    let seconds = number("MIZZEN_TUI_SECONDS", 60);
    let (cluster, _client, _simulation) = full(pods).await;
    let mut console = Console::start(&cluster, SIZE, &["pods", "-A"]);
    seen(&console, "all Pods", |screen| {
        screen.contains(&format!("pods(all)[{pods}]"))
    });
    tokio::time::sleep(REST).await;
    let before = (ticks(console.pid()), received(console.pid()));
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let after = (ticks(console.pid()), received(console.pid()));
    println!(
        "{pods} quiet Pods: {:.3} % of a processor (at most 0.3), {:.0} bytes/s from the server (at most 1024), RSS {} MiB",
        (after.0 - before.0) as f64 / seconds as f64,
        (after.1 - before.1) as f64 / seconds as f64,
        process(console.pid(), "status", "VmRSS:") / 1024
    );
    console.keys("\x03");
    console.ends();
}

async fn rows() {
    let pods = number("MIZZEN_TUI_PODS", 15_000);
    let (cluster, client, _simulation) = full(pods).await;
    let mut first = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let mut console = Console::start(&cluster, SIZE, &["pods", "-A"]);
        seen(&console, "rows", |screen| screen.contains("Running"));
        first.push(began.elapsed());
        seen(&console, "all rows", |screen| {
            screen.contains(&format!("pods(all)[{pods}]"))
        });
        println!("all {pods} rows after {:.1?}", began.elapsed());
        console.keys("\x03");
        console.ends();
    }
    println!(
        "start of the program to first rows of {pods} (at most 500 ms): p50 {:.1?}, worst {:.1?}",
        percentile(&mut first, 0.5),
        percentile(&mut first, 1.0)
    );
    let record = cluster.scratch().join("record");
    let mut console = Console::start(&cluster, SIZE, &["pods", "-A", "--record", "record"]);
    seen(&console, "all rows", |screen| {
        screen.contains(&format!("pods(all)[{pods}]"))
    });
    let churning = tokio::spawn(churn(client.clone()));
    let mut delays = tokio::task::block_in_place(|| probe(&console, &client));
    churning.abort();
    println!(
        "event at the server to cell, {RATE} changes a second (at most 100 ms): p50 {:.1?}, p99 {:.1?}; RSS {} MiB",
        percentile(&mut delays, 0.5),
        percentile(&mut delays, 0.99),
        process(console.pid(), "status", "VmRSS:") / 1024
    );
    console.keys("\x03");
    console.ends();
    replay(&record);
}

/// Changes Pods for ever, at the rate.
async fn churn(client: Client) {
    let pods = Api::<Pod>::namespaced(client, NAMESPACE);
    let all = pods.list_metadata(&ListParams::default()).await.expect("Pods");
    let names: Vec<_> = all.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    for n in 0usize.. {
        due.tick().await;
        let (pods, name) = (pods.clone(), names[n * 7919 % names.len()].clone());
        tokio::spawn(async move {
            let patch = json!({"metadata": {"annotations": {"churn": n.to_string()}}});
            // What is under way at the end fails.
            let _ = pods.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        });
    }
}

/// How long new Pods, which come first in the table, take from the server's answer to the screen.
fn probe(console: &Console, client: &Client) -> Vec<Duration> {
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    let runtime = tokio::runtime::Handle::current();
    let delays = (0..PROBES).map(|n| {
        let name = format!("probe-{n:03}");
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "a"}],
            "nodeSelector": {"none": "none"}}});
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let created = runtime.block_on(pods.create(&PostParams::default(), &pod));
        created.expect("a Pod");
        let took = seen(console, &name, |screen| screen.contains(&name));
        let ended = runtime.block_on(pods.delete(&name, &DeleteParams::default().grace_period(0)));
        ended.expect("no Pod");
        took
    });
    delays.collect()
}

/// Takes the events of a record, and draws after each.
fn replay(record: &Path) {
    let record = std::fs::read_to_string(record).expect("a record");
    let setup = Setup {
        view: "pods".to_owned(),
        namespaces: Some(Vec::new()),
        ..Setup::default()
    };
    let (mut app, _) = App::new(setup, Bindings::default(), Timestamp::UNIX_EPOCH);
    let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1)).expect("a terminal in memory");
    let mut frames = Vec::new();
    for line in record.lines() {
        let event: Stamped = serde_json::from_str(line).expect("an event");
        let began = Instant::now();
        app.update(event);
        terminal.draw(|frame| app.draw(frame)).expect("memory can be drawn on");
        frames.push(began.elapsed());
    }
    println!(
        "{} recorded events replayed, event to frame: p50 {:.1?}, p99 {:.1?}, worst {:.1?}",
        frames.len(),
        percentile(&mut frames, 0.5),
        percentile(&mut frames, 0.99),
        percentile(&mut frames, 1.0)
    );
}

fn logs() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (kubeconfig, credentials) = (scratch.path().join("config"), scratch.path().join("credentials"));
    std::fs::write(&credentials, Simulated::credentials("first")).expect("a file");
    let server = Simulated::start("first");
    server.kubeconfig(&kubeconfig, &credentials, "shop");
    server.put(
        "pods",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "uid": "u"},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "main", "ready": true, "containerID": "one", "state": {"running": {}}}]}}),
    );
    server.print(LINES.0, LINES.1);
    let mut console = Console::start_with(&kubeconfig, scratch.path(), SIZE, &[]);
    console.sees("pods(shop)[1]");
    let began = Instant::now();
    console.keys("l");
    seen(&console, "the last line", |screen| screen.contains(LAST));
    let (took, all) = (began.elapsed(), LINES.0 * LINES.1 + 1);
    seen(&console, "the count of lines", |screen| {
        screen.contains(&format!("{all} lines"))
    });
    let dropped = console.text().contains("dropped");
    println!(
        "{all} lines at {}/s: the last is on screen {:.1?} after the first was printed, dropped: {dropped}; RSS {} MiB",
        LINES.0,
        took,
        process(console.pid(), "status", "VmRSS:") / 1024
    );
    console.keys("\x03");
    console.ends();
}
