//! The dashboard in headless Chromium with many Pods on simulated nodes: how much the first view loads and how soon
//! it can be used, how long an event takes to its cell, a keystroke in the filter, and frames while the table
//! scrolls under changes, whether its memory grows while much changes, and what goes over the wire while nothing does.
//!
//! `cargo bench -p mizzen-tests --bench dashboard` takes 10,000 Pods; `MIZZEN_DASHBOARD_PODS` chooses another
//! number. Needs a program that the dashboard was built into, chromium and chromium-driver.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PostParams};
use mizzen_tests::browser::{Browser, has_browser};
use mizzen_tests::measure::client;
use mizzen_tests::{Cluster, succeed};
use serde_json::{Value, json};

/// How many Pods one Deployment makes.
const REPLICAS: usize = 500;
/// Events that are waited for in the page.
const EVENTS: usize = 200;
/// Changes a second while the table scrolls.
const CHANGES_PER_SECOND: u64 = 200;
/// How long it scrolls.
const SCROLL: Duration = Duration::from_secs(10);

/// Rounds of changes after which memory is looked at, and changes in each: together about what an hour brings.
const ROUNDS: usize = 4;
const CHURN: usize = 3_000;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);

/// Tells in the page when the row of a name was first there, by the clock that server and page share.
const OBSERVE: &str = "window.seen = {}; new MutationObserver(() => { const now = performance.timeOrigin + performance.now(); \
    for (const a of document.querySelectorAll('.window .row a')) if (a.innerText.startsWith('probe-') && !(a.innerText in seen)) seen[a.innerText] = now; \
    }).observe(document.querySelector('.rows'), {childList: true, subtree: true, characterData: true})";

/// Types into the filter what is longer by a letter each time, and back; a keystroke lasts until its frame is drawn.
const TYPE: &str = "window.keys = []; (async () => { const input = document.querySelector('#filter'); \
    const words = ['a', 'ap', 'app', 'app-1', 'app-19', 'status:run', 'status:running', '!running', 'app-2 running', '']; \
    for (let round = 0; round < 4; round++) for (const word of words) { \
        const began = performance.now(); input.value = word; input.dispatchEvent(new Event('input', {bubbles: true})); \
        await new Promise(done => requestAnimationFrame(() => { const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0) })); \
        keys.push(performance.now() - began); await new Promise(done => setTimeout(done, 200)); } window.typed = true })()";

/// Scrolls the table by two rows a frame, and keeps how long each frame took.
const ROLL: &str = "window.frames_ms = []; const body = document.querySelector('.body'); let last = performance.now(), by = 60; window.rolling = true; \
    const step = now => { frames_ms.push(now - last); last = now; if (body.scrollTop + body.clientHeight >= body.scrollHeight - 1) by = -60; \
    if (body.scrollTop <= 0) by = 60; body.scrollTop += by; if (rolling) requestAnimationFrame(step) }; requestAnimationFrame(step)";

fn main() {
    if !has_browser() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() * percent / 100)
        .or(values.last())
        .copied()
        .unwrap_or_default()
}

fn tell(what: &str, mut values: Vec<f64>, percent: usize, most: f64) {
    let (half, high) = (percentile(&mut values, 50), percentile(&mut values, percent));
    let worst = values.last().copied().unwrap_or_default();
    println!(
        "{what}: p50 {half:.1} ms, p{percent} {high:.1} ms (at most {most} ms), worst {worst:.1} ms, of {}",
        values.len()
    );
}

fn deployment(number: usize, replicas: usize) -> String {
    let name = format!("app-{number}");
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]}}}})
    .to_string()
}

async fn measure() {
    let given = std::env::var("MIZZEN_DASHBOARD_PODS").ok();
    let pods: usize = given.map_or(10_000, |text| text.parse().expect("a number"));
    let cluster = Cluster::start_with(&["--disable-agent"]);
    let client = client(&cluster).await;
    let _nodes = cluster.simulate(pods.div_ceil(100));
    for n in 0..pods.div_ceil(REPLICAS) {
        cluster.apply(&deployment(n, REPLICAS.min(pods - n * REPLICAS)));
    }
    cluster.wait_at_most(Duration::from_mins(5), "Pods to run", |c| {
        let all = c.get("deployments").expect("Deployments");
        let ready = all["items"].as_array().into_iter().flatten();
        let ready = ready.filter_map(|d| d["status"]["availableReplicas"].as_u64());
        ready.sum::<u64>() == pods as u64
    });
    let browser = Browser::start(1300, 800);
    let url = |path: &str| format!("https://127.0.0.1:{}/dashboard/{path}", cluster.port());
    let login = succeed(&mut cluster.client("mizzen", &["dashboard", "--no-browser"]));
    browser.open(login.trim());
    browser.wait("return document.querySelector('#user')?.innerText.length > 0");
    println!("{pods} Pods; all figures with everything on this machine, the browser included");
    browser.watch_memory();
    first_view(&browser, &url("pods"));
    browser.wait_at_most(
        Duration::from_mins(2),
        &format!("return document.querySelector('.count')?.innerText.startsWith('{pods} ')"),
    );
    filter(&browser);
    scroll(&browser, &client, pods).await;
    memory(&browser, &client).await;
    idle(&browser, "Pods").await;
    events(&browser, &client, &url("configmaps?ns=default")).await;
}

/// What a browser without a cache loads, and when there are rows.
fn first_view(browser: &Browser, url: &str) {
    browser.open("about:blank");
    browser.clear_cache();
    let began = Instant::now();
    browser.open(url);
    browser.wait("return document.querySelectorAll('.window .row').length > 0");
    let rows = began.elapsed();
    let bytes = browser.script(
        "return performance.getEntries().filter(e => e.name.includes('/dashboard/') && e.encodedBodySize).reduce((sum, e) => sum + e.encodedBodySize, 0)",
    );
    println!(
        "first view: {bytes} bytes (at most 500000), rows after {} ms (interactive: at most 1000 ms)",
        rows.as_millis()
    );
}

fn filter(browser: &Browser) {
    browser.script(TYPE);
    browser.wait("return !!window.typed");
    tell("filter keystroke", numbers(&browser.script("return keys")), 99, 50.0);
}

/// Frames of a table that scrolls while Pods change.
async fn scroll(browser: &Browser, client: &Client, pods: usize) {
    let api = Api::<Pod>::namespaced(client.clone(), "default");
    let names: Vec<String> = api
        .list(&Default::default())
        .await
        .expect("Pods")
        .items
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect();
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let change = async {
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / CHANGES_PER_SECOND));
        let mut running = tokio::task::JoinSet::new();
        for (n, name) in names.iter().cycle().step_by(37).enumerate() {
            ticks.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (api, name) = (api.clone(), name.clone());
            running.spawn(async move {
                let patch = json!({"status": {"containerStatuses": [{"name": "app", "ready": true, "restartCount": n, "image": "a", "imageID": "", "state": {"running": {}}}]}});
                api.patch_status(&name, &Default::default(), &Patch::Merge(&patch)).await.is_ok()
            });
            while let Some(Ok(done)) = running.try_join_next() {
                made.fetch_add(usize::from(done), Ordering::Relaxed);
            }
        }
    };
    browser.script(ROLL);
    let began = Instant::now();
    let end = async {
        tokio::time::sleep(SCROLL).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(change, end);
    let rate = made.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let frames = browser.script("window.rolling = false; return frames_ms.slice(2)");
    println!("scrolling {pods} rows with {rate:.0} changes/s:");
    tell("  frames", numbers(&frames), 95, 33.0);
}

/// Memory of the page after each round of Pods that come, change and go.
async fn memory(browser: &Browser, client: &Client) {
    let api = Api::<Pod>::namespaced(client.clone(), "default");
    let pod = |n: usize| {
        serde_json::from_value(
            json!({"metadata": {"name": format!("churn-{n}"), "labels": {"churn": n.to_string()}},
            "spec": {"nodeName": "nowhere", "containers": [{"name": "a", "image": "a"}]}}),
        )
        .expect("a Pod")
    };
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        let mut running = tokio::task::JoinSet::new();
        for n in 0..CHURN / 3 {
            let (api, pod) = (api.clone(), pod(n));
            running.spawn(async move {
                let name = format!("churn-{n}");
                api.create(&PostParams::default(), &pod).await.expect("created");
                let label = json!({"metadata": {"labels": {"churn": format!("round-{round}")}}});
                api.patch(&name, &Default::default(), &Patch::Merge(&label))
                    .await
                    .expect("changed");
                api.delete(&name, &DeleteParams::default().grace_period(0))
                    .await
                    .expect("deleted");
            });
            if running.len() >= 16 {
                running.join_next().await;
            }
        }
        while running.join_next().await.is_some() {}
        tokio::time::sleep(Duration::from_secs(2)).await;
        kept.push(browser.heap());
    }
    let line = |(objects, program): &(u64, u64)| format!("{} KiB + {} KiB", objects / 1024, program / 1024);
    let lines: Vec<_> = kept.iter().map(line).collect();
    let sum = |(objects, program): (u64, u64)| (objects + program) as f64;
    // The first round makes room that the others use again.
    let growth = 100.0 * (sum(kept[ROUNDS - 1]) / sum(kept[1]) - 1.0);
    println!(
        "memory after each {CHURN} changes (objects + program): {}; the last {} rounds grew it by {growth:.1} % (must not grow)",
        lines.join(", "),
        ROUNDS - 2
    );
}

/// What goes over the wire while a page is open and nothing happens.
async fn idle(browser: &Browser, what: &str) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = browser.traffic();
    tokio::time::sleep(IDLE).await;
    let rate = (browser.traffic() - before) as f64 / IDLE.as_secs_f64();
    println!("idle, {what}: {rate:.0} bytes/s (at most 1024)");
}

/// From the moment before an object is created to its row in the page.
async fn events(browser: &Browser, client: &Client, url: &str) {
    browser.open(url);
    browser.wait("return document.querySelectorAll('.window .row').length > 0");
    browser.script(OBSERVE);
    let api = Api::<ConfigMap>::namespaced(client.clone(), "default");
    let mut began = Vec::new();
    for n in 0..EVENTS {
        let name = format!("probe-{n}");
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ConfigMap");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_secs_f64()
            * 1000.0;
        api.create(&PostParams::default(), &object).await.expect("created");
        tokio::time::sleep(Duration::from_millis(30)).await;
        // Only rows on the screen are in the page: there are never many.
        began.push((name.clone(), now));
        browser.wait(&format!("return {name:?} in seen"));
        api.delete(&name, &Default::default()).await.expect("deleted");
    }
    let seen = browser.script("return seen");
    let took = began
        .iter()
        .filter_map(|(name, began)| Some(seen[name].as_f64()? - began));
    tell("event to cell", took.collect(), 99, 200.0);
}
